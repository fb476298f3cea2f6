//! Draws what `top` shows, pure: a model becomes lines, and lines become cells of the terminal.

use comfy_table::Color as TableColor;
use ratatui_core::buffer::Buffer;
use ratatui_core::style::{Color, Modifier, Style};

use super::figures::{Figures, Rates};
use super::model::{ABOVE, BELOW, Front, Link, MOST, Model, SMALLEST, View};
use super::sheet::Sheet;
use crate::contract::StatusRecord;
use crate::explanation::wording::{lasting, safe, safe_or, short_id, size};
use crate::surfaces::cli::console::Look;
use crate::surfaces::cli::{endings, live, table};

/// A sentence at the bottom has at most this many lines.
const LONGEST_FOOTER: usize = 4;

const KEYS: [(&str, &str); 14] = [
    ("Enter", "show all of a connection; explain an ending"),
    ("w", "explain the connection or the ending (why)"),
    ("c", "close the connection with 1000, after a question"),
    ("e", "endings as they come, and back to connections"),
    ("/", "filter: a text, and route= state= direction= subject= peer= path= tag= upstream="),
    ("Esc", "remove the filter; leave a text"),
    ("s  S", "sort by the next or the previous field"),
    ("r", "reverse the order"),
    ("Up Down", "select a line; also j and k"),
    ("PgUp PgDn", "a page up or down; also Space"),
    ("Home End", "the first or the last line; also g and G"),
    ("Ctrl-L", "draw everything again"),
    ("Ctrl-Z", "back to the shell; fg continues"),
    ("q", "quit; also Ctrl-C"),
];

/// Draws a model onto the whole buffer.
pub(super) fn draw(model: &Model, look: Look, buffer: &mut Buffer) {
    let area = buffer.area;
    let mut canvas = Canvas { buffer, colours: look.colours };
    // The canvas has the colours; these are plain texts.
    let plain = Look { width: Some(usize::from(area.width)), colours: false, ..look };
    if !model.is_large_enough() {
        let (columns, lines) = model.size;
        canvas.put(0, &format!("The terminal has {columns}x{lines}."), Style::new());
        canvas.put(1, &format!("top needs {}x{}.", SMALLEST.0, SMALLEST.1), Style::new());
        canvas.put(2, "q quits.", Style::new());
        return;
    }
    for (line, (text, is_alarm)) in header(model).iter().enumerate() {
        let style = match (line, is_alarm) {
            (_, true) => canvas.style(Color::Red).add_modifier(Modifier::BOLD),
            (0, false) => Style::new().add_modifier(Modifier::BOLD),
            _ => Style::new(),
        };
        canvas.put(line as u16, text, style);
    }
    match &model.front {
        Front::Help => text(&mut canvas, &help(plain), 0, model.sheet_rows()),
        Front::Sheet(sheet, scroll) => {
            text(&mut canvas, &sheet.text(plain), *scroll, model.sheet_rows());
        }
        Front::Table | Front::Filter(_) | Front::Question(_) => {
            canvas.put(ABOVE - 2, &about(model), Style::new());
            list(&mut canvas, model, plain);
        }
    }
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let footer = table::wrap(&footer(model), plain);
    let lines: Vec<&str> = footer.lines().take(LONGEST_FOOTER).collect();
    // A long sentence covers the last lines of the table.
    let first =
        area.height.saturating_sub(BELOW).saturating_sub(lines.len().saturating_sub(1) as u16);
    let width = usize::from(area.width);
    for (line, text) in (first..).zip(lines) {
        canvas.put(line, &format!("{text:width$}"), bold);
    }
}

/// Writes one frame as text.
pub(super) fn write(model: &Model, look: Look) -> String {
    let mut lines: Vec<String> = header(model).into_iter().map(|(text, _)| text).collect();
    lines.push(about(model));
    let rows = model.connections.len().min(model.rows());
    lines.push(live::table(&model.connections[..rows], look));
    lines.join("\n")
}

struct Canvas<'a> {
    buffer: &'a mut Buffer,
    colours: bool,
}

