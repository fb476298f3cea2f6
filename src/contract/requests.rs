//! The bodies of the control API's requests. An unknown field is an error.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{DialBackend, DialReconnect, DialReplies, DialSteps, SelectorRecord};
use crate::settings::values;
use crate::vocabulary::{Message, Secret, Selector};

/// A message: `POST /v1/connections/{id}/messages`. Exactly one of the two is given.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MessageRequest<'a> {
    /// A text message.
    pub text: Option<Cow<'a, str>>,
    /// A binary message, in base64 with padding (RFC 4648 section 4).
    pub binary: Option<Cow<'a, str>>,
}

/// A close: `POST /v1/connections/{id}/close`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CloseRequest<'a> {
    /// The close code: 1000–1003, 1007–1014 or 3000–4999; 1000 by default.
    pub code: Option<u64>,
    /// The close reason, of at most 123 bytes.
    pub reason: Option<Cow<'a, str>>,
    /// Whether to wait for the ending; true by default.
    pub wait: Option<bool>,
}

/// A new token: `POST /v1/connections/{id}/token`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// The token, as it would be sent at the opening.
    #[serde(deserialize_with = "values::secret")]
    #[schema(value_type = String)]
    pub token: Secret,
}

/// A dial: `POST /v1/connections`.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DialRequest<'a> {
    /// The URL: `ws://host:port/path`.
    pub url: Cow<'a, str>,
    /// Header lines for the request; they are never recorded.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Subprotocols to offer, the best first.
    #[serde(default)]
    pub subprotocols: Vec<String>,
    /// Labels of the connection.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// How to dial again, which makes it a dialer; without it, it is dialled once.
    #[serde(default)]
    pub reconnect: DialReconnect,
    /// The dialer's name; generated if missing.
    #[serde(default)]
    pub name: Option<Cow<'a, str>>,
    /// Where its messages go.
    #[serde(default)]
    pub backend: DialBackend,
    /// What a dialer sends after opening, and waits for in between.
    #[serde(default)]
    pub on_open: DialSteps,
    /// What a message must contain before a dialer counts as ready.
    #[serde(default)]
    pub ready_on: Option<String>,
    /// Texts that a dialer answers, and with what.
    #[serde(default)]
    pub reply: DialReplies,
}

/// A broadcast: `POST /v1/broadcast`. Exactly one of `text` and `binary` is given.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BroadcastRequest<'a> {
    /// Which connections; all if nothing is asked for.
    pub select: SelectorRecord<'a>,
    /// A text message.
    pub text: Option<Cow<'a, str>>,
    /// A binary message, in base64 with padding (RFC 4648 section 4).
    pub binary: Option<Cow<'a, str>>,
}

/// A drain: `POST /v1/drain`. What is not given is as in `[drain]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DrainRequest<'a> {
    /// How long it may take in all: a duration such as `60s`.
    pub within: Option<Cow<'a, str>>,
    /// Over how long the Closes are sent: a duration, or `auto`.
    pub spread: Option<Cow<'a, str>>,
    /// How many Closes are sent per second, instead of `spread`.
    #[schema(minimum = 1)]
    pub rate: Option<u32>,
    /// The close code.
    pub code: Option<u64>,
    /// The close reason, of at most 123 bytes.
    pub reason: Option<Cow<'a, str>>,
    /// Which connections; all if nothing is asked for.
    pub select: SelectorRecord<'a>,
    /// Whether a drain of all connections goes on refusing new ones once it has finished.
    pub stay: bool,
}

/// Why a request is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// There is no message, or there are two.
    #[error("give either text or binary, and not both")]
    OneMessage,
    /// The binary message cannot be decoded.
    #[error("binary: not base64 with padding (RFC 4648 section 4): {0}")]
    Base64(String),
    /// A tag has no value.
    #[error("tag: {0:?} is not a tag: write name:value")]
    Tag(String),
}

impl MessageRequest<'_> {
    /// Returns the message.
    ///
    /// # Errors
    /// [`RequestError`] if there is not exactly one.
    pub fn into_message(self) -> Result<Message, RequestError> {
        message(self.text, self.binary)
    }
}

impl BroadcastRequest<'_> {
    /// Returns the message, and which connections are meant.
    ///
    /// # Errors
    /// [`RequestError`] if there is not exactly one message, or a tag means nothing.
    pub fn into_parts(self) -> Result<(Message, Selector), RequestError> {
        Ok((message(self.text, self.binary)?, self.select.selector()?))
    }
}

fn message(
    text: Option<Cow<'_, str>>,
    binary: Option<Cow<'_, str>>,
) -> Result<Message, RequestError> {
    match (text, binary) {
        (Some(text), None) => Ok(Message::text(text)),
        (None, Some(binary)) => {
            let payload = STANDARD.decode(binary.as_bytes());
            let payload = payload.map_err(|error| RequestError::Base64(error.to_string()))?;
            Ok(Message::binary(payload))
        }
        (None, None) | (Some(_), Some(_)) => Err(RequestError::OneMessage),
    }
}

impl SelectorRecord<'_> {
    /// Returns which connections are meant.
    ///
    /// # Errors
    /// [`RequestError::Tag`] for a tag without a colon.
    pub fn selector(&self) -> Result<Selector, RequestError> {
        let tag = self.tag.as_deref().map(split_tag).transpose()?;
        let owned = |text: &Option<Cow<'_, str>>| text.as_deref().map(str::to_owned);
        Ok(Selector {
            route: owned(&self.route),
            subject: owned(&self.subject),
            tag,
            upstream: owned(&self.upstream),
            // A number beyond what memory can hold is that of no application.
            upstream_number: self
                .upstream_number
                .map(|number| usize::try_from(number).unwrap_or(usize::MAX)),
        })
    }
}

/// Splits `name:value` at the first colon.
fn split_tag(tag: &str) -> Result<(String, String), RequestError> {
    match tag.split_once(':') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err(RequestError::Tag(tag.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Message, RequestError> {
        serde_json::from_str::<MessageRequest<'_>>(json).unwrap().into_message()
    }

    #[test]
    fn a_message_is_either_text_or_binary() {
        assert_eq!(read(r#"{"text":"ü"}"#), Ok(Message::text("ü")));
        assert_eq!(read(r#"{"text":""}"#), Ok(Message::text("")));
        assert_eq!(read(r#"{"binary":"AAH/"}"#), Ok(Message::binary(vec![0, 1, 255])));
        assert_eq!(read("{}"), Err(RequestError::OneMessage));
        assert_eq!(read(r#"{"text":"","binary":""}"#), Err(RequestError::OneMessage));
        for wrong in ["AAH", "AA=", "%%%%", "AAH_"] {
            let json = format!(r#"{{"binary":"{wrong}"}}"#);
            assert!(matches!(read(&json), Err(RequestError::Base64(_))), "{wrong}");
        }
    }

    #[test]
    fn a_tag_is_a_name_and_a_value() {
        let tag =
            |tag: &'static str| SelectorRecord { tag: Some(tag.into()), ..Default::default() };
        let pair = |name: &str, value: &str| Some((name.to_owned(), value.to_owned()));
        assert_eq!(tag("room:7").selector().unwrap().tag, pair("room", "7"));
        assert_eq!(tag("url:ws://x").selector().unwrap().tag, pair("url", "ws://x"));
        assert_eq!(tag("room:").selector().unwrap().tag, pair("room", ""));
        assert!(tag("room").selector().is_err() && tag(":7").selector().is_err());
        assert!(SelectorRecord::default().selector().unwrap().is_all());
    }
}
