//! Paths with names in them, and labels that are made of what a request says: pure.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::Deserializer;

use super::path_template::is_name;
use super::patterns::PathPattern;
use super::values::{self, InvalidValue};
use crate::vocabulary::{InvalidTag, check_tag_value};

/// The value of a label: text with `{name}` for a segment of the path and `{query.name}` for a
/// parameter of the query.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TagTemplate(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Part {
    Text(String),
    Path(String),
    Query(String),
}

/// Why a request has no label that its route wants of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the path or the query has no value for {name}: {why}")]
pub struct UnfitTag {
    name: String,
    why: UnfitValue,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum UnfitValue {
    #[error("it is not UTF-8 when it is percent-decoded")]
    Encoding,
    #[error(transparent)]
    Value(#[from] InvalidTag),
}

impl TagTemplate {
    /// Returns the names of segments that the value is made of.
    pub fn path_names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Path(name) => Some(name.as_str()),
            Part::Text(_) | Part::Query(_) => None,
        })
    }

    /// Makes the value; `None` if the query lacks a parameter that it is made of.
    fn value(
        &self,
        captures: &[(&str, &str)],
        query: Option<&str>,
    ) -> Result<Option<String>, UnfitValue> {
        let mut value = String::new();
        for part in &self.0 {
            let found = match part {
                Part::Text(text) => Some(text.clone()),
                Part::Path(wanted) => {
                    let found = captures.iter().find(|(name, _)| name == wanted);
                    found.map(|(_, text)| decode(text, false)).transpose()?
                }
                Part::Query(wanted) => parameter(query, wanted)?,
            };
            match found {
                Some(text) => value.push_str(&text),
                None => return Ok(None),
            }
        }
        check_tag_value(&value)?;
        Ok(Some(value))
    }
}

/// Returns the labels of a connection to `path`, which matches `pattern`.
///
/// Values are percent-decoded. A label that is made of a parameter that the query lacks is left out.
///
/// # Errors
/// A value that is too long or cannot be printed: cut to size, it could be that of others.
pub fn tags_of(
    templates: &BTreeMap<String, TagTemplate>,
    pattern: &PathPattern,
    path: &str,
    query: Option<&str>,
) -> Result<BTreeMap<String, String>, UnfitTag> {
    let mut tags = BTreeMap::new();
    if templates.is_empty() {
        return Ok(tags);
    }
    let captures: Vec<_> = match pattern {
        PathPattern::Template(template) => template.captures(path).collect(),
        PathPattern::Exact(_) | PathPattern::Prefix(_) => Vec::new(),
    };
    for (name, template) in templates {
        let value = template.value(&captures, query);
        let value = value.map_err(|why| UnfitTag { name: name.clone(), why })?;
        if let Some(value) = value {
            tags.insert(name.clone(), value);
        }
    }
    Ok(tags)
}

/// Returns the first parameter of this name.
fn parameter(query: Option<&str>, wanted: &str) -> Result<Option<String>, UnfitValue> {
    for pair in query.unwrap_or_default().split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if decode(name, true).is_ok_and(|name| name == wanted) {
            return decode(value, true).map(Some);
        }
    }
    Ok(None)
}

fn decode(text: &str, is_query: bool) -> Result<String, UnfitValue> {
    // In a query `+` stands for a space.
    let text = if is_query { text.replace('+', " ") } else { text.to_owned() };
    let decoded = percent_decode_str(&text).decode_utf8().map_err(|_| UnfitValue::Encoding)?;
    Ok(decoded.into_owned())
}

impl FromStr for TagTemplate {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let invalid = || InvalidValue::Tag(text.to_owned());
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            let (before, behind) = rest.split_at(at);
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            let behind = behind.strip_prefix('{').ok_or_else(invalid)?;
            let (name, behind) = behind.split_once('}').ok_or_else(invalid)?;
            parts.push(match name.strip_prefix("query.") {
                Some(name) if !name.is_empty() && !name.contains('{') => {
                    Part::Query(name.to_owned())
                }
                None if is_name(name) => Part::Path(name.to_owned()),
                Some(_) | None => return Err(invalid()),
            });
            rest = behind;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        check_tag_value(text).map_err(|_| invalid())?;
        Ok(Self(parts))
    }
}

impl fmt::Display for TagTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Path(name) => write!(f, "{{{name}}}"),
            Part::Query(name) => write!(f, "{{query.{name}}}"),
        })
    }
}

