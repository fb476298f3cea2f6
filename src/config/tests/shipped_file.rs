//! `config/lastword.toml` shows every key of the schema, with its default.

use std::collections::BTreeSet;

use ::config::{Map, Value};

use super::*;
use crate::config::layers::{Layer, Shown, Step};
use crate::config::tree::{Misfit, read};

const SHIPPED: &str = include_str!("../../../config/lastword.toml");

#[test]
fn the_shipped_file_changes_nothing() {
    assert_eq!(load_text(SHIPPED).unwrap(), Config::default());
}

#[test]
fn the_shipped_file_shows_the_real_defaults() {
    let shown = uncommented(|line| !line.ends_with("# example"));
    let mut config: Config = read(&shown).unwrap();
    let route = &mut config.routes[0];
    assert_eq!(route.limits.over(&Limits::default()), Limits::default());
    assert_eq!(route.keepalive.over(&Keepalive::default()), Keepalive::default());
    assert_eq!(route.close.over(&Close::default()), Close::default());
    route.limits = RouteLimits::default();
    route.keepalive = RouteKeepalive::default();
    route.close = RouteClose::default();
    assert_eq!(config, Config::default());
}

#[test]
fn the_shipped_file_shows_every_key() {
    let mut shown = BTreeSet::new();
    collect_shown(&uncommented(|_| true), &mut Vec::new(), &mut shown);
    let mut known = Vec::new();
    collect_known(&mut Vec::new(), &mut known);
    assert!(known.len() > 80, "the probe finds the schema: {known:?}");
    let missing: Vec<_> = known.iter().filter(|key| !shown.contains(*key)).collect();
    assert!(missing.is_empty(), "not in config/lastword.toml: {missing:?}");
}

#[test]
fn the_shipped_examples_fit_the_schema() {
    // Keys are read in their order, so everything before the route's webhook has been read.
    let error = read::<Config>(&uncommented(|_| true)).unwrap_err();
    assert_eq!(error.path().to_string(), "routes[8].backend");
    assert_eq!(error.inner(), &Misfit::Value("not in this version".to_owned()));
}

#[test]
fn every_key_of_the_shipped_file_has_a_cost() {
    // Keys in a row share the comment before them.
    let (mut comment, mut after_key) = (String::new(), true);
    for line in SHIPPED.lines() {
        if let Some(text) = line.strip_prefix("# ") {
            if std::mem::take(&mut after_key) {
                comment.clear();
            }
            comment.push_str(text);
            comment.push(' ');
        } else if line.starts_with('#') && line.contains(" = ") {
            after_key = true;
            let explained = comment.contains("Cost: ") || comment.contains("costs described");
            let named_before = ["#name = ", "#listen = ", "#path = "];
            let in_example = line.ends_with("# example")
                && named_before.iter().any(|start| line.starts_with(start));
            assert!(explained || in_example, "{line}");
        }
    }
}

/// Removes the `#` before every key and header that `keep` lets through.
fn uncommented(keep: impl Fn(&str) -> bool) -> Value {
    let text: String = SHIPPED
        .lines()
        .filter(|line| keep(line))
        .map(|line| match line.strip_prefix('#') {
            Some(key) if key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '[') => key,
            _ => line,
        })
        .map(|line| format!("{line}\n"))
        .collect();
    match Layer::document(None, &text).unwrap() {
        Layer::Document { tree, .. } => tree,
        Layer::Assignment { .. } => unreachable!("a document was parsed"),
    }
}

/// Collects the keys of a tree; elements of arrays count as one.
fn collect_shown(value: &Value, path: &mut Vec<Step>, shown: &mut BTreeSet<String>) {
    shown.insert(Shown(path).to_string());
    if let Ok(table) = value.clone().into_table() {
        for (key, value) in table {
            path.push(Step::Key(key));
            collect_shown(&value, path, shown);
            path.pop();
        }
    } else if let Ok(elements) = value.clone().into_array() {
        for element in elements {
            path.push(Step::Element(0));
            collect_shown(&element, path, shown);
            path.pop();
        }
    }
}

/// Collects the keys that the schema knows, by asking every table for a key that is in none.
fn collect_known(path: &mut Vec<Step>, known: &mut Vec<String>) {
    known.push(Shown(path).to_string());
    for step in [None, Some(Step::Element(0))] {
        let length = path.len();
        path.extend(step);
        path.push(Step::Key("?".to_owned()));
        let answer = read::<Config>(&nested(path)).unwrap_err();
        path.pop();
        if let Misfit::UnknownKey { known: keys, .. } = answer.inner() {
            for key in *keys {
                path.push(Step::Key((*key).to_owned()));
                collect_known(path, known);
                path.pop();
            }
        }
        path.truncate(length);
    }
}

/// Makes a tree with one leaf.
fn nested(path: &[Step]) -> Value {
    path.iter().rev().fold(Value::new(None, 0_i64), |value, step| match step {
        Step::Key(key) => Value::new(None, Map::from_iter([(key.clone(), value)])),
        Step::Element(_) => Value::new(None, vec![value]),
    })
}
