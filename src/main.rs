//! The `lastword` program: reads its arguments and runs the daemon or a client command.

use std::process::ExitCode;

use lastword::config::Sources;
use lastword::daemon;
use lastword::surfaces::cli::{self, Command, CommandLine, Serve};

fn main() -> ExitCode {
    match CommandLine::read(std::env::args_os()).unwrap_or_else(|error| error.exit()) {
        Command::Serve(serve) => daemon::serve(&sources(serve)),
        Command::Check(check) => daemon::check(&sources(check)),
        Command::Client(command) => cli::run(command),
    }
}

/// Returns what the configuration is loaded from.
fn sources(serve: Serve) -> Sources {
    let Serve { layers, relay, tls_cert, tls_key } = serve;
    let tls = tls_cert.zip(tls_key);
    Sources { relay, tls, ..Sources::of_process(layers.files, layers.set) }
}
