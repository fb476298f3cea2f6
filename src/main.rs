//! The `lastword` program: reads its arguments and runs the daemon or a client command.

use std::io::Write;
use std::process::ExitCode;

use lastword::daemon;
use lastword::surfaces::cli::{self, Command, CommandLine};

fn main() -> ExitCode {
    match CommandLine::read(std::env::args_os()).unwrap_or_else(|error| error.exit()) {
        Command::Serve(serve) => daemon::serve(serve.layers.files, serve.layers.set, serve.relay),
        Command::Check(check) => daemon::check(check.layers.files, check.layers.set, check.relay),
        Command::Client(command) => cli::run(command),
        Command::Top(_) => bad_usage("`top` is not in this version: use `lastword events`"),
        Command::Probe(_) => bad_usage("`probe` is not in this version"),
    }
}

fn bad_usage(problem: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "lastword: {problem}");
    ExitCode::from(2)
}
