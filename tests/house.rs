//! Holds the house to its plan: layers import downwards only, names stay where they belong, files
//! stay readable.

// What fails in a helper of a test fails the test.
#![allow(clippy::unwrap_used)]

#[path = "house/circles.rs"]
mod circles;

use std::fs;
use std::path::{Path, PathBuf};

/// From the bottom up: a layer may use those before it. `guide` is documentation only, and no layer.
const LAYERS: [&str; 21] = [
    "vocabulary",
    "protocol",
    "policy",
    "runtime",
    "settings",
    "config",
    "contract",
    "explanation",
    "transport",
    "auth",
    "ledger",
    "connection",
    "actor",
    "node",
    "relay",
    "draining",
    "listening",
    "manager",
    "probe",
    "surfaces",
    "daemon",
];

/// About what can be read in one sitting; tests that sit beside their code are not counted.
const ONE_SITTING: usize = 480;

#[test]
fn layers_import_downwards_only() {
    let mut broken = Vec::new();
    for (path, code) in sources() {
        let Some(layer) = layer_of(&path) else { continue };
        for line in code_lines(&code) {
            for used in mentioned_layers(line) {
                if used > layer {
                    broken.push(format!("{}: {line}", path.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "these import upwards:\n{}", broken.join("\n"));
}

#[test]
fn each_requirement_of_the_rfc_names_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("src/guide/closing_handshake.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| 5.") || line.starts_with("| 7."));
    let held_by: Vec<&str> = rows.map(|row| row.split('|').nth(3).unwrap()).collect();
    assert!(held_by.len() > 30, "{} rows", held_by.len());
    for test in held_by {
        let [_, file, _, name, _] = test.split('`').collect::<Vec<_>>()[..] else {
            panic!("write `file` `test`, not {test:?}");
        };
        let code = fs::read_to_string(root.join(file)).unwrap();
        let before = code.split(&format!("fn {name}(")).next().unwrap();
        assert!(before.len() < code.len(), "{file} has no test {name}");
        let attributes = before.trim_end().trim_end_matches("async").trim_end();
        assert!(attributes.ends_with(']'), "{name} in {file} is no test");
    }
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let sources = sources();
    let code = sources.iter().filter(|(path, _)| !is_test(path) && path != Path::new("main.rs"));
    let arrows = circles::arrows(code.map(|(path, code)| (path.as_path(), code.as_str())));
    let circles = circles::circles(&arrows);
    let shown: Vec<_> = circles.iter().map(|circle| circles::show(&arrows, circle)).collect();
    assert!(circles.is_empty(), "{} circles:\n{}", circles.len(), shown.join("\n"));
}

#[test]
fn no_surface_imports_another() {
    // `probes` and `serving` are none: they are what several surfaces share.
    let surfaces = ["cli", "control", "health", "log", "metrics", "systemd"];
    for (path, code) in sources() {
        let Some(own) = surfaces.iter().find(|surface| {
            path.starts_with(format!("surfaces/{surface}"))
                || path == Path::new(&format!("surfaces/{surface}.rs"))
        }) else {
            continue;
        };
        for other in surfaces.iter().filter(|other| *other != own) {
            for form in [format!("surfaces::{other}"), format!("super::{other}::")] {
                let found = code_lines(&code).any(|line| line.contains(&form));
                assert!(!found, "{} uses {form}", path.display());
            }
        }
    }
}

#[test]
fn libraries_are_named_where_they_belong() {
    let homes: [(&str, &[&str]); 13] = [
        ("axum::", &["surfaces/control"]),
        ("jsonwebtoken::", &["auth/"]),
        ("utoipa", &["contract/", "contract.rs", "surfaces/control"]),
        ("prometheus_client::", &["surfaces/metrics"]),
        ("rusqlite::", &["ledger/sqlite"]),
        ("ractor::", &["connection.rs", "connection/", "actor/", "node.rs", "node/", "manager/"]),
        ("rustls", &["transport/tls"]),
        ("tungstenite::", &["transport/websocket.rs", "transport/handshake_key.rs"]),
        (
            "serde",
            &[
                "auth/",
                "settings/",
                "config/",
                "config.rs",
                "contract/",
                "contract.rs",
                "explanation/tests",
                "surfaces/cli",
                "surfaces/control",
                "surfaces/log",
            ],
        ),
        ("clap", &["main.rs", "surfaces/cli"]),
        ("comfy_table", &["surfaces/cli"]),
        ("ratatui", &["surfaces/cli/top"]),
        ("indicatif", &["surfaces/cli"]),
    ];
    for (path, code) in sources() {
        for (name, homes) in homes {
            let at_home = homes.iter().any(|home| path.to_string_lossy().starts_with(home));
            let used = code_lines(&code)
                .any(|line| line.trim_start().starts_with("use ") && line.contains(name));
            assert!(at_home || !used, "{} names {name}", path.display());
        }
    }
}

#[test]
fn the_pure_layers_do_no_io_and_read_no_clock() {
    let forbidden = [
        "tokio::",
        "std::io",
        "std::net::Tcp",
        "Instant::now",
        "SystemTime::now",
        ".await;",
        ".await?",
    ];
    for (path, code) in sources() {
        if !["protocol", "policy", "explanation"].iter().any(|pure| path.starts_with(pure))
            || is_test(&path)
        {
            continue;
        }
        for line in code_lines(&code) {
            let found = forbidden.iter().find(|word| line.contains(*word));
            assert!(found.is_none(), "{}: {line}", path.display());
        }
    }
}

#[test]
fn the_front_page_names_files_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let front = fs::read_to_string(root.join("src/lib.rs")).unwrap();
    let named: Vec<&str> = front.split('`').filter(|it| it.starts_with("src/")).collect();
    assert!(named.len() > 10, "{named:?}");
    for file in named {
        assert!(root.join(file).is_file(), "src/lib.rs names {file}, which does not exist");
    }
}

#[test]
fn files_can_be_read_in_one_sitting() {
    for (path, code) in sources() {
        let lines = code_lines(&code).count();
        assert!(is_test(&path) || lines <= ONE_SITTING, "{} has {lines} lines", path.display());
    }
}

/// All sources, by their path below `src`.
fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let code = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(&root).unwrap().to_owned(), code));
            }
        }
    }
    assert!(found.len() > 20, "the sources are somewhere else");
    found
}

/// The lines of a file up to its tests, without comments.
fn code_lines(code: &str) -> impl Iterator<Item = &str> {
    let tests = code.find("#[cfg(test)]\nmod tests {").unwrap_or(code.len());
    code[..tests].lines().filter(|line| !line.trim_start().starts_with("//"))
}

fn is_test(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str().to_string_lossy().starts_with("tests"))
}

fn layer_of(path: &Path) -> Option<usize> {
    let first = path.components().next()?.as_os_str().to_string_lossy().into_owned();
    LAYERS.iter().position(|layer| first.trim_end_matches(".rs") == *layer)
}

fn mentioned_layers(line: &str) -> impl Iterator<Item = usize> + '_ {
    let mentions = |layer: &str| line.contains(&format!("crate::{layer}"));
    LAYERS.iter().enumerate().filter(move |(_, layer)| mentions(layer)).map(|(index, _)| index)
}
