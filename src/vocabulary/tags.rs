//! Validation of tags: names, values and their number. Pure.

/// The most tags that a connection may have.
pub const MAX_TAGS: usize = 32;

/// The longest name or value of a tag, and the longest subject, in bytes.
pub const LONGEST_TAG: usize = 256;

/// Why a tag is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidTag {
    /// The name is empty or too long, or cannot be used in a selector such as `tag=room:7`.
    #[error("the name of a tag has 1 to {LONGEST_TAG} printable bytes and no colon")]
    Name,
    /// The value is too long, or contains control characters.
    #[error("the value of a tag has {LONGEST_TAG} printable bytes at most")]
    Value,
    /// There are more than [`MAX_TAGS`].
    #[error("there are {0} tags: {MAX_TAGS} at most")]
    TooMany(usize),
}

/// Checks the name of a tag.
///
/// # Errors
/// [`InvalidTag::Name`].
pub fn check_tag_name(name: &str) -> Result<(), InvalidTag> {
    if name.is_empty() || name.contains(':') || !is_label(name) {
        return Err(InvalidTag::Name);
    }
    Ok(())
}

/// Checks the value of a tag.
///
/// # Errors
/// [`InvalidTag::Value`].
pub fn check_tag_value(value: &str) -> Result<(), InvalidTag> {
    if is_label(value) { Ok(()) } else { Err(InvalidTag::Value) }
}

/// Checks all tags of a connection.
///
/// # Errors
/// The first invalid tag with its name, or [`InvalidTag::TooMany`].
pub fn check_tags<'a>(
    tags: impl ExactSizeIterator<Item = (&'a str, &'a str)>,
) -> Result<(), (Option<&'a str>, InvalidTag)> {
    if tags.len() > MAX_TAGS {
        return Err((None, InvalidTag::TooMany(tags.len())));
    }
    for (name, value) in tags {
        check_tag_name(name)
            .and_then(|()| check_tag_value(value))
            .map_err(|error| (Some(name), error))?;
    }
    Ok(())
}

/// Returns whether a string is short and printable enough for a tag or a subject.
pub fn is_label(text: &str) -> bool {
    text.len() <= LONGEST_TAG && !text.contains(char::is_control)
}
