//! The output of a client command: results to stdout, notes to stderr.

use std::io::{self, IsTerminal, Write};

use bytes::Bytes;

use super::api::Answer;
use super::exit::DONE;
use super::failure::Failure;
use crate::explanation::wording::safe;
use crate::surfaces::terminal::shows_colours;

/// The properties of the output device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    /// The width of the terminal; `None` for a pipe or a file.
    pub width: Option<usize>,
    /// Whether to use colours.
    pub colours: bool,
    /// Whether it shows Unicode.
    pub unicode: bool,
}

impl Look {
    /// A pipe or a file.
    pub(super) const PLAIN: Self = Self { width: None, colours: false, unicode: false };
}

/// The output of a client command.
#[derive(Debug)]
pub(super) struct Console {
    /// The properties of stdout.
    pub look: Look,
    /// Whether stderr is a terminal.
    pub watched: bool,
    /// Whether answers are printed as received.
    pub json: bool,
}

impl Console {
    /// Determines the properties from the process's stdout, stderr and environment.
    pub(super) fn of_process(json: bool) -> Self {
        let look = if io::stdout().is_terminal() {
            Look {
                width: comfy_table::Table::new().width().map(usize::from),
                colours: shows_colours(|name| std::env::var(name).ok()),
                unicode: shows_unicode(|name| std::env::var(name).ok()),
            }
        } else {
            Look::PLAIN
        };
        Self { look, watched: io::stderr().is_terminal(), json }
    }

    /// Prints an answer: as received with `--json`, otherwise as formatted by `text`.
    ///
    /// # Errors
    /// [`Failure::Output`], and the errors of `text` for an answer that cannot be parsed.
    pub(super) fn show(
        &mut self,
        answer: &Answer,
        words: impl FnOnce(Look) -> Result<String, Failure>,
    ) -> Result<u8, Failure> {
        if self.json {
            self.print_bytes(&answer.body)?;
        } else {
            self.print(&words(self.look)?)?;
        }
        Ok(DONE)
    }

    /// Prints a text and a newline.
    ///
    /// # Errors
    /// [`Failure::Output`].
    pub(super) fn print(&mut self, text: &str) -> Result<(), Failure> {
        self.print_bytes(text.as_bytes())
    }

    /// Prints an answer as received, and a newline if it has none.
    ///
    /// # Errors
    /// [`Failure::Output`].
    pub(super) fn print_bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        if !bytes.ends_with(b"\n") {
            stdout.write_all(b"\n")?;
        }
        Ok(stdout.flush()?)
    }

    /// Prints a note that is not part of the result to stderr.
    pub(super) fn print_note(&mut self, text: &str) {
        // A closed stderr is no error.
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// Prints why a command failed; returns its exit code.
    pub(super) fn print_failure(&mut self, failure: &Failure) -> u8 {
        let code = failure.exit_code();
        if code == 0 {
            return code;
        }
        if let (true, Failure::Refused { body, .. }) = (self.json, failure) {
            let body: &Bytes = body;
            // The refusal is printed below in any case.
            let _ = self.print_bytes(body);
        }
        // A refused configuration may have several mistakes, each of which has its line.
        for line in failure.to_string().lines() {
            self.print_note(&format!("lastword: {}", safe(line)));
        }
        code
    }
}

/// Returns whether the terminal shows UTF-8, by the first locale variable that is set.
fn shows_unicode(variable: impl Fn(&str) -> Option<String>) -> bool {
    let set = |name: &&str| variable(name).filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(set);
    locale.is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_variable_of_the_locale_that_is_set_decides() {
        let locale = |all: &'static str, lang: &'static str| {
            shows_unicode(|name| match name {
                "LC_ALL" => Some(all.to_owned()),
                "LANG" => Some(lang.to_owned()),
                _ => None,
            })
        };
        assert!(locale("", "de_DE.UTF-8") && locale("C.utf8", "C"));
        assert!(!locale("C", "de_DE.UTF-8") && !locale("", "C") && !locale("", ""));
    }
}