impl Canvas<'_> {
    /// Writes a line; what does not fit is cut off.
    fn put(&mut self, line: u16, text: &str, style: Style) {
        if line < self.buffer.area.height {
            self.buffer.set_string(0, line, text, style);
        }
    }

    fn style(&self, colour: Color) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new() }
    }
}

/// Returns the lines of the header, and whether each is an alarm.
fn header(model: &Model) -> [(String, bool); 5] {
    let figures = &model.figures;
    let (node, is_drained) = match &model.status {
        Some(status) => (node(status), !status.accepting),
        None => ("lastword".to_owned(), false),
    };
    let (ledger, is_bad) = ledger(model);
    [
        match &model.link {
            Link::Up => (node, is_drained),
            Link::Down(why) => (format!("retrying: {}", safe(why)), true),
        },
        (connections(figures, model.rates.as_ref()), false),
        (ended(model.rates.as_ref()), false),
        (memory(figures), false),
        (ledger, is_bad),
    ]
}

fn node(status: &StatusRecord<'_>) -> String {
    let mut text = format!(
        "{} (lastword {})   {}, up {}",
        safe(&status.node),
        safe(&status.version),
        safe(&status.phase),
        lasting(status.uptime_ms)
    );
    if let Some(why) = &status.accepting_why {
        text.push_str(&format!("   not accepting: {}", safe(why)));
    }
    text
}

fn connections(figures: &Figures, rates: Option<&Rates>) -> String {
    let rate = |of: fn(&Rates) -> f64| rates.map_or("-".to_owned(), |rates| number(of(rates)));
    format!(
        "open {}   opened {}/s   messages in {}/s, out {}/s",
        grouped(figures.open),
        rate(|rates| rates.opened),
        rate(|rates| rates.messages_in),
        rate(|rates| rates.messages_out)
    )
}

fn ended(rates: Option<&Rates>) -> String {
    let Some(rates) = rates else { return "ended -/s   failed to open -/s".to_owned() };
    let faults = rates.ended_by_fault.iter();
    let faults: Vec<String> =
        faults.map(|(fault, rate)| format!("{} {}", safe(fault), number(*rate))).collect();
    let by_fault = match faults.is_empty() {
        true => String::new(),
        false => format!(" (fault: {})", faults.join(", ")),
    };
    let (ended, failed) = (number(rates.ended), number(rates.open_failed));
    format!("ended {ended}/s{by_fault}   failed to open {failed}/s")
}

fn memory(figures: &Figures) -> String {
    let resident = figures.resident_bytes.map_or("-".to_owned(), size);
    let limit = match figures.queue_limit {
        0 => String::new(),
        limit => format!(" of {}", size(limit)),
    };
    format!("memory {resident}   queues {}{limit}", size(figures.queue_bytes))
}

/// Returns the line about the ledger, and whether something is wrong with it.
fn ledger(model: &Model) -> (String, bool) {
    let Some(status) = &model.status else { return ("ledger -".to_owned(), false) };
    let ledger = &status.ledger;
    let mut text = format!("ledger {}", safe(&ledger.state));
    if model.figures.ledger_lag >= 0.001 {
        let millis = (model.figures.ledger_lag * 1000.0) as u64;
        text.push_str(&format!(", {} behind", lasting(millis)));
    }
    if ledger.unrecorded > 0 {
        text.push_str(&format!(", {} not stored", counted(ledger.unrecorded, "ending")));
    }
    if let Some(problem) = &ledger.problem {
        text.push_str(&format!(": {}", safe(problem)));
    }
    (text, ledger.problem.is_some())
}

/// Returns the line about the list.
fn about(model: &Model) -> String {
    match model.view {
        View::Connections => {
            let filter = &model.wanted.filter;
            let order = model.wanted.sort.words(model.wanted.reverse);
            let shown = model.connections.len();
            let all = counted(model.total, "connection");
            let matching = if filter.is_empty() || model.total == 1 { "" } else { " match" };
            let cut = match model.total > shown as u64 && shown >= MOST {
                true => format!(" (the first {})", grouped(MOST as u64)),
                false => String::new(),
            };
            let filter = match filter.is_empty() {
                true => String::new(),
                false => format!("   filter: {}", safe(filter)),
            };
            format!("{all}{matching}{cut}, {order}{filter}")
        }
        View::Endings => match model.endings.len() {
            0 => "waiting for endings".to_owned(),
            number => format!("the last {}, newest first", counted(number as u64, "ending")),
        },
    }
}

