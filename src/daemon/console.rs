//! What the daemon prints beside its log.

use std::io::Write;

/// Prints a line to stdout. Ignores errors: a reader that is gone is no reason to stop.
pub(super) fn print_line(line: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// Prints an error to stderr.
pub(super) fn print_error(error: &dyn std::error::Error) {
    let _ = writeln!(std::io::stderr().lock(), "lastword: {error}");
}
