//! Selectors of connections on the command line.

use std::fmt;
use std::str::FromStr;

use crate::contract::SelectorRecord;

/// A selection of connections: `all`, or `route=chat,subject=ann,tag=room:7,upstream=ws://app`,
/// `route=chat,upstream_number=1`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selected {
    /// The route.
    pub route: Option<String>,
    /// The subject.
    pub subject: Option<String>,
    /// A tag.
    pub tag: Option<Tag>,
    /// The URL of the application behind a relay.
    pub upstream: Option<String>,
    /// The number of that application in its route.
    pub upstream_number: Option<u32>,
}

/// A tag: its name and value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// Why a text is not a selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSelector {
    /// A part is not a valid pair of name and value.
    #[error(
        "{0:?} is not a selector: write all, or route=NAME, subject=NAME, tag=NAME:VALUE, \
         upstream=URL and upstream_number=N, joined by commas"
    )]
    Part(String),
    /// A name occurs twice.
    #[error("{0} is given twice: a connection can have only one")]
    Twice(&'static str),
    /// A tag without a name or a value.
    #[error("{0:?} is not a tag: write NAME:VALUE, such as room:7")]
    Tag(String),
}

/// The part that is a number.
const NUMBER: &str = "upstream_number";

impl Selected {
    /// Returns the selector as pairs of a query.
    pub fn query(&self) -> [(&'static str, Option<String>); 5] {
        [
            ("route", self.route.clone()),
            ("subject", self.subject.clone()),
            ("tag", self.tag.as_ref().map(Tag::to_contract)),
            ("upstream", self.upstream.clone()),
            (NUMBER, self.upstream_number.map(|number| number.to_string())),
        ]
    }

    /// Returns the selector as a JSON object.
    pub fn to_json(&self) -> serde_json::Value {
        let texts = self.query().into_iter().filter(|(name, _)| *name != NUMBER);
        let texts = texts.filter_map(|(name, value)| Some((name.to_owned(), value?.into())));
        let number = self.upstream_number.map(|number| (NUMBER.to_owned(), number.into()));
        serde_json::Value::Object(texts.chain(number).collect())
    }

    /// Formats a selector as on the command line.
    pub fn describe(select: &SelectorRecord<'_>) -> String {
        join([
            ("route", select.route.as_deref()),
            ("subject", select.subject.as_deref()),
            ("tag", select.tag.as_deref()),
            ("upstream", select.upstream.as_deref()),
            (NUMBER, select.upstream_number.map(|number| number.to_string()).as_deref()),
        ])
    }
}

impl fmt::Display for Selected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.query();
        f.write_str(&join(parts.each_ref().map(|(name, value)| (*name, value.as_deref()))))
    }
}

fn join(parts: [(&str, Option<&str>); 5]) -> String {
    let given = parts.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?)));
    let given: Vec<String> = given.collect();
    if given.is_empty() { "all".to_owned() } else { given.join(",") }
}

impl Tag {
    /// Formats it as in the contract: `name:value`.
    pub fn to_contract(&self) -> String {
        format!("{}:{}", self.name, self.value)
    }
}

impl FromStr for Selected {
    type Err = InvalidSelector;

    fn from_str(text: &str) -> Result<Self, InvalidSelector> {
        let mut selected = Self::default();
        if text == "all" {
            return Ok(selected);
        }
        let once =
            |twice: bool, name| if twice { Err(InvalidSelector::Twice(name)) } else { Ok(()) };
        for part in text.split(',') {
            match part.split_once('=') {
                Some(("route", name)) if !name.is_empty() => {
                    once(selected.route.replace(name.to_owned()).is_some(), "route")?;
                }
                Some(("subject", name)) if !name.is_empty() => {
                    once(selected.subject.replace(name.to_owned()).is_some(), "subject")?;
                }
                Some(("upstream", url)) if !url.is_empty() => {
                    once(selected.upstream.replace(url.to_owned()).is_some(), "upstream")?;
                }
                Some((NUMBER, number)) => {
                    let number = number.parse();
                    let number = number.map_err(|_| InvalidSelector::Part(part.to_owned()))?;
                    once(selected.upstream_number.replace(number).is_some(), NUMBER)?;
                }
                Some(("tag", tag)) => once(selected.tag.replace(tag.parse()?).is_some(), "tag")?,
                Some(_) | None => return Err(InvalidSelector::Part(part.to_owned())),
            }
        }
        Ok(selected)
    }
}

impl FromStr for Tag {
    type Err = InvalidSelector;

    /// Accepts `name:value` and `name=value`; the first separator counts.
    fn from_str(text: &str) -> Result<Self, InvalidSelector> {
        match text.split_once([':', '=']) {
            Some((name, value)) if !name.is_empty() && !value.is_empty() => {
                Ok(Self { name: name.to_owned(), value: value.to_owned() })
            }
            Some(_) | None => Err(InvalidSelector::Tag(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Selected, InvalidSelector> {
        text.parse()
    }

    #[test]
    fn parts_are_joined_by_commas() {
        assert_eq!(parse("all").unwrap().to_json(), serde_json::json!({}));
        assert_eq!(
            parse("route=chat,subject=a=b,tag=room:7:8").unwrap().to_json(),
            serde_json::json!({"route": "chat", "subject": "a=b", "tag": "room:7:8"})
        );
        assert_eq!(parse("tag=room=7").unwrap().tag.unwrap().to_contract(), "room:7");
    }

    #[test]
    fn what_selects_nothing_is_refused() {
        // An empty or misspelt selector must never mean all connections.
        for wrong in [
            "",
            "ALL",
            "route=",
            "subject=",
            "route=a,",
            "all,route=a",
            "rout=a",
            "chat",
            "upstream_number=x",
        ] {
            assert!(matches!(parse(wrong), Err(InvalidSelector::Part(_))), "{wrong}");
        }
        assert_eq!(parse("route=a,route=b"), Err(InvalidSelector::Twice("route")));
        for wrong in ["tag=", "tag=room", "tag=:7", "tag=room:"] {
            assert!(matches!(parse(wrong), Err(InvalidSelector::Tag(_))), "{wrong}");
        }
    }

    #[test]
    fn a_selection_is_written_as_it_is_read() {
        let select = SelectorRecord {
            route: Some("chat".into()),
            upstream: None,
            upstream_number: Some(1),
            subject: None,
            tag: Some("room:7".into()),
        };
        assert_eq!(Selected::describe(&select), "route=chat,tag=room:7,upstream_number=1");
        let read = parse(&Selected::describe(&select)).unwrap();
        assert_eq!(serde_json::from_value::<SelectorRecord<'_>>(read.to_json()).unwrap(), select);
        assert_eq!(Selected::describe(&SelectorRecord::default()), "all");
    }
}