fn list(canvas: &mut Canvas<'_>, model: &Model, plain: Look) {
    let (first, rows) = (model.first_row(), model.rows());
    let (table, colours): (String, Vec<Option<Color>>) = match model.view {
        View::Connections => {
            let shown = model.connections.get(first..).unwrap_or_default();
            let shown = &shown[..shown.len().min(rows)];
            let colour = |state: &str| (state != "open").then_some(Color::Yellow);
            (live::table(shown, plain), shown.iter().map(|one| colour(&one.state)).collect())
        }
        View::Endings => {
            let shown = model.endings.iter().skip(first).take(rows).cloned().collect::<Vec<_>>();
            let colours = shown.iter().map(|one| Some(fault(&one.fault))).collect();
            (endings::table(&shown, plain), colours)
        }
    };
    let mut lines = table.lines();
    let heading = Style::new().add_modifier(Modifier::BOLD);
    canvas.put(ABOVE - 1, lines.next().unwrap_or_default(), heading);
    let width = usize::from(canvas.buffer.area.width);
    for (at, (line, colour)) in lines.zip(colours).enumerate() {
        let mut style = colour.map_or(Style::new(), |colour| canvas.style(colour));
        let is_selected = first + at == model.selected();
        if is_selected {
            style = style.add_modifier(Modifier::REVERSED);
        }
        // The selected line is marked to its end.
        let line = if is_selected { format!("{line:width$}") } else { line.to_owned() };
        canvas.put(ABOVE + at as u16, &line, style);
    }
}

fn fault(word: &str) -> Color {
    match endings::fault_colour(word) {
        TableColor::Green => Color::Green,
        TableColor::Cyan => Color::Cyan,
        TableColor::Yellow => Color::Yellow,
        TableColor::Magenta => Color::Magenta,
        _ => Color::Red,
    }
}

/// Draws a text below the header.
fn text(canvas: &mut Canvas<'_>, text: &str, scroll: usize, rows: usize) {
    for (at, line) in text.lines().skip(scroll).take(rows).enumerate() {
        canvas.put(ABOVE - 2 + at as u16, line, Style::new());
    }
}

fn help(look: Look) -> String {
    let pairs = KEYS.map(|(key, what)| (key.to_owned(), what.to_owned()));
    table::draw_pairs(&pairs, look)
}

fn footer(model: &Model) -> String {
    match &model.front {
        Front::Help => "Esc back   q back   Ctrl-C quit".to_owned(),
        Front::Sheet(Sheet::Details(_), _) => "Esc back   w why   Up Down scroll".to_owned(),
        Front::Sheet(Sheet::Explanation(_), _) => "Esc back   Up Down scroll".to_owned(),
        Front::Filter(text) => format!("filter: {}_   Enter apply   Esc cancel", safe(text)),
        Front::Question(connection) => {
            let peer = safe_or(&connection.origin.peer, "a peer without an address");
            format!("close {} ({peer}) with 1000? y/n", short_id(&connection.id))
        }
        Front::Table => match (&model.notice, model.view) {
            (Some(notice), _) => safe(notice).into_owned(),
            (None, View::Connections) => {
                "Enter show  w why  c close  / filter  s sort  e endings  ? help  q quit".to_owned()
            }
            (None, View::Endings) => "Enter why  e connections  ? help  q quit".to_owned(),
        },
    }
}

/// Writes a number of things, with a comma between thousands.
fn counted(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", grouped(number))
}

/// Writes a number with a comma between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes a rate: with a decimal while it is small.
fn number(rate: f64) -> String {
    if rate < 99.95 { format!("{rate:.1}") } else { grouped(rate.round() as u64) }
}
