//! All mistakes are found at once, each with its place.

use super::*;
use crate::config::load_all;

fn errors(text: &str, set: &[&str]) -> Vec<String> {
    let files = Files::new();
    let file = files.write("lastword.toml", text);
    let folder = file.parent().unwrap().display().to_string() + "/";
    let set = set.iter().map(|set| (*set).to_owned()).collect();
    let errors = load_all(&Sources { files: vec![file], set, ..Sources::default() }).unwrap_err();
    errors.iter().map(|error| error.to_string().replace(&folder, "")).collect()
}

/// Returns where each mistake is: file and line, and the key.
fn places(text: &str) -> Vec<String> {
    let errors = errors(text, &[]);
    let place = |error: &String| error.split(": ").take(2).collect::<Vec<_>>().join(" ");
    errors.iter().map(place).collect()
}

#[test]
fn mistakes_of_every_sort_are_found_together() {
    let text = "\
[limits]
outbox_byte = 1
write_timeout = 'soon'
[[listeners]]
name = 'a'
listen = 'nowhere'
[[listeners]]
name = 'b'
[[routes]]
name = 'echo'
path = '/echo'
backend = { kind = 'ehco' }
limits = { max_frame_size = '2MiB' }
[close]
linger = '20s'
";
    assert_eq!(
        places(text),
        [
            "lastword.toml:2 limits.outbox_byte",
            "lastword.toml:3 limits.write_timeout",
            "lastword.toml:6 listeners[0].listen",
            "lastword.toml:7 listeners[1].listen",
            "lastword.toml:12 routes[0].backend.kind",
            "lastword.toml:13 routes[0].limits.max_frame_size",
            "lastword.toml:15 close.linger",
        ]
        .map(str::to_owned)
        .into_iter()
        .collect::<Vec<_>>()
    );
}

#[test]
fn what_is_wrong_in_one_layer_hides_nothing_in_another() {
    let found = errors("[drain]\nwithin = 5", &["close.timout=1s", "nonsense", "limits.memory=x"]);
    let begins = [
        "lastword.toml:2: drain.within",
        "--set close.timout",
        "--set nonsense",
        "--set limits.memory",
    ];
    assert_eq!(found.len(), begins.len(), "{found:#?}");
    for (error, begin) in found.iter().zip(begins) {
        assert!(error.starts_with(begin), "{error}");
    }
}

#[test]
fn a_mistake_that_routes_inherit_is_said_once() {
    let found = errors("[close]\ntimeout = '0s'\nlinger = '0s'", &[]);
    assert_eq!(found.len(), 1, "{found:#?}");
}

#[test]
fn a_file_that_is_something_else_has_an_end() {
    let many: String = (0..1000).map(|n| format!("key{n} = 1\n")).collect();
    assert!((1..=200).contains(&errors(&many, &[]).len()));
}
