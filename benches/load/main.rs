//! The cost of lastword, measured against baselines.
//!
//! `cargo bench --bench load -- [MODE…] [--rounds N] [--json FILE] [--smoke]`
//!
//! It measures the daemon that cargo builds with it; `LOAD_DAEMON` may name another.
//!
//! Each measurement starts a server as a child: the daemon with defaults, or a baseline. A lean
//! load generator in a separate process drives it over loopback. CPU and memory are read from /proc
//! before and after the load; both sides take turns, A B A B, and ratios are taken within a round.
//! Ratios are therefore valid on a busy machine; absolute figures are not.
#![allow(clippy::print_stdout, reason = "a benchmark talks to its user")]
#![allow(clippy::print_stderr, reason = "progress is no result")]

mod baselines;
mod client;
mod embedding;
mod measure;
mod modes;
mod processes;
mod report;

use std::process::ExitCode;

use modes::{Mode, Scale};
use report::Row;

/// Any error ends its mode.
type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ran = match words.as_slice() {
        ["--server", "library"] => embedding::serve(),
        ["--server", baseline @ ..] => baselines::serve(baseline),
        ["--client", address] => client::run(address),
        asked => match Asked::parse(asked) {
            Ok(asked) => return asked.measure(),
            Err(problem) => Err(problem),
        },
    };
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::from(2)
        }
    }
}

/// The options of the command line.
struct Asked {
    modes: Vec<Mode>,
    scale: Scale,
    smoke: bool,
    json: Option<String>,
}

impl Asked {
    fn parse(words: &[&str]) -> Result<Self> {
        let (mut modes, mut rounds, mut json, mut smoke) = (Vec::new(), None, None, false);
        let mut words = words.iter();
        while let Some(argument) = words.next() {
            match *argument {
                // Cargo passes this to every benchmark.
                "--bench" => {}
                "--smoke" => smoke = true,
                "--rounds" => {
                    rounds = Some(words.next().ok_or("--rounds needs a number")?.parse()?)
                }
                "--json" => json = Some((*words.next().ok_or("--json needs a file")?).to_owned()),
                name => modes.push(Mode::named(name)?),
            }
        }
        if modes.is_empty() {
            modes = Mode::ALL.to_vec();
        }
        let mut scale = if smoke { Scale::smoke() } else { Scale::full() };
        if let Some(rounds) = rounds {
            scale.rounds = std::cmp::max(rounds, 1);
        }
        Ok(Self { modes, scale, smoke, json })
    }

    fn measure(self) -> ExitCode {
        let mut rows = Vec::new();
        let (mut passed, mut failed) = (0, 0);
        for mode in &self.modes {
            eprintln!("load: {}", mode.name());
            match mode.measure(&self.scale) {
                Ok(measured) => {
                    passed += 1;
                    rows.extend(measured);
                }
                Err(error) => {
                    failed += 1;
                    eprintln!("load: {} FAILED: {error}", mode.name());
                    rows.push(Row::failed(mode.name(), &error.to_string()));
                }
            }
        }
        if self.smoke {
            rows = rows.into_iter().map(Row::without_goal).collect();
        }
        println!("{}", report::table(&rows));
        if let Some(file) = &self.json
            && let Err(error) = std::fs::write(file, report::json(&rows))
        {
            failed += 1;
            eprintln!("load: {file}: {error}");
        }
        println!("load: {passed} passed, {failed} failed");
        if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
