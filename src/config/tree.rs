//! Reads the schema from the merged tree, strictly.
//!
//! `config` would read it as well, but leniently: it takes "5" for 5 and 5 for "5", and its errors
//! are texts. Here types are those of TOML, except in raw text (an environment variable or an
//! unquoted `--set` value), which has the type that its key wants.

use std::collections::BTreeMap;
use std::fmt;

use ::config::{Value, ValueKind};
use serde::de::value::{BorrowedStrDeserializer, MapAccessDeserializer, StrDeserializer};
use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, Expected, IntoDeserializer, MapAccess,
    SeqAccess, Unexpected, Visitor,
};

use super::error::closest;

/// Marks a value as raw text, in the place that `config` keeps for a description of the origin.
const RAW: &str = "raw text";

/// Makes a value of text that has no type yet.
pub(super) fn raw_text(text: &str) -> Value {
    Value::new(Some(&RAW.to_owned()), text)
}

/// A value that does not fit the schema; the caller knows the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Misfit {
    UnknownKey { key: String, known: &'static [&'static str] },
    MissingKey(&'static str),
    Value(String),
}

/// Reads a `T` from a value of the merged tree.
///
/// # Errors
/// The first misfit in the order of the keys, with its path.
pub(super) fn read<T: for<'de> Deserialize<'de>>(
    value: &Value,
) -> Result<T, serde_path_to_error::Error<Misfit>> {
    serde_path_to_error::deserialize(Tree(value))
}

/// Returns the keys that a section knows.
pub(crate) fn keys_of<T: for<'de> Deserialize<'de>>() -> &'static [&'static str] {
    // No key is empty, so the section answers with those it has.
    let probe = BTreeMap::from([("", 0)]);
    match T::deserialize(de::value::MapDeserializer::new(probe.into_iter())) {
        Err(Misfit::UnknownKey { known, .. }) => known,
        Ok(_) | Err(Misfit::MissingKey(_) | Misfit::Value(_)) => &[],
    }
}

struct Tree<'de>(&'de Value);

impl<'de> Tree<'de> {
    /// Gives raw text the type that TOML sees in it, if it is a scalar.
    fn typed(&self) -> ValueKind {
        let ValueKind::String(text) = &self.0.kind else {
            return self.0.kind.clone();
        };
        if self.0.origin() != Some(RAW) {
            return self.0.kind.clone();
        }
        match text.trim().parse::<toml::Value>() {
            Ok(toml::Value::Boolean(flag)) => ValueKind::Boolean(flag),
            Ok(toml::Value::Integer(number)) => ValueKind::I64(number),
            Ok(toml::Value::Float(number)) => ValueKind::Float(number),
            _ => self.0.kind.clone(),
        }
    }

    fn misfit(&self, expected: &str) -> Misfit {
        let found = match &self.0.kind {
            ValueKind::String(text) => format!("the text {text:?}"),
            ValueKind::Array(_) => "an array".to_owned(),
            ValueKind::Table(_) => "a table".to_owned(),
            ValueKind::Nil => "nothing".to_owned(),
            scalar => format!("{scalar}"),
        };
        let remedy = match (&self.0.kind, self.0.origin()) {
            (ValueKind::String(_), Some(RAW)) if expected == ARRAY => {
                "; set arrays in a file, or with --set 'key=[…]'"
            }
            _ => "",
        };
        Misfit::Value(format!("expected {expected}, found {found}{remedy}"))
    }

    fn whole_number<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.typed() {
            ValueKind::I64(number) => match u64::try_from(number) {
                Ok(number) => visitor.visit_u64(number),
                Err(_) => Err(self.misfit("a whole number that is not negative")),
            },
            ValueKind::I128(_) => Err(self.misfit("a whole number of at most 63 bits")),
            _ => Err(self.misfit("a whole number")),
        }
    }
}

const ARRAY: &str = "an array";

/// The name of the type that says where a secret comes from.
const SECRET_SOURCE: &str = "SecretSource";
const NO_SECRET_SOURCE: &str = "expected where the text comes from: write { env = \"NAME\" }, \
    { file = \"PATH\" }, or { value = \"TEXT\" } for what is no secret (the text that stands there \
    is not repeated: it may be one)";

