//! What the README and the guide show is right: configurations load, command lines parse, requests name
//! calls of the API, SQL runs against a ledger, links lead to files, and tables match the code.
//!
//! Their Rust runs as doctests of the crate; their metrics are compared beside the exposition.

mod tables;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use clap::Parser;
use lastword::config::{self, Sources};
use lastword::contract::ExplanationRecord;
use lastword::ledger::{Sqlite, SqliteOptions};
use lastword::settings::Ledger;
use lastword::surfaces::cli::CommandLine;
use lastword::surfaces::control;
use lastword::vocabulary::{Cause, Kind};
use serde::Deserialize;

use super::fake::{Fake, Reply};
use super::records;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const SHIPPED: &str = include_str!("../../config/lastword.toml");

/// The README, or a page of the guide.
struct Document {
    /// Its path from the root of the repository.
    path: String,
    text: String,
}

/// A block of code.
struct Block<'a> {
    /// Where it is, for messages.
    place: String,
    language: &'a str,
    text: String,
}

impl Document {
    fn read(path: &str) -> Self {
        let text = fs::read_to_string(Path::new(ROOT).join(path));
        Self { path: path.to_owned(), text: text.unwrap_or_else(|error| panic!("{path}: {error}")) }
    }

    /// Reads the README and every page of the guide.
    fn all() -> Vec<Self> {
        let folder = fs::read_dir(Path::new(ROOT).join("src/guide")).unwrap();
        let mut paths: Vec<String> = folder
            .map(|entry| format!("src/guide/{}", entry.unwrap().file_name().to_string_lossy()))
            .collect();
        paths.sort();
        paths.push("README.md".to_owned());
        paths.iter().map(|path| Self::read(path)).collect()
    }

