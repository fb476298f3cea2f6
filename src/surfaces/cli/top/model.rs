//! What `top` knows and shows, pure: input comes in, requests to the daemon and the terminal go out.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::figures::{Figures, Rates};
use super::filter::Wanted;
use super::input::{Input, Key, News, Request};
use super::sheet::Sheet;
use crate::contract::{ConnectionPage, ConnectionRecord, EndingRecord, StatusRecord};

/// The smallest terminal that shows everything.
pub(super) const SMALLEST: (u16, u16) = (80, 24);

/// The lines above the table: the header, the line about the list, and the heading of the table.
pub(super) const ABOVE: u16 = 7;

/// The lines below the table.
pub(super) const BELOW: u16 = 1;

/// The most connections that are asked for; the API allows no more.
pub(super) const MOST: usize = 1000;

/// Connections are asked for in multiples of this many.
const STEP: usize = 50;

/// Rates between looks that are less apart would jump.
const LEAST_APART: Duration = Duration::from_millis(150);

/// The number of endings that are kept.
const KEPT: usize = 500;

/// The longest filter, in characters.
const LONGEST_FILTER: usize = 200;

/// Which table is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    Connections,
    Endings,
}

/// What is in front of the table, and takes the keys.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Front {
    /// Nothing.
    Table,
    Help,
    /// A text, scrolled by this many lines.
    Sheet(Sheet, usize),
    /// The filter as it is being typed.
    Filter(String),
    /// Whether to close this connection.
    Question(Box<ConnectionRecord<'static>>),
}

/// Whether the daemon answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Link {
    Up,
    Down(String),
}

/// The state of the program.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) view: View,
    pub(super) front: Front,
    pub(super) link: Link,
    pub(super) size: (u16, u16),
    pub(super) status: Option<StatusRecord<'static>>,
    pub(super) figures: Figures,
    pub(super) rates: Option<Rates>,
    pub(super) connections: Vec<ConnectionRecord<'static>>,
    /// The number of connections that match the filter.
    pub(super) total: u64,
    /// The newest endings, the newest first.
    pub(super) endings: VecDeque<EndingRecord<'static>>,
    /// What happened last, until a key is pressed.
    pub(super) notice: Option<String>,
    pub(super) wanted: Wanted,
    selected: [usize; 2],
    /// The figures to which the next ones are compared.
    before: Option<(Figures, Instant)>,
}

impl Model {
    pub(super) fn new(wanted: Wanted, size: (u16, u16)) -> Self {
        let mut model = Self {
            view: View::Connections,
            front: Front::Table,
            link: Link::Up,
            size,
            status: None,
            figures: Figures::default(),
            rates: None,
            connections: Vec::new(),
            total: 0,
            endings: VecDeque::new(),
            notice: None,
            wanted,
            selected: [0, 0],
            before: None,
        };
        model.ask_for_enough();
        model
    }

    /// Takes an input; returns what has to be done.
    pub(super) fn handle(&mut self, input: Input) -> Vec<Request> {
        match input {
            Input::Key(key) => return self.handle_key(key),
            Input::Resized(columns, lines) => {
                self.size = (columns, lines);
                return self.ask_for_enough();
            }
            Input::News(news) => self.handle_news(*news),
            Input::NoNews(why) => {
                self.link = Link::Down(why);
                self.rates = None;
                self.before = None;
            }
            Input::Ended(endings) => self.add_endings(endings),
            // What was asked for in the meantime counts, not what comes late.
            Input::Opened(sheet) if matches!(self.front, Front::Table) => {
                self.front = Front::Sheet(sheet, 0);
            }
            Input::Opened(_) => {}
            Input::Told(what) => self.notice = Some(what),
        }
        Vec::new()
    }

    /// Returns the number of lines that the table has.
    pub(super) fn rows(&self) -> usize {
        usize::from(self.size.1.saturating_sub(ABOVE + BELOW)).max(1)
    }

    /// Returns the number of lines that a text has.
    pub(super) fn sheet_rows(&self) -> usize {
        // It begins where the heading of the table does, and takes the line about the list as well.
        self.rows() + 2
    }

    /// Returns whether the terminal is large enough.
    pub(super) fn is_large_enough(&self) -> bool {
        self.size.0 >= SMALLEST.0 && self.size.1 >= SMALLEST.1
    }

    /// Returns the selected line of the table.
    pub(super) fn selected(&self) -> usize {
        self.selected[self.view as usize].min(self.length().saturating_sub(1))
    }

    /// Returns the first line of the table that is shown, so that the selected one is in sight.
    pub(super) fn first_row(&self) -> usize {
        self.selected() / self.rows() * self.rows()
    }

