//! The `lastword` program: reads its arguments and runs the daemon.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use lastword::daemon;
use lastword::surfaces::cli::{Command, CommandLine, explain_unknown};

fn main() -> ExitCode {
    match CommandLine::parse().command {
        Command::Serve(serve) if serve.relay.is_some() => {
            bad_usage("--relay is not in this version: leave it out, and /echo echoes")
        }
        Command::Serve(serve) => daemon::serve(serve.layers.files, serve.layers.set),
        Command::Check(layers) => daemon::check(layers.files, layers.set),
        Command::Other(words) => bad_usage(&explain_unknown(&words)),
    }
}

fn bad_usage(problem: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "lastword: {problem}");
    ExitCode::from(2)
}
