//! Paths with named segments. Pure.

use std::fmt;

/// A path of which segments have names: `/rooms/{room}`, or `/rooms/{room}/*` for all below.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathTemplate {
    segments: Vec<Segment>,
    /// It ends in `/*`.
    open: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Segment {
    /// This text.
    Fixed(String),
    /// Any text but the empty one.
    Named(String),
}

impl PathTemplate {
    /// Returns whether the template takes `path`, which has no query.
    pub fn matches(&self, path: &str) -> bool {
        self.segments_of(path).is_some()
    }

    /// Returns the names with the segments of `path` that they stand for, as they came.
    pub fn captures<'a>(&'a self, path: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let segments = self.segments_of(path).unwrap_or_default();
        self.segments.iter().zip(segments).filter_map(|(segment, text)| match segment {
            Segment::Named(name) => Some((name.as_str(), text)),
            Segment::Fixed(_) => None,
        })
    }

    /// Returns whether a segment has this name.
    pub fn names(&self, name: &str) -> bool {
        self.segments.iter().any(|segment| matches!(segment, Segment::Named(has) if has == name))
    }

    /// Returns the text that all its paths begin with.
    pub(crate) fn fixed_start(&self) -> String {
        let mut start = "/".to_owned();
        for segment in &self.segments {
            let Segment::Fixed(text) = segment else { return start };
            start.push_str(text);
            start.push('/');
        }
        start
    }

    /// Returns whether every path that starts with `prefix` is taken.
    pub(crate) fn covers_prefix(&self, prefix: &str) -> bool {
        self.open && self.matches(prefix)
    }

    /// Returns whether every path that `other` takes is taken by this template too.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let long_enough = match (self.open, other.open) {
            (false, false) => self.segments.len() == other.segments.len(),
            (false, true) => false,
            (true, false) => self.segments.len() < other.segments.len(),
            (true, true) => self.segments.len() <= other.segments.len(),
        };
        let wider = |(ours, theirs): (&Segment, &Segment)| match ours {
            Segment::Fixed(_) => ours == theirs,
            Segment::Named(_) => *theirs != Segment::Fixed(String::new()),
        };
        long_enough && self.segments.iter().zip(&other.segments).all(wider)
    }

    /// Takes a path apart, if it is taken.
    fn segments_of<'a>(&self, path: &'a str) -> Option<Vec<&'a str>> {
        let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let long_enough = match self.open {
            true => segments.len() > self.segments.len(),
            false => segments.len() == self.segments.len(),
        };
        let fits = |(segment, text): (&Segment, &&str)| match segment {
            Segment::Fixed(fixed) => fixed == text,
            Segment::Named(_) => !text.is_empty(),
        };
        (long_enough && self.segments.iter().zip(&segments).all(fits)).then_some(segments)
    }

    /// Reads a path that starts with `/`, with what is before a final `*`.
    pub(crate) fn parse(fixed: &str, open: bool) -> Option<Self> {
        let inner = fixed.strip_prefix('/')?;
        let inner = if open { inner.strip_suffix('/').unwrap_or(inner) } else { inner };
        let mut segments = Vec::new();
        for text in inner.split('/') {
            let name = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
            let segment = match name {
                Some(name) if is_name(name) => Segment::Named(name.to_owned()),
                None if !text.contains(['{', '}']) => Segment::Fixed(text.to_owned()),
                Some(_) | None => return None,
            };
            if matches!(segment, Segment::Named(_)) && segments.contains(&segment) {
                return None;
            }
            segments.push(segment);
        }
        Some(Self { segments, open })
    }
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            match segment {
                Segment::Fixed(text) => write!(f, "/{text}")?,
                Segment::Named(name) => write!(f, "/{{{name}}}")?,
            }
        }
        f.write_str(if self.open { "/*" } else { "" })
    }
}

pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.len() <= 64
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}
