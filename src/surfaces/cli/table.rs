//! Tables for people: fitted to the terminal, or at full width in a pipe or file.

use comfy_table::presets::NOTHING;
use comfy_table::{
    Attribute, Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Row, Table,
};

use super::console::Look;

/// The gap between two columns.
const GAP: u16 = 2;

/// The minimum width to which a text is cut in a narrow terminal.
const LEAST_TEXT: u16 = 12;

/// A column of a listing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    /// The heading.
    pub title: &'static str,
    /// In a narrow terminal the column with the highest rank is dropped first; rank 0 always stays.
    pub rank: u8,
    /// Whether it holds texts that may be cut, numbers, or words that people type again.
    pub content: Content,
}

/// The content of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Texts, which may be cut.
    Text,
    /// Words, which must not be cut.
    Word,
    /// Numbers, which must not be cut and are aligned right.
    Number,
}

/// A table with one line per row.
#[derive(Debug)]
pub(super) struct Listing {
    columns: Vec<Column>,
    rows: Vec<Vec<Entry>>,
}

/// One entry of a listing.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    text: String,
    colour: Option<Color>,
}

impl Entry {
    /// Makes an entry with a colour.
    pub(super) fn coloured(text: impl Into<String>, colour: Color) -> Self {
        Self { text: text.into(), colour: Some(colour) }
    }
}

impl<T: Into<String>> From<T> for Entry {
    fn from(text: T) -> Self {
        Self { text: text.into(), colour: None }
    }
}

impl Listing {
    /// Makes a listing without rows.
    pub(super) fn new(columns: impl Into<Vec<Column>>) -> Self {
        Self { columns: columns.into(), rows: Vec::new() }
    }

    /// Adds a row, with an entry for every column.
    pub(super) fn add(&mut self, row: Vec<Entry>) {
        debug_assert_eq!(row.len(), self.columns.len());
        self.rows.push(row);
    }

    /// Formats the table.
    pub(super) fn draw(&self, look: Look) -> String {
        let shown = self.fitting(look);
        let mut table = plain(look);
        let pick =
            |row: &[Entry]| -> Vec<Entry> { shown.iter().map(|at| row[*at].clone()).collect() };
        let titles = shown.iter().map(|at| Cell::new(self.columns[*at].title));
        table.set_header(titles.map(|cell| cell.add_attribute(Attribute::Bold)));
        for row in &self.rows {
            let cells = pick(row).into_iter().map(|entry| match entry.colour {
                Some(colour) => Cell::new_owned(entry.text).fg(colour),
                None => Cell::new_owned(entry.text),
            });
            let mut row = Row::from(cells.collect::<Vec<_>>());
            row.max_height(1);
            table.add_row(row);
        }
        for (place, at) in shown.iter().enumerate() {
            let last = place + 1 == shown.len();
            if let Some(column) = table.column_mut(place) {
                column.set_padding((0, if last { 0 } else { GAP }));
                match self.columns[*at].content {
                    Content::Text => {}
                    Content::Word => {
                        column.set_constraint(ColumnConstraint::ContentWidth);
                    }
                    Content::Number => {
                        column.set_constraint(ColumnConstraint::ContentWidth);
                        column.set_cell_alignment(CellAlignment::Right);
                    }
                }
            }
        }
        table.trim_fmt()
    }

    /// Returns the columns that fit.
    fn fitting(&self, look: Look) -> Vec<usize> {
        let mut shown: Vec<usize> = (0..self.columns.len()).collect();
        let Some(width) = look.width else { return shown };
        let widths = self.widths();
        let needed = |at: usize| match self.columns[at].content {
            Content::Text => widths[at].min(LEAST_TEXT),
            Content::Word | Content::Number => widths[at],
        };
        let total = |shown: &[usize]| -> usize {
            shown.iter().map(|at| usize::from(needed(*at) + GAP)).sum::<usize>()
        };
        while total(&shown) > width + usize::from(GAP) {
            let ranked = shown.iter().enumerate().filter(|(_, at)| self.columns[**at].rank > 0);
            let Some((place, _)) = ranked.max_by_key(|(_, at)| self.columns[**at].rank) else {
                break;
            };
            shown.remove(place);
        }
        shown
    }

    fn widths(&self) -> Vec<u16> {
        let mut table = Table::new();
        table.set_header(self.columns.iter().map(|column| column.title));
        for row in &self.rows {
            table.add_row(row.iter().map(|entry| entry.text.as_str()));
        }
        table.column_max_content_widths()
    }
}

