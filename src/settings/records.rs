//! What of a request is recorded.

use serde::Deserialize;

use crate::policy::masking::{self, Masking};

/// Says what of a request is recorded, in log, ledger, API and metrics alike.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Records {
    /// Chooses what becomes of the query of a request's path.
    ///
    /// One of `mask` (values become ***), `keep`, `drop`. Default: mask. Cost: `keep` writes what
    /// clients put there, tokens included, to log and disk.
    pub query: QueryRecording,
    /// Lists the query parameters whose values are recorded although `query` is `mask`.
    ///
    /// Unit: names. Default: none. Cost: their values reach log and disk.
    pub query_keep: Vec<String>,
}

impl Records {
    /// Returns the path and query of a request as they may be recorded.
    pub(crate) fn recorded_path(&self, path_and_query: &str) -> String {
        masking::record_path(path_and_query, self.masking(), &self.query_keep)
    }

    /// Returns a URL as it may be recorded.
    pub(crate) fn recorded_url(&self, url: &str) -> String {
        masking::record_url(url, self.masking(), &self.query_keep)
    }

    fn masking(&self) -> Masking {
        match self.query {
            QueryRecording::Mask => Masking::Mask,
            QueryRecording::Keep => Masking::Keep,
            QueryRecording::Drop => Masking::Drop,
        }
    }
}

/// What becomes of the query of a request's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum QueryRecording {
    /// Names are kept, values become `***`.
    #[default]
    Mask,
    /// The query is recorded as it came.
    Keep,
    /// The query is cut off.
    Drop,
}