    fn length(&self) -> usize {
        match self.view {
            View::Connections => self.connections.len(),
            View::Endings => self.endings.len(),
        }
    }

    fn handle_news(&mut self, news: News) {
        let News { status, figures, page, wanted, at } = news;
        let passed = self.before.as_ref().map(|(_, before)| at.saturating_duration_since(*before));
        if passed.is_none_or(|passed| passed >= LEAST_APART) {
            let before = self.before.replace((figures.clone(), at));
            self.rates = before
                .zip(passed)
                .and_then(|((before, _), passed)| Rates::between(&before, &figures, passed));
        }
        self.figures = figures;
        self.status = Some(status);
        if std::mem::replace(&mut self.link, Link::Up) != Link::Up {
            self.notice = Some("the daemon answers again".to_owned());
        }
        let is_current = Wanted { limit: self.wanted.limit, ..wanted } == self.wanted;
        match page {
            // An answer to what was asked before.
            _ if !is_current => {}
            Ok(page) => self.list(page),
            Err(why) => {
                self.connections.clear();
                self.total = 0;
                self.notice = Some(why);
            }
        }
    }

    fn list(&mut self, page: ConnectionPage<'static>) {
        let id = self.selected_connection().map(|connection| connection.id.clone());
        self.connections = page.connections;
        self.total = page.total.max(self.connections.len() as u64);
        let same = |one: &ConnectionRecord<'_>| Some(&one.id) == id.as_ref();
        // While the first line is selected, that is whichever connection comes first.
        if self.selected[0] > 0
            && let Some(at) = self.connections.iter().position(same)
        {
            self.selected[0] = at;
        }
    }

    /// Adds endings, the newest of which comes first in the list.
    fn add_endings(&mut self, endings: Vec<EndingRecord<'static>>) {
        let id = self.endings.get(self.selected[1]).map(|ending| ending.id.clone());
        for ending in endings {
            // The first ones are read from the ledger, and may come again as events.
            if !self.endings.iter().any(|known| known.id == ending.id) {
                self.endings.push_front(ending);
            }
        }
        self.endings.truncate(KEPT);
        if self.selected[1] > 0 {
            let same = |one: &EndingRecord<'_>| Some(&one.id) == id.as_ref();
            self.selected[1] = self.endings.iter().position(same).unwrap_or(self.selected[1]);
        }
    }

    fn handle_key(&mut self, key: Key) -> Vec<Request> {
        self.notice = None;
        match key {
            Key::Interrupt => return vec![Request::Quit],
            Key::Suspend => return vec![Request::Suspend],
            Key::Redraw => return vec![Request::Redraw],
            _ => {}
        }
        match std::mem::replace(&mut self.front, Front::Table) {
            Front::Table => self.handle_table_key(key),
            Front::Help => self.handle_help_key(key),
            Front::Sheet(sheet, scroll) => self.handle_sheet_key(key, sheet, scroll),
            Front::Filter(text) => self.handle_filter_key(key, text),
            Front::Question(connection) => self.handle_question_key(key, connection),
        }
    }

    fn handle_table_key(&mut self, key: Key) -> Vec<Request> {
        match key {
            Key::Char('q') => vec![Request::Quit],
            Key::Char('?' | 'h') => {
                self.front = Front::Help;
                Vec::new()
            }
            Key::Up | Key::Char('k') => self.select(|at, _| at.saturating_sub(1)),
            Key::Down | Key::Char('j') => self.select(|at, _| at + 1),
            Key::PageUp => self.select(|at, rows| at.saturating_sub(rows)),
            Key::PageDown | Key::Char(' ') => self.select(|at, rows| at + rows),
            Key::Home | Key::Char('g') => self.select(|_, _| 0),
            Key::End | Key::Char('G') => self.select(|_, _| usize::MAX),
            Key::Char('e') => self.switch(),
            Key::Char('w') => self.of_selected(Request::Why),
            Key::Enter => self.of_selected(Request::Show),
            Key::Char('c') if self.view == View::Connections => {
                if let Some(connection) = self.selected_connection() {
                    self.front = Front::Question(Box::new(connection.clone()));
                }
                Vec::new()
            }
            Key::Char('/') if self.view == View::Connections => {
                self.front = Front::Filter(self.wanted.filter.clone());
                Vec::new()
            }
            Key::Escape if self.view == View::Endings => self.switch(),
            Key::Escape if !self.wanted.filter.is_empty() => self.filter_by(String::new()),
            Key::Char(key @ ('s' | 'S')) if self.view == View::Connections => {
                self.wanted.sort = self.wanted.sort.next(key == 's');
                self.start_over()
            }
            Key::Char('r') if self.view == View::Connections => {
                self.wanted.reverse = !self.wanted.reverse;
                self.start_over()
            }
            Key::Char(_)
            | Key::Escape
            | Key::Backspace
            | Key::Clear
            | Key::Redraw
            | Key::Interrupt
            | Key::Suspend => Vec::new(),
        }
    }