impl<'de> Deserializer<'de> for Tree<'de> {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match &self.0.kind {
            ValueKind::Boolean(flag) => visitor.visit_bool(*flag),
            ValueKind::I64(number) => visitor.visit_i64(*number),
            ValueKind::Float(number) => visitor.visit_f64(*number),
            ValueKind::String(text) => visitor.visit_borrowed_str(text),
            ValueKind::Array(_) => self.deserialize_seq(visitor),
            ValueKind::Table(_) => self.deserialize_map(visitor),
            // Numbers beyond 63 bits; the rest is made by no layer.
            ValueKind::I128(_) | ValueKind::Nil | ValueKind::U64(_) | ValueKind::U128(_) => {
                Err(self.misfit(&(&visitor as &dyn Expected).to_string()))
            }
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.typed() {
            ValueKind::Boolean(flag) => visitor.visit_bool(flag),
            _ => Err(self.misfit("true or false")),
        }
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.whole_number(visitor)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.whole_number(visitor)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.whole_number(visitor)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.whole_number(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match &self.0.kind {
            ValueKind::String(text) => visitor.visit_borrowed_str(text),
            // The visitor knows what the text should say.
            _ => Err(self.misfit(&(&visitor as &dyn Expected).to_string())),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match &self.0.kind {
            ValueKind::String(text) => visitor.visit_borrowed_str(text),
            _ => Err(self.misfit("text in quotes")),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match &self.0.kind {
            ValueKind::Array(elements) => visitor.visit_seq(Elements(elements.iter())),
            _ => Err(self.misfit(ARRAY)),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match &self.0.kind {
            ValueKind::Table(table) => visitor.visit_map(Entries::new(table)),
            _ => Err(self.misfit("a table")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        match &self.0.kind {
            // The value may be a secret that was written here by mistake.
            ValueKind::String(_) if name == SECRET_SOURCE => {
                Err(Misfit::Value(NO_SECRET_SOURCE.to_owned()))
            }
            ValueKind::String(word) => {
                let word: StrDeserializer<'de, Misfit> = word.as_str().into_deserializer();
                word.deserialize_enum(name, words, visitor)
            }
            ValueKind::Table(table) => MapAccessDeserializer::new(Entries::new(table))
                .deserialize_enum(name, words, visitor),
            _ => Err(self.misfit(&format!("one of {}", words.join(", ")))),
        }
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u128 f32 f64 char bytes byte_buf unit unit_struct tuple
        tuple_struct identifier ignored_any
    }
}

struct Elements<'de>(std::slice::Iter<'de, Value>);

impl<'de> SeqAccess<'de> for Elements<'de> {
    type Error = Misfit;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Misfit> {
        self.0.next().map(|element| seed.deserialize(Tree(element))).transpose()
    }
}

/// The entries of a table in the order of their keys, so that the same error always comes first.
struct Entries<'de> {
    rest: std::vec::IntoIter<(&'de String, &'de Value)>,
    value: Option<&'de Value>,
}

impl<'de> Entries<'de> {
    fn new(table: &'de ::config::Map<String, Value>) -> Self {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_unstable_by_key(|(key, _)| *key);
        Self { rest: entries.into_iter(), value: None }
    }
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Misfit;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Misfit> {
        let Some((key, value)) = self.rest.next() else {
            return Ok(None);
        };
        self.value = Some(value);
        seed.deserialize(BorrowedStrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Misfit> {
        match self.value.take() {
            Some(value) => seed.deserialize(Tree(value)),
            None => Err(de::Error::custom("a value was asked for before its key")),
        }
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey { key, .. } => write!(f, "unknown key {key}"),
            Self::MissingKey(key) => write!(f, "missing key {key}"),
            Self::Value(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Misfit {}

impl de::Error for Misfit {
    fn custom<T: fmt::Display>(why: T) -> Self {
        Self::Value(why.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Map => "a table".to_owned(),
            Unexpected::Seq => ARRAY.to_owned(),
            other => other.to_string(),
        };
        Self::Value(format!("expected {expected}, found {found}"))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Self::UnknownKey { key: key.to_owned(), known }
    }

    fn missing_field(key: &'static str) -> Self {
        Self::MissingKey(key)
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        let remedy = closest(word, known).map(|word| format!("; did you mean {word:?}?"));
        let remedy = remedy.unwrap_or_default();
        Self::Value(format!("{word:?} is not one of {}{remedy}", known.join(", ")))
    }
}
