//! Where a client command writes: results to stdout, remarks to stderr.

use std::io::{self, IsTerminal, Write};

use bytes::Bytes;

use super::api::Answer;
use super::exit::DONE;
use super::failure::Failure;
use super::words::safe;
use crate::surfaces::terminal::shows_colours;

/// What whoever reads the output can see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    /// How many columns the terminal has; a pipe or a file has no end.
    pub width: Option<usize>,
    /// Whether colours are welcome.
    pub colours: bool,
    /// Whether it shows more than ASCII.
    pub unicode: bool,
}

impl Look {
    /// What a pipe or a file sees.
    pub(super) const PLAIN: Self = Self { width: None, colours: false, unicode: false };
}

/// Where a client command writes.
#[derive(Debug)]
pub(super) struct Console {
    /// What whoever reads stdout can see.
    pub look: Look,
    /// Whether somebody watches stderr.
    pub watched: bool,
    /// Whether answers are printed as they came.
    pub json: bool,
}

impl Console {
    /// Looks at the process's own stdout, stderr and environment.
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

    /// Shows an answer and is done: exactly as it came with `--json`, else in `words` of ours.
    ///
    /// # Errors
    /// [`Failure::Output`], and what `words` says of an answer that cannot be read.
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

    /// Prints a text and ends its last line.
    ///
    /// # Errors
    /// [`Failure::Output`].
    pub(super) fn print(&mut self, text: &str) -> Result<(), Failure> {
        self.print_bytes(text.as_bytes())
    }

    /// Prints an answer exactly as it came, and ends its last line.
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

    /// Says something that is no part of the result.
    pub(super) fn remark(&mut self, text: &str) {
        // Whoever has closed stderr does not want to hear it.
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// Says why a command failed; returns its exit code.
    pub(super) fn complain(&mut self, failure: &Failure) -> u8 {
        let code = failure.exit_code();
        if code == 0 {
            return code;
        }
        if let (true, Failure::Refused { body, .. }) = (self.json, failure) {
            let body: &Bytes = body;
            // The refusal is said below in any case.
            let _ = self.print_bytes(body);
        }
        self.remark(&format!("lastword: {}", safe(&failure.to_string())));
        code
    }
}

/// Tells by the locale's variables, the first that is set, whether the terminal shows UTF-8.
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
