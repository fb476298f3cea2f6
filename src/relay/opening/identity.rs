//! A client's subject and tags, read from the application's 101. Pure.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName};

use crate::vocabulary::{LONGEST_TAG, MAX_TAGS, check_tags, is_label};

/// The client's subject. This field is removed from the client's request and from its answer.
pub(super) const SUBJECT: HeaderName = HeaderName::from_static("lastword-subject");

/// The client's tags (`room=7, tenant=a`). This field is removed in the same way.
pub(super) const TAGS: HeaderName = HeaderName::from_static("lastword-tags");

/// A client's subject and tags.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Identity {
    pub(crate) subject: Option<String>,
    pub(crate) tags: BTreeMap<String, String>,
}

/// Reads subject and tags from an application's 101.
///
/// # Errors
/// The invalid field, and what it should be.
pub(super) fn of_answer(answer: &HeaderMap) -> Result<Identity, String> {
    let mut identity = Identity::default();
    let mut lines = answer.get_all(SUBJECT).iter();
    if let Some(line) = lines.next() {
        let subject = std::str::from_utf8(line.as_bytes()).ok().map(str::trim);
        let subject = subject.filter(|subject| !subject.is_empty() && is_label(subject));
        if subject.is_none() || lines.next().is_some() {
            return Err(format!(
                "the application's Lastword-Subject cannot be used: send one, of 1 to {LONGEST_TAG} \
                 printable bytes"
            ));
        }
        identity.subject = subject.map(str::to_owned);
    }
    let unusable = |what: &str| format!("the application's Lastword-Tags cannot be used: {what}");
    for line in answer.get_all(TAGS) {
        let line = std::str::from_utf8(line.as_bytes()).map_err(|_| unusable("it is not UTF-8"))?;
        for tag in line.split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
            let (name, value) =
                tag.split_once('=').ok_or_else(|| unusable("write name=value, name=value"))?;
            identity.tags.insert(name.trim().to_owned(), value.trim().to_owned());
            if identity.tags.len() > MAX_TAGS {
                return Err(unusable(&format!("there are more than {MAX_TAGS} tags")));
            }
        }
    }
    let tags = identity.tags.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    check_tags(tags).map_err(|(_, error)| unusable(&error.to_string()))?;
    Ok(identity)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(lines: &[(&'static str, &str)]) -> Result<Identity, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        of_answer(&headers)
    }

    #[test]
    fn subject_and_tags_are_read_from_all_lines() {
        assert_eq!(read(&[]), Ok(Identity::default()));
        let identity = read(&[
            ("lastword-subject", " ann "),
            ("lastword-tags", "room=7, tenant = a=b ,,"),
            ("lastword-tags", "plan="),
        ]);
        let identity = identity.unwrap();
        assert_eq!(identity.subject.as_deref(), Some("ann"));
        let tags: Vec<_> =
            identity.tags.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(tags, [("plan", ""), ("room", "7"), ("tenant", "a=b")]);
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name() {
        let long = "x".repeat(257);
        let many: Vec<String> = (0..33).map(|n| format!("t{n}=1")).collect();
        for (name, value) in [
            ("lastword-subject", ""),
            ("lastword-subject", &long),
            ("lastword-tags", "room"),
            ("lastword-tags", "=7"),
            ("lastword-tags", "a:b=7"),
            ("lastword-tags", &format!("room={long}")),
            ("lastword-tags", &many.join(",")),
        ] {
            let error = read(&[(name, value)]).unwrap_err();
            assert!(error.to_lowercase().contains(name), "{error}");
        }
        assert!(read(&[("lastword-subject", "a"), ("lastword-subject", "b")]).is_err());
    }
}