    fn blocks(&self) -> Vec<Block<'_>> {
        let mut blocks = Vec::new();
        let mut open: Option<Block<'_>> = None;
        for (n, line) in self.text.lines().enumerate() {
            match (&mut open, line.strip_prefix("```")) {
                (None, Some(language)) => {
                    let place = format!("{}:{}", self.path, n + 1);
                    open = Some(Block { place, language, text: String::new() });
                }
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (Some(block), None) => {
                    block.text.push_str(line);
                    block.text.push('\n');
                }
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: the last block has no end", self.path);
        blocks
    }

    /// The lines that stand in no block.
    fn prose(&self) -> impl Iterator<Item = &str> {
        let mut in_block = false;
        self.text.lines().filter(move |line| {
            let fence = line.starts_with("```");
            in_block ^= fence;
            !in_block && !fence
        })
    }

    /// What stands between backticks in the prose.
    fn quoted(&self) -> impl Iterator<Item = &str> {
        self.prose().flat_map(|line| line.split('`').skip(1).step_by(2))
    }
}

/// The blocks of a language, in all documents.
fn for_each_block(language: &str, mut check: impl FnMut(&Block<'_>)) {
    let mut count = 0;
    for document in Document::all() {
        for block in document.blocks().iter().filter(|block| block.language == language) {
            check(block);
            count += 1;
        }
    }
    assert!(count > 0, "nothing shows {language}");
}

/// Splits a line as a shell does, as far as the documents need it.
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
fn the_readme_fits_into_200_lines() {
    let lines = Document::read("README.md").text.lines().count();
    assert!(lines <= 200, "{lines} lines");
}

#[test]
fn every_page_is_in_the_guide_and_in_the_readme() {
    let guide = fs::read_to_string(Path::new(ROOT).join("src/guide.rs")).unwrap();
    let readme = Document::read("README.md");
    for page in Document::all().iter().filter(|document| document.path != readme.path) {
        let name = page.path.trim_start_matches("src/guide/").trim_end_matches(".md");
        assert!(guide.contains(&format!("include_str!(\"guide/{name}.md\")")), "{}", page.path);
        assert!(guide.contains(&format!("//! | [`{name}`] |")), "{}", page.path);
        assert!(readme.text.contains(&format!("({})", page.path)), "{}", page.path);
    }
}

#[test]
fn every_block_is_of_a_language_that_is_checked() {
    // A scrape configuration is for another program, and too short to go wrong. The Mermaid graph is
    // generated, and compared by the test that generates it.
    let known = [
        "console",
        "json",
        "mermaid",
        "promql",
        "rust",
        "rust,no_run",
        "sh",
        "text",
        "toml",
        "yaml",
    ];
    for document in Document::all() {
        for block in document.blocks() {
            assert!(known.contains(&block.language), "{}: {:?}", block.place, block.language);
        }
    }
}

#[test]
fn every_configuration_loads() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("lastword.toml");
    for_each_block("toml", |block| {
        if block.text.starts_with("[dependencies]") {
            return check_dependency(&block.place, &block.text);
        }
        fs::write(&file, &block.text).unwrap();
        let sources = Sources { files: vec![file.clone()], ..Sources::default() };
        config::load(&sources).unwrap_or_else(|error| panic!("{}: {error}", block.place));
    });
}

/// Checks that what an embedder's Cargo.toml names is there: the version and the features.
fn check_dependency(place: &str, text: &str) {
    let theirs: toml::Table = text.parse().unwrap_or_else(|error| panic!("{place}: {error}"));
    let ours: toml::Table =
        fs::read_to_string(Path::new(ROOT).join("Cargo.toml")).unwrap().parse().unwrap();
    let dependency = &theirs["dependencies"]["lastword"];
    let version = dependency["version"].as_str().unwrap();
    assert!(ours["package"]["version"].as_str().unwrap().starts_with(version), "{place}");
    for feature in dependency["features"].as_array().unwrap() {
        let feature = feature.as_str().unwrap();
        assert!(ours["features"].get(feature).is_some(), "{place}: no feature {feature}");
    }
}

#[test]
fn every_command_line_parses() {
    let (mut parsed, mut requests) = (0, 0);
    let calls = calls();
    for_each_block("console", |block| {
        for line in block.text.lines().filter_map(|line| line.strip_prefix("$ ")) {
            let words = words(&line.replace("cargo run --release --", "lastword"));
            match words[0].as_str() {
                "lastword" => {
                    parsed += 1;
                    CommandLine::try_parse_from(&words)
                        .unwrap_or_else(|error| panic!("{}: {line}\n{error}", block.place));
                }
                "curl" => {
                    requests += 1;
                    let url = words.iter().find_map(|word| word.strip_prefix("localhost:8081"));
                    let path = url.unwrap().split('?').next().unwrap();
                    let method =
                        if words.iter().any(|word| word == "--json") { "POST" } else { "GET" };
                    let known = calls.iter().any(|call| call_matches(call, method, path));
                    assert!(known, "{}: {method} {path}", block.place);
                }
                "cargo" => {}
                program => {
                    assert!(Path::new(ROOT).join(program).is_file(), "{}: {line}", block.place)
                }
            }
        }
    });
    assert!(parsed > 20 && requests > 5, "{parsed} {requests}");
}

#[test]
fn every_json_parses_and_shows_fields_of_an_ending() {
    let known = tables::fields_of_an_ending();
    for_each_block("json", |block| {
        let shown: serde_json::Value = serde_json::from_str(&block.text)
            .unwrap_or_else(|error| panic!("{}: {error}", block.place));
        // A line of the log, or an answer of the API.
        let ending = shown.get("ending").unwrap_or(&shown);
        for (name, value) in ending.as_object().unwrap() {
            let is_known = match name.as_str() {
                "explanation" => ExplanationRecord::deserialize(value).is_ok(),
                name => known.contains(name),
            };
            assert!(is_known, "{}: {name}", block.place);
        }
    });
}

#[test]
fn every_query_of_the_ledger_runs() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let options = SqliteOptions::new(&path, &Ledger::default());
    let (ledger, _) = Sqlite::open(options).unwrap();
    ledger.close();
    let connection = rusqlite::Connection::open(&path).unwrap();
    for_each_block("sh", |block| {
        for line in block.text.lines() {
            let words = words(line);
            assert_eq!(&words[..3], ["sqlite3", "-readonly", "ledger.db"], "{}", block.place);
            connection
                .prepare(&words[3])
                .unwrap_or_else(|error| panic!("{}: {line}\n{error}", block.place));
        }
    });
}

#[test]
fn log_lines_use_the_words_of_records() {
    for_each_block("text", |block| {
        for line in block.text.lines() {
            let (_, fields) = line.split_once(" kind=").unwrap();
            let kind = fields.split(' ').next().unwrap();
            assert!(Kind::words().any(|word| word == kind), "{}: {kind}", block.place);
        }
    });
}

