//! What `why` tells, as JSON.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ConnectionRecord, EndingRecord, plain_json};

/// The explanation of an ending or of an open connection, in sentences for people.
///
/// The sentences may change with any version; programs use the fields of the record. Characters that
/// could control a terminal are escaped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExplanationRecord {
    /// The connection's short id, and what happened or the state in one line.
    pub headline: String,
    /// Further details, the most important first.
    pub paragraphs: Vec<ParagraphRecord>,
}

/// A paragraph of an explanation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ParagraphRecord {
    /// What it is about: `Meaning`, `Fault`, `What to do`.
    pub topic: String,
    /// One or more sentences.
    pub text: String,
}

/// An ending, and its explanation if that was requested.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExplainedEndingRecord<'a> {
    /// The ending.
    #[serde(flatten)]
    pub ending: EndingRecord<'a>,
    /// What `lastword why` tells of it; absent without `explain=true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<ExplanationRecord>,
}

impl ExplainedEndingRecord<'_> {
    /// Adds an explanation to a stored ending, which otherwise stays as it is, with fields that this
    /// version does not know.
    ///
    /// # Errors
    /// When the stored text is not an object.
    pub fn of_stored(json: &str, explanation: &ExplanationRecord) -> serde_json::Result<String> {
        let open = json.trim_end().strip_suffix('}');
        let open = open.ok_or_else(|| serde::de::Error::custom("it is not an object"))?;
        Ok(format!("{open},\"explanation\":{}}}", plain_json::write(explanation)?))
    }
}

/// A live connection, and its explanation if that was requested.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExplainedConnectionRecord<'a> {
    /// The connection.
    #[serde(flatten)]
    pub connection: ConnectionRecord<'a>,
    /// What `lastword why` tells of it; absent without `explain=true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<ExplanationRecord>,
}
