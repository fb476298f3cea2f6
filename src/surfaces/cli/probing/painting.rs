//! How verdicts are printed.

use comfy_table::Color;

use crate::probe::Verdict;
use crate::surfaces::cli::console::Look;
use crate::surfaces::cli::table::painted;

/// Returns the word of a verdict in seven columns.
pub(super) fn paint(verdict: Verdict, look: Look) -> String {
    let colour = match verdict {
        Verdict::Pass => Color::Green,
        Verdict::Warn => Color::Yellow,
        Verdict::Fail => Color::Red,
        Verdict::Skipped => Color::DarkGrey,
    };
    let word = match verdict {
        Verdict::Fail => "FAIL",
        Verdict::Pass | Verdict::Warn | Verdict::Skipped => verdict.as_str(),
    };
    let padding = " ".repeat(7 - word.len());
    painted(word, colour, look) + &padding
}
