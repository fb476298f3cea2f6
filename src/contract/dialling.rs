//! Parts of `POST /v1/connections` that have a short form and a long one.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, MapDeserializer};
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::openapi::{ArrayBuilder, RefOr};
use utoipa::{PartialSchema, ToSchema};

use super::{ConnectionRecord, DialerRecord};
use crate::settings::{DialerBackend, OpeningStep, Reconnect, Reply};

/// How to dial again: `true`, or an object with keys of `[[dialers]].reconnect`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DialReconnect(pub Option<Reconnect>);

/// The backend of a dialled connection: a name, or an object as in `[[dialers]].backend`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DialBackend(pub DialerBackend);

/// What a dialer sends after opening: texts, or objects as in `[[dialers]].on_open`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(transparent)]
pub struct DialSteps(pub Vec<OpeningStep>);

/// What a dialer answers: objects as in `[[dialers]].reply`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(transparent)]
pub struct DialReplies(pub Vec<Reply>);

/// The result of a dial: a connection, or with `reconnect` a dialer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum DialedRecord<'a> {
    /// A connection.
    Connection(Box<ConnectionRecord<'a>>),
    /// A dialer.
    Dialer(Box<DialerRecord<'a>>),
}

impl<'de> Deserialize<'de> for DialReconnect {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;
        impl<'de> Visitor<'de> for Forms {
            type Value = Option<Reconnect>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, or an object with min, max, stable_after or never_on")
            }

            fn visit_bool<E: Error>(self, wanted: bool) -> Result<Self::Value, E> {
                Ok(wanted.then(Reconnect::default))
            }

            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(None)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                Reconnect::deserialize(MapAccessDeserializer::new(map)).map(Some)
            }
        }
        deserializer.deserialize_any(Forms).map(Self)
    }
}

impl<'de> Deserialize<'de> for DialBackend {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;
        impl<'de> Visitor<'de> for Forms {
            type Value = DialerBackend;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"none\", \"echo\", or an object with kind and url")
            }

            fn visit_str<E: Error>(self, kind: &str) -> Result<Self::Value, E> {
                DialerBackend::deserialize(MapDeserializer::new([("kind", kind)].into_iter()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                DialerBackend::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_any(Forms).map(Self)
    }
}

impl PartialSchema for DialReconnect {
    fn schema() -> RefOr<Schema> {
        let duration =
            |what: &str| ObjectBuilder::new().schema_type(Type::String).description(Some(what));
        let codes = ArrayBuilder::new().items(ObjectBuilder::new().schema_type(Type::Integer));
        let plan = ObjectBuilder::new()
            .property("min", duration("The shortest wait: a duration such as `200ms`."))
            .property("max", duration("The longest wait."))
            .property(
                "stable_after",
                duration("How long a connection must stay open to reset the wait."),
            )
            .property(
                "never_on",
                codes.description(Some("Close codes after which the dialer gives up.")),
            );
        let switch = ObjectBuilder::new().schema_type(Type::Boolean);
        let none = ObjectBuilder::new().schema_type(Type::Null);
        OneOfBuilder::new().item(none).item(switch).item(plan).into()
    }
}

impl ToSchema for DialReconnect {}

impl PartialSchema for DialSteps {
    fn schema() -> RefOr<Schema> {
        let text = || ObjectBuilder::new().schema_type(Type::String);
        let step = ObjectBuilder::new()
            .property("send", text().description(Some("The text to send.")))
            .property(
                "wait_for",
                text().description(Some("The text that a later message must contain.")),
            );
        ArrayBuilder::new().items(OneOfBuilder::new().item(text()).item(step)).into()
    }
}

impl ToSchema for DialSteps {}

impl PartialSchema for DialReplies {
    fn schema() -> RefOr<Schema> {
        let text =
            |what: &str| ObjectBuilder::new().schema_type(Type::String).description(Some(what));
        let reply = ObjectBuilder::new()
            .property("when", text("The exact text message to answer."))
            .required("when")
            .property("send", text("The answer."))
            .required("send");
        ArrayBuilder::new().items(reply).into()
    }
}

impl ToSchema for DialReplies {}

impl PartialSchema for DialBackend {
    fn schema() -> RefOr<Schema> {
        let text = || ObjectBuilder::new().schema_type(Type::String);
        let word = text().enum_values(Some(["none", "echo"]));
        let relay = ObjectBuilder::new()
            .property("kind", text().enum_values(Some(["none", "echo", "relay"])))
            .required("kind")
            .property("url", text().description(Some("The URL of the application, for `relay`.")))
            .description(Some("As `[[dialers]].backend`, with its other keys."));
        OneOfBuilder::new().item(word).item(relay).into()
    }
}

impl ToSchema for DialBackend {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn reconnect_is_a_switch_or_a_plan() {
        let read = |json: &str| serde_json::from_str::<DialReconnect>(json).map(|read| read.0);
        assert_eq!(read("null").unwrap(), None);
        assert_eq!(read("false").unwrap(), None);
        assert_eq!(read("true").unwrap(), Some(Reconnect::default()));
        let plan = read(r#"{"min":"1s","never_on":[4004]}"#).unwrap().unwrap();
        assert_eq!((plan.min, &*plan.never_on), (Duration::from_secs(1), &[4004][..]));
        assert_eq!(plan.max, Reconnect::default().max);
        for wrong in ["1", r#""yes""#, "[]", r#"{"mni":"1s"}"#, r#"{"min":1}"#] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_backend_is_a_word_or_a_table() {
        let read = |json: &str| serde_json::from_str::<DialBackend>(json).map(|read| read.0);
        assert_eq!(read(r#""echo""#).unwrap(), DialerBackend::Echo);
        assert_eq!(read(r#"{"kind":"none"}"#).unwrap(), DialerBackend::None);
        let relay = read(r#"{"kind":"relay","url":"ws://a/b","tries":3}"#).unwrap();
        assert!(matches!(relay, DialerBackend::Relay(relay) if relay.tries == 3));
        for wrong in [r#""relay""#, r#""x""#, "7", "null", r#"{"kind":"echo","url":"ws://a"}"#] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
