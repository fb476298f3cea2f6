//! Which connections are meant.

use super::{Direction, Origin, Upstream};

/// Selects connections; what is `None` is not asked for, so the default selects all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selector {
    /// The name of their route.
    pub route: Option<String>,
    /// Who they are.
    pub subject: Option<String>,
    /// A label that they have: its name and its value.
    pub tag: Option<(String, String)>,
    /// The application that they are passed on to, by its URL as it is recorded: its clients, not
    /// the connections to it.
    pub upstream: Option<String>,
    /// Which of a route's applications that is, from 0: two may have one URL as it is recorded.
    pub upstream_number: Option<usize>,
}

impl Selector {
    /// Tells whether it selects everything.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Tells whether a connection of this origin is meant.
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