/// Formats pairs of name and text: side by side and wrapped at words, or one below the other in a
/// narrow terminal.
pub(super) fn draw_pairs(pairs: &[(String, String)], look: Look) -> String {
    /// With less than this, the texts would be columns of single words.
    const NARROW: usize = 60;
    /// Longer lines are hard to read.
    const WIDEST: usize = 100;

    let Some(width) = look.width else {
        let longest = pairs.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        let line = |(name, text): &(String, String)| format!("{name:longest$}  {text}");
        return pairs.iter().map(line).collect::<Vec<_>>().join("\n");
    };
    let narrow = width < NARROW;
    let mut table = plain(Look { width: Some(width.min(WIDEST)), ..look });
    for (name, text) in pairs {
        let name = Cell::new(name).add_attribute(Attribute::Bold);
        if narrow {
            table.add_row([name]);
            table.add_row([Cell::new(text)]);
        } else {
            table.add_row([name, Cell::new(text)]);
        }
    }
    if let Some(column) = table.column_mut(0) {
        column.set_padding((0, if narrow { 0 } else { GAP }));
        if !narrow {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    if let Some(column) = table.column_mut(1) {
        column.set_padding((0, 0));
    }
    table.trim_fmt()
}

/// Wraps a text at words.
pub(super) fn wrap(text: &str, look: Look) -> String {
    let Some(width) = look.width else { return text.to_owned() };
    draw_cell(Cell::new(text), Look { width: Some(width.min(100)), ..look })
}

/// Colours a word, if the terminal shows colours.
pub(super) fn painted(word: &str, colour: Color, look: Look) -> String {
    draw_cell(Cell::new(word).fg(colour), Look { width: None, ..look })
}

fn draw_cell(cell: Cell, look: Look) -> String {
    let mut table = plain(look);
    table.add_row([cell]);
    if let Some(column) = table.column_mut(0) {
        column.set_padding((0, 0));
    }
    table.trim_fmt()
}

fn plain(look: Look) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).force_no_tty();
    table.set_truncation_indicator(if look.unicode { "…" } else { "..." });
    if look.colours {
        table.enforce_styling();
    }
    if let Some(width) = look.width {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 4] = [
        Column { title: "ID", rank: 0, content: Content::Word },
        Column { title: "COUNT", rank: 1, content: Content::Number },
        Column { title: "ROUTE", rank: 3, content: Content::Word },
        Column { title: "DETAIL", rank: 2, content: Content::Text },
    ];

    fn listing() -> Listing {
        let mut listing = Listing::new(COLUMNS);
        let detail = "the peer ended TCP (FIN) inside a payload (12 of 4096 bytes)";
        listing.add(vec!["5b8f0a6d4c17".into(), "7".into(), "chat".into(), detail.into()]);
        listing.add(vec!["5b8f0a6d4c18".into(), "1234".into(), "a-long-route".into(), "x".into()]);
        listing
    }

    fn at(width: usize) -> Look {
        Look { width: Some(width), colours: false, unicode: true }
    }

    #[test]
    fn a_pipe_gets_everything_in_one_line_each() {
        assert_eq!(
            listing().draw(Look::PLAIN),
            "ID            COUNT  ROUTE         DETAIL\n\
             5b8f0a6d4c17      7  chat          the peer ended TCP (FIN) inside a payload (12 of \
             4096 bytes)\n\
             5b8f0a6d4c18   1234  a-long-route  x"
        );
    }

    #[test]
    fn little_room_costs_the_tail_of_texts_and_then_columns() {
        assert_eq!(listing().draw(at(200)), listing().draw(Look::PLAIN));
        assert_eq!(
            listing().draw(at(60)),
            "ID            COUNT  ROUTE         DETAIL\n\
             5b8f0a6d4c17      7  chat          the peer ended TCP (FIN)…\n\
             5b8f0a6d4c18   1234  a-long-route  x"
        );
        assert_eq!(
            listing().draw(at(40)),
            "ID            COUNT  DETAIL\n\
             5b8f0a6d4c17      7  the peer ended TCP…\n\
             5b8f0a6d4c18   1234  x"
        );
        assert_eq!(listing().draw(at(13)), "ID\n5b8f0a6d4c17\n5b8f0a6d4c18");
        for width in 1..=120 {
            let drawn = listing().draw(at(width));
            let longest = drawn.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(longest <= width.max(12), "{width}:\n{drawn}");
            assert_eq!(drawn.lines().count(), 3, "{width}:\n{drawn}");
            assert!(drawn.contains("5b8f0a6d4c17"), "{width}:\n{drawn}");
        }
    }

    #[test]
    fn colours_are_for_those_who_welcome_them() {
        let mut listing = Listing::new([COLUMNS[0]]);
        listing.add(vec![Entry::coloured("clean", Color::Green)]);
        let escape = |colours| listing.draw(Look { colours, ..at(80) }).contains('\u{1b}');
        assert!(escape(true) && !escape(false));
    }

    #[test]
    fn pairs_stand_side_by_side_where_there_is_room() {
        let pairs =
            [("Who".to_owned(), "the peer ".repeat(12)), ("Why".to_owned(), "no".to_owned())];
        let wide = draw_pairs(&pairs, at(80));
        assert!(wide.starts_with("Who  the peer the peer"), "{wide}");
        assert!(wide.lines().all(|line| line.len() <= 80) && wide.lines().count() == 3, "{wide}");
        let narrow = draw_pairs(&pairs, at(40));
        assert!(narrow.starts_with("Who\nthe peer the peer"), "{narrow}");
        assert!(narrow.lines().all(|line| line.len() <= 40), "{narrow}");
        assert_eq!(draw_pairs(&pairs, Look::PLAIN).lines().count(), 2);
    }
}
