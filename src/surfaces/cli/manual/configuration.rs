//! lastword.toml(5), made from the commented default configuration, so that the two cannot differ.

use clap_mangen::roff::{Inline, Roff, bold, roman};

/// The default configuration, which explains every key in a comment.
const SHIPPED: &str = include_str!("../../../../config/lastword.toml");

/// The name of the page's file.
pub(super) const FILE: &str = "lastword.toml.5";

/// What a line of the file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line<'a> {
    /// The title of a part of the file.
    Title(&'a str),
    /// A line of a comment; an empty one separates paragraphs.
    Comment(&'a str),
    /// The header of a table: `[limits]`, `[[routes]]`.
    Header(&'a str),
    /// A key with its default, or with an example.
    Key {
        assignment: &'a str,
        is_example: bool,
    },
    Blank,
}

impl<'a> Line<'a> {
    fn read(line: &'a str) -> Self {
        if let Some(title) = line.strip_prefix("# --- ") {
            return Self::Title(title.trim_end_matches('-').trim_end());
        }
        let code = match line.strip_prefix('#') {
            Some(comment) if comment.is_empty() || comment.starts_with(' ') => {
                return Self::Comment(comment.trim_start());
            }
            Some(code) => code,
            None => line,
        };
        let (code, is_example) = match code.strip_suffix(" # example") {
            Some(code) => (code, true),
            None => (code, false),
        };
        match code {
            "" => Self::Blank,
            _ if code.starts_with('[') => Self::Header(code),
            _ => Self::Key { assignment: code, is_example },
        }
    }
}

/// Returns the page in roff.
pub(super) fn page() -> Vec<u8> {
    let mut page = Page::default();
    page.begin();
    // The first paragraphs say how to edit the file; the page has no "#" to remove.
    let start = SHIPPED.find("\n# Layers").map_or(0, |before| before + 1);
    for line in SHIPPED[start..].lines() {
        page.take(Line::read(line));
    }
    page.end();
    page.roff.render().into_bytes()
}

/// A comment, and the keys that it explains.
#[derive(Debug, Default)]
struct Item<'a> {
    /// Its paragraphs; an empty one is yet to begin.
    comment: Vec<String>,
    keys: Vec<(&'a str, bool)>,
}

impl Item<'_> {
    /// Continues the last paragraph.
    fn extend(&mut self, text: &str) {
        match self.comment.last_mut() {
            Some(paragraph) if !paragraph.is_empty() => {
                paragraph.push(' ');
                paragraph.push_str(text.trim_start());
            }
            Some(paragraph) => paragraph.push_str(text),
            None => self.comment.push(text.to_owned()),
        }
    }
}

#[derive(Default)]
struct Page<'a> {
    roff: Roff,
    item: Item<'a>,
}

impl<'a> Page<'a> {
    fn begin(&mut self) {
        let source = concat!("lastword ", env!("CARGO_PKG_VERSION"));
        self.roff.control("TH", ["lastword.toml", "5", "\"\"", source]);
        self.section("NAME");
        self.text([roman("lastword.toml - the configuration of lastword")]);
        self.section("SYNOPSIS");
        self.text([bold("/etc/lastword/lastword.toml")]);
        self.roff.control("PP", []);
        self.text([bold("lastword serve --config"), roman(" FILE")]);
        self.section("DESCRIPTION");
        self.text([roman(
            "The file is TOML. Each key is shown with its default; an example has no default, or \
             none that could be written down. The comments say what a key costs.",
        )]);
    }

    fn take(&mut self, line: Line<'a>) {
        match line {
            Line::Comment(text) => {
                if !self.item.keys.is_empty() {
                    self.finish_item();
                }
                match text {
                    "" => self.item.comment.push(String::new()),
                    text => self.item.extend(text),
                }
            }
            Line::Key { assignment, is_example } => self.item.keys.push((assignment, is_example)),
            Line::Blank => self.finish_item(),
            Line::Title(title) => {
                self.finish_item();
                self.section(title);
            }
            Line::Header(header) => {
                // A comment directly above a header explains the table.
                let about = std::mem::take(&mut self.item);
                self.roff.control("SS", [header]);
                self.item = about;
                self.finish_item();
            }
        }
    }

    fn finish_item(&mut self) {
        let Item { comment, keys } = std::mem::take(&mut self.item);
        for (n, (assignment, is_example)) in keys.iter().enumerate() {
            self.roff.control(if n == 0 { "TP" } else { "TQ" }, []);
            let mark = if *is_example { "  (example)" } else { "" };
            self.text([bold(*assignment), roman(mark)]);
        }
        let paragraphs = comment.iter().filter(|paragraph| !paragraph.is_empty());
        for (n, paragraph) in paragraphs.enumerate() {
            // The first paragraph under a key stands beside it.
            if keys.is_empty() {
                self.roff.control("PP", []);
            } else if n > 0 {
                self.roff.control("IP", []);
            }
            self.text([roman(paragraph)]);
        }
    }

    fn end(&mut self) {
        self.finish_item();
        self.section("SEE ALSO");
        self.text([
            bold("lastword"),
            roman("(1), "),
            bold("lastword-serve"),
            roman("(1), "),
            bold("lastword-check"),
            roman("(1)"),
        ]);
    }

    fn section(&mut self, title: &str) {
        self.roff.control("SH", [title]);
    }

    fn text(&mut self, inlines: impl Into<Vec<Inline>>) {
        self.roff.text(inlines);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a reader sees of the page, each run of blanks as one.
    fn shown() -> String {
        let page = String::from_utf8(page()).unwrap();
        let lines = page.lines().filter_map(|line| match line.strip_prefix('.') {
            Some(control) => control.strip_prefix("SH ").or(control.strip_prefix("SS ")),
            None => Some(line),
        });
        let text = lines.collect::<Vec<_>>().join(" ");
        let text = text.replace(r"\fB", "").replace(r"\fR", "").replace(r"\&", "");
        let text = text.replace(r"\-", "-").replace(r"\*(Aq", "'").replace(r"\\", r"\");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_page_has_every_key_and_every_word_of_the_file_in_its_order() {
        let shown = shown();
        let (_, words) = SHIPPED.split_once("\n# Layers").unwrap();
        let mut rest = &shown[shown.find("Layers").unwrap()..];
        let mut keys = 0;
        for line in format!("# Layers{words}").lines() {
            let text = line.trim_start_matches("# --- ").trim_matches('#').trim_end_matches('-');
            let code = text.trim_end_matches("# example").trim();
            let is_key = !line.starts_with("# ") && code.contains(" = ");
            // A key comes before the comment that explains it, a header before one of its own.
            let found = if is_key || code.starts_with('[') {
                keys += usize::from(is_key);
                shown.find(code)
            } else {
                let found = rest.find(code);
                rest = &rest[found.unwrap_or(0)..];
                found
            };
            assert!(found.is_some(), "{line}\n{rest}");
        }
        assert!(keys > 150, "{keys}");
    }

    #[test]
    fn keys_in_a_row_share_their_comment() {
        let page = String::from_utf8(page()).unwrap();
        let (_, limits) = page.split_once("\n.SS [limits]\n").unwrap();
        let (_, key) = limits.split_once(".TP\n\\fBmax_frame_size = \"1MiB\"\\fR\n").unwrap();
        assert!(
            key.starts_with("Size of a received frame's".replace('\'', r"\*(Aq").as_str()),
            "{key}"
        );
        assert!(page.contains("\n.TQ\n\\fBkeepalive.max_age = \"0s\"\\fR\n"));
    }
}
