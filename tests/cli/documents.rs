//! What the README shows can be typed: its configurations load, its command lines parse.
//!
//! Its Rust runs as a doctest of the crate.

use std::fs;

use clap::Parser;
use lastword::config::{self, Sources};
use lastword::surfaces::cli::CommandLine;

const README: &str = include_str!("../../README.md");

/// Returns the blocks of a language, each with its line.
fn blocks(language: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, &str, String)> = None;
    for (n, line) in README.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => open = Some((n + 1, language, String::new())),
            (Some(_), Some(_)) => {
                let (n, of, text) = open.take().unwrap();
                if of == language {
                    blocks.push((n, text));
                }
            }
            (Some((_, _, text)), None) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(!blocks.is_empty(), "the README shows no {language}");
    blocks
}

/// Takes a line apart as a shell does, as far as the README needs it.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let (mut quote, mut previous) = (None, ' ');
    for c in line.chars() {
        match (quote, c) {
            (None, '#') if previous == ' ' => break,
            (None, '\'' | '"') => quote = Some(c),
            (Some(quoted), c) if quoted == c => quote = None,
            (None, ' ') => words.push(String::new()),
            (_, c) => words.last_mut().unwrap().push(c),
        }
        previous = c;
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn every_configuration_of_the_readme_loads() {
    let directory = tempfile::tempdir().unwrap();
    for (n, text) in blocks("toml") {
        let file = directory.path().join(format!("line-{n}.toml"));
        fs::write(&file, &text).unwrap();
        let sources = Sources { files: vec![file], ..Sources::default() };
        config::load(&sources).unwrap_or_else(|error| panic!("{error}\n{text}"));
    }
}

#[test]
fn every_command_line_of_the_readme_parses() {
    let mut parsed = 0;
    for (n, text) in blocks("console") {
        for line in text.lines().filter_map(|line| line.strip_prefix("$ ")) {
            let words = words(&line.replace("cargo run --release --", "lastword"));
            if words.first().is_some_and(|word| word == "lastword") {
                parsed += 1;
                if let Err(error) = CommandLine::try_parse_from(&words) {
                    panic!("the block at line {n}: {line}\n{error}");
                }
            }
        }
    }
    assert!(parsed >= 9, "{parsed}");
}
