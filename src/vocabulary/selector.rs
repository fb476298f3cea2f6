//! Selection of connections by route, subject, tag and upstream.

use super::{Direction, Origin, Upstream};

/// Selects connections that match every given field; the default selects all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selector {
    /// The name of the route.
    pub route: Option<String>,
    /// The authenticated subject.
    pub subject: Option<String>,
    /// The name and value of a tag.
    pub tag: Option<(String, String)>,
    /// The URL of an application, as it is recorded. This selects the application's clients, not the
    /// connections to it.
    pub upstream: Option<String>,
    /// The number of the application in its route, from 0, because recorded URLs may be equal.
    pub upstream_number: Option<usize>,
}

impl Selector {
    /// Returns whether it selects all connections.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Returns whether it selects a connection of this origin.
    pub fn matches(&self, origin: &Origin) -> bool {
        let Self { route, subject, tag, upstream, upstream_number } = self;
        let tagged = |(name, value): &(String, String)| origin.tags.get(name) == Some(value);
        (route.is_none() || *route == origin.route)
            && (subject.is_none() || *subject == origin.subject)
            && tag.as_ref().is_none_or(tagged)
            && upstream.as_ref().is_none_or(|url| is_client(origin, |of| of.url == *url))
            && upstream_number.is_none_or(|n| is_client(origin, |of| of.number == Some(n)))
    }
}

fn is_client(origin: &Origin, of: impl FnOnce(&Upstream) -> bool) -> bool {
    origin.direction == Direction::Inbound && origin.upstream.as_ref().is_some_and(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_that_is_given_must_match() {
        let mut origin = Origin::new(Direction::Inbound);
        origin.route = Some("chat".to_owned());
        origin.tags.insert("room".to_owned(), "7".to_owned());
        let tag = |value: &str| Some(("room".to_owned(), value.to_owned()));
        let chat = Selector { route: Some("chat".to_owned()), ..Selector::default() };
        assert!(Selector::default().matches(&origin) && Selector::default().is_all());
        assert!(chat.matches(&origin) && !chat.is_all());
        assert!(Selector { tag: tag("7"), ..chat.clone() }.matches(&origin));
        assert!(!Selector { tag: tag("8"), ..chat.clone() }.matches(&origin));
        assert!(!Selector { subject: Some("ann".to_owned()), ..chat }.matches(&origin));
        let echo = Selector { route: Some("echo".to_owned()), ..Selector::default() };
        assert!(!echo.matches(&origin));
        let app = |url: &str| Selector { upstream: Some(url.to_owned()), ..Selector::default() };
        assert!(!app("ws://a").matches(&origin));
        let url = "ws://a".to_owned();
        let upstream = Upstream { url, number: Some(1), addr: None, connect: None, status: None };
        origin.upstream = Some(upstream);
        assert!(app("ws://a").matches(&origin) && !app("ws://b").matches(&origin));
        let nth = |n| Selector { upstream_number: Some(n), ..app("ws://a") };
        assert!(nth(1).matches(&origin) && !nth(0).matches(&origin));
        origin.direction = Direction::Outbound;
        assert!(!app("ws://a").matches(&origin), "it is the connection to the application");
    }
}