#[test]
fn the_answer_of_why_is_what_the_command_prints() {
    let ended_at = SystemTime::now() - Duration::from_secs(3 * 60 + 10);
    let record = records::ending("5b8f0a6d4c17")
        .replace(
            "2026-03-01T12:00:12.595Z",
            &humantime::format_rfc3339_millis(ended_at).to_string(),
        )
        .replace("between messages", "inside a payload (12 of 4096 bytes)");
    let ran = Fake::new([Reply::ok(record)]).run(&["why", "5b8f0a6d4c17"]);
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let printed = one_line(&ran.stdout);

    let readme = Document::read("README.md");
    let (_, shown) = readme.text.split_once("$ lastword why ").unwrap();
    let (_, shown) = shown.split_once('\n').unwrap();
    let shown = shown.split("\n$ ").next().unwrap();
    let mut rest = printed.as_str();
    for part in shown.split('…').map(one_line) {
        let found = rest.find(&part);
        assert!(found.is_some(), "{part}\nis not in\n{rest}");
        rest = &rest[found.unwrap()..];
    }
}

#[test]
fn every_configuration_key_in_the_prose_exists() {
    let sections: BTreeSet<String> = tables::sections_of_the_shipped_file()
        .iter()
        .map(|section| section.trim_matches(['[', ']']).to_owned())
        .collect();
    let mut found = 0;
    for document in Document::all() {
        for quoted in document.quoted() {
            let (section, key) = quoted.split_once('.').unwrap_or_default();
            let is_key = sections.contains(section)
                && key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            if is_key && quoted != "ledger.db" && quoted != "ledger.md" {
                assert!(is_shipped(section, key), "{}: {quoted}", document.path);
                found += 1;
            }
        }
    }
    assert!(found > 40, "{found}");
}

/// Whether `config/lastword.toml` has this key; a test of the configuration holds it to the schema.
fn is_shipped(section: &str, key: &str) -> bool {
    let after = SHIPPED.split(&format!("\n[{section}]")).nth(1).unwrap_or_default();
    let after = after.split("\n[").next().unwrap();
    after.lines().any(|line| line.starts_with(&format!("#{key} = ")))
}

#[test]
fn defaults_in_the_prose_are_those_of_the_code() {
    let mut found = 0;
    for document in Document::all() {
        // `limits.half_open_per_ip` (64)
        for part in document.text.split("` (").collect::<Vec<_>>().windows(2) {
            let key = part[0].rsplit(['`', '.']).next().unwrap();
            let default = part[1].split(')').next().unwrap();
            if default.parse::<u64>().is_ok() {
                let known = SHIPPED.lines().any(|line| {
                    let (shown, value) =
                        line.trim_start_matches('#').split_once(" = ").unwrap_or_default();
                    let value = value.trim_end_matches("# example").trim();
                    shown.rsplit('.').next() == Some(key) && value == default
                });
                assert!(known, "{}: {key} ({default})", document.path);
                found += 1;
            }
        }
    }
    assert!(found >= 3, "{found}");
}

#[test]
fn every_path_in_the_prose_exists() {
    let folders = ["tests/", "deploy/", "examples/", "config/", "benches/", "src/", ".ci/"];
    for document in Document::all() {
        let quoted = document.quoted().filter(|quoted| {
            folders.iter().any(|folder| quoted.starts_with(folder)) && !quoted.contains('*')
        });
        for path in quoted.map(|quoted| quoted.split(' ').next().unwrap()) {
            assert!(Path::new(ROOT).join(path).exists(), "{}: {path}", document.path);
        }
        let folder = Path::new(ROOT).join(&document.path);
        let targets = document.prose().flat_map(|line| {
            let inline = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            inline.chain(
                line.strip_prefix('[').and_then(|line| line.split_once("]: ")).map(|(_, to)| to),
            )
        });
        for target in targets.filter(|target| !target.starts_with("crate")) {
            assert!(folder.parent().unwrap().join(target).exists(), "{}: {target}", document.path);
        }
    }
}

#[test]
fn causes_in_the_prose_are_words_of_the_contract() {
    for document in Document::all() {
        let text = document.text.replace('\n', " ");
        for after in text.split("(cause `").skip(1) {
            let cause = after.split('`').next().unwrap();
            let known = Cause::ALL.iter().any(|known| known.as_str() == cause);
            assert!(known, "{}: {cause}", document.path);
        }
    }
}

/// The calls of the API, as `METHOD /path`.
fn calls() -> BTreeSet<String> {
    let document = serde_json::to_value(control::openapi()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let calls = paths.iter().flat_map(|(path, operations)| {
        let methods = operations.as_object().unwrap().keys();
        methods.map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    calls.collect()
}

/// Whether a request is for a call, whose path may have `{parameters}`.
fn call_matches(call: &str, method: &str, path: &str) -> bool {
    let (of, template) = call.split_once(' ').unwrap();
    let mut segments = path.split('/');
    let fits = template.split('/').all(|expected| {
        segments.next().is_some_and(|segment| expected.starts_with('{') || expected == segment)
    });
    of == method && fits && segments.next().is_none()
}
