//! A text that is read in front of the table.

use std::time::SystemTime;

use crate::contract::{ConnectionRecord, EndingRecord, ExplanationRecord};
use crate::explanation;
use crate::surfaces::cli::console::Look;
use crate::surfaces::cli::{live, table, why};

/// A text to read.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Sheet {
    /// All of one connection, as `show` has it.
    Details(Box<ConnectionRecord<'static>>),
    /// What `why` tells.
    Explanation(ExplanationRecord),
}

impl Sheet {
    /// Explains an ending.
    pub(super) fn of_ending(ending: &EndingRecord<'_>, now: SystemTime) -> Self {
        Self::Explanation(explanation::of_ending(ending, now))
    }

    /// Formats it for this width.
    pub(super) fn text(&self, look: Look) -> String {
        match self {
            Self::Details(connection) => table::draw_pairs(&live::whole(connection), look),
            Self::Explanation(explanation) => why::draw(explanation, look),
        }
    }

    /// Returns the number of lines at this width.
    pub(super) fn lines(&self, width: u16) -> usize {
        let look = Look { width: Some(usize::from(width)), ..Look::PLAIN };
        self.text(look).lines().count()
    }
}
