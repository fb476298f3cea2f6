//! What comes into the model, and what it asks for.

use std::time::Instant;

use super::figures::Figures;
use super::filter::Wanted;
use super::sheet::Sheet;
use crate::contract::{ConnectionPage, EndingRecord, StatusRecord};

/// A key, or what happened elsewhere.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Input {
    Key(Key),
    /// The terminal has this many columns and lines.
    Resized(u16, u16),
    /// The daemon answered.
    News(Box<News>),
    /// The daemon could not be asked, for this reason.
    NoNews(String),
    /// Endings as they came, the oldest first.
    Ended(Vec<EndingRecord<'static>>),
    /// What was asked for is shown.
    Opened(Sheet),
    /// What happened to a request, in one sentence.
    Told(String),
}

/// An answer of the daemon about itself.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct News {
    pub(super) status: StatusRecord<'static>,
    pub(super) figures: Figures,
    /// The list, or why the daemon refused the request for it.
    pub(super) page: Result<ConnectionPage<'static>, String>,
    /// The request that it answers.
    pub(super) wanted: Wanted,
    pub(super) at: Instant,
}

/// A key as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Enter,
    Escape,
    Backspace,
    /// Ctrl-U.
    Clear,
    /// Ctrl-L.
    Redraw,
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-Z.
    Suspend,
}

/// What has to be done.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Request {
    /// Ask for the list and the figures now.
    Refresh,
    /// Show all of one connection.
    Show(String),
    /// Explain a connection.
    Why(String),
    /// Explain this ending.
    Explain(Box<EndingRecord<'static>>),
    /// Close a connection.
    Close(String),
    /// Begin or stop to follow endings.
    Follow(bool),
    /// Draw everything again.
    Redraw,
    /// Give the terminal to the shell until it continues this process.
    Suspend,
    Quit,
}