    fn handle_help_key(&mut self, key: Key) -> Vec<Request> {
        if !is_done(key) {
            self.front = Front::Help;
        }
        Vec::new()
    }

    fn handle_sheet_key(&mut self, key: Key, sheet: Sheet, scroll: usize) -> Vec<Request> {
        let page = self.sheet_rows();
        let last = sheet.lines(self.size.0).saturating_sub(page);
        let scroll = match key {
            key if is_done(key) => return Vec::new(),
            Key::Up | Key::Char('k') => scroll.saturating_sub(1),
            Key::Down | Key::Char('j') => scroll + 1,
            Key::PageUp => scroll.saturating_sub(page),
            Key::PageDown | Key::Char(' ') => scroll + page,
            Key::Home | Key::Char('g') => 0,
            Key::End | Key::Char('G') => last,
            Key::Char('w') => {
                if let Sheet::Details(connection) = &sheet {
                    return vec![Request::Why(connection.id.to_string())];
                }
                scroll
            }
            _ => scroll,
        };
        self.front = Front::Sheet(sheet, scroll.min(last));
        Vec::new()
    }

    fn handle_filter_key(&mut self, key: Key, mut text: String) -> Vec<Request> {
        match key {
            Key::Enter => return self.filter_by(text),
            Key::Escape => return Vec::new(),
            Key::Backspace => {
                text.pop();
            }
            Key::Clear => text.clear(),
            Key::Char(c) if text.chars().count() < LONGEST_FILTER && !c.is_control() => {
                text.push(c);
            }
            _ => {}
        }
        self.front = Front::Filter(text);
        Vec::new()
    }

    fn handle_question_key(
        &mut self,
        key: Key,
        connection: Box<ConnectionRecord<'static>>,
    ) -> Vec<Request> {
        match key {
            Key::Char('y' | 'Y') => vec![Request::Close(connection.id.to_string())],
            Key::Char('n' | 'N' | 'q') | Key::Escape => Vec::new(),
            _ => {
                self.front = Front::Question(connection);
                Vec::new()
            }
        }
    }

    fn switch(&mut self) -> Vec<Request> {
        self.view = match self.view {
            View::Connections => View::Endings,
            View::Endings => View::Connections,
        };
        vec![Request::Follow(self.view == View::Endings)]
    }

    fn filter_by(&mut self, filter: String) -> Vec<Request> {
        self.wanted.filter = filter.trim().to_owned();
        self.start_over()
    }

    /// Asks for another list, from its beginning.
    fn start_over(&mut self) -> Vec<Request> {
        self.selected[0] = 0;
        self.ask_for_enough();
        vec![Request::Refresh]
    }

    fn select(&mut self, place: impl FnOnce(usize, usize) -> usize) -> Vec<Request> {
        let last = self.length().saturating_sub(1);
        let at = place(self.selected(), self.rows()).min(last);
        self.selected[self.view as usize] = at;
        self.ask_for_enough()
    }

    /// Makes the request large enough for the lines in sight and those that come next.
    fn ask_for_enough(&mut self) -> Vec<Request> {
        let seen = self.selected[0].min(MOST) + 2 * self.rows();
        let limit = (seen.div_ceil(STEP) * STEP).min(MOST);
        let is_more = limit > self.wanted.limit;
        self.wanted.limit = limit;
        if is_more && self.total > self.connections.len() as u64 {
            return vec![Request::Refresh];
        }
        Vec::new()
    }

    /// Makes a request about the selected connection; all that there is to say of an ending is why.
    fn of_selected(&self, request: impl FnOnce(String) -> Request) -> Vec<Request> {
        let request = match self.view {
            View::Connections => self.selected_connection().map(|one| request(one.id.to_string())),
            View::Endings => {
                let ending = self.endings.get(self.selected());
                ending.map(|ending| Request::Explain(Box::new(ending.clone())))
            }
        };
        request.into_iter().collect()
    }

    fn selected_connection(&self) -> Option<&ConnectionRecord<'static>> {
        self.connections.get(self.selected[0].min(self.connections.len().saturating_sub(1)))
    }
}

/// Returns whether a key closes a text.
fn is_done(key: Key) -> bool {
    matches!(key, Key::Escape | Key::Enter | Key::Char('q' | '?'))
}