impl<'de> Deserialize<'de> for TagTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        values::text(deserializer, "a text such as \"{room}\" or \"{query.app}\"", Self::from_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> PathPattern {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_stands_for_one_segment() {
        let room = path("/rooms/{room}");
        assert!(room.matches("/rooms/7"));
        for other in ["/rooms/", "/rooms", "/rooms/7/", "/rooms/7/a", "/room/7", "/"] {
            assert!(!room.matches(other), "{other}");
        }
        let below = path("/{tenant}/rooms/{room}/*");
        assert!(below.matches("/a/rooms/7/") && below.matches("/a/rooms/7/x/y"));
        assert!(!below.matches("/a/rooms/7") && !below.matches("//rooms/7/"));
        for text in ["/rooms/{room}", "/{a}", "/{a}/*", "/a/{b}/c/{d}/*"] {
            assert_eq!(path(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for text in [
            "/{}", "/{a", "/a}", "/x{a}", "/{a}x", "/{A}", "/{a.b}", "/{a}/{a}", "/{1}", "{a}",
            "/{a}*", "/{a*}",
        ] {
            assert_eq!(text.parse::<PathPattern>(), Err(InvalidValue::Path(text.to_owned())));
        }
    }

    #[test]
    fn a_wider_template_covers_a_narrower_one() {
        for (wide, narrow) in [
            ("/*", "/{a}"),
            ("/rooms/*", "/rooms/{a}"),
            ("/{a}", "/rooms"),
            ("/{a}", "/{b}"),
            ("/{a}/*", "/rooms/*"),
            ("/{a}/*", "/{b}/{c}"),
            ("/{a}/*", "/{b}/c/*"),
            ("/{a}/*", "/x/y"),
        ] {
            assert!(path(wide).covers(&path(narrow)), "{wide} {narrow}");
        }
        for (wide, narrow) in [
            ("/rooms", "/{a}"),
            ("/rooms/*", "/{a}/{b}"),
            ("/{a}", "/rooms/*"),
            ("/{a}", "/{b}/*"),
            ("/{a}/*", "/{b}"),
            ("/{a}/x", "/{a}/{b}"),
            ("/{a}", "/"),
        ] {
            assert!(!path(wide).covers(&path(narrow)), "{wide} {narrow}");
        }
    }

    fn tags(template: &str, target: &str) -> Result<Option<String>, UnfitTag> {
        let templates = BTreeMap::from([("t".to_owned(), template.parse().unwrap())]);
        let (path_of, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        tags_of(&templates, &path("/rooms/{room}"), path_of, query).map(|mut tags| tags.remove("t"))
    }

    #[test]
    fn values_come_decoded_from_path_and_query() {
        for (template, target, expected) in [
            ("{room}", "/rooms/7", Some("7")),
            ("{room}", "/rooms/a%20b%2Fc+d", Some("a b/c+d")),
            ("{query.app}", "/rooms/7?x=1&app=web+app%21&app=2", Some("web app!")),
            ("{query.app}", "/rooms/7?app", Some("")),
            ("{query.app}", "/rooms/7?apps=1", None),
            ("{query.app}", "/rooms/7", None),
            ("r-{room}.{query.v}", "/rooms/7?v=2", Some("r-7.2")),
            ("r-{room}.{query.v}", "/rooms/7", None),
            ("gold", "/rooms/7", Some("gold")),
            ("{room}", "/rooms/%zz%4", Some("%zz%4")),
        ] {
            assert_eq!(tags(template, target).unwrap().as_deref(), expected, "{template} {target}");
        }
    }

    #[test]
    fn values_that_do_not_fit_are_refused_and_not_cut() {
        let long = format!("/rooms/{}", "x".repeat(257));
        for target in ["/rooms/%ff", "/rooms/a%0ab", "/rooms/%00", &long] {
            let error = tags("{room}", target).unwrap_err();
            assert!(error.to_string().contains(" for t: "), "{error}");
        }
        assert!(tags("{room}", &long[..long.len() - 1]).unwrap().is_some());
    }

    #[test]
    fn what_is_no_template_of_a_tag_is_refused() {
        for text in ["{", "}", "{}", "{room", "room}", "{query.}", "{query}{", "{Room}", "a\nb"] {
            assert_eq!(text.parse::<TagTemplate>(), Err(InvalidValue::Tag(text.to_owned())));
        }
        for text in ["{room}", "a-{room}-{query.v}", "gold", ""] {
            assert_eq!(text.parse::<TagTemplate>().unwrap().to_string(), text);
        }
    }
}
