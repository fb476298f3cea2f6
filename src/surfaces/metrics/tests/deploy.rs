//! What is shipped for Grafana and Prometheus, and the guide, name only what a scrape has.

use std::collections::BTreeSet;

use super::parser::Scraped;
use super::*;

const DASHBOARD: &str = include_str!("../../../../deploy/grafana/lastword.json");
const RULES: &str = include_str!("../../../../deploy/prometheus/lastword.rules.yml");
const GUIDE: &str = include_str!("../../../guide/metrics.md");

/// The metrics that a text names.
fn named(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("lastword_") || word.starts_with("process_")).collect()
}

/// The queries of a dashboard: of its panels, and of its variables.
fn queries(value: &serde_json::Value) -> Vec<&str> {
    let mut found = Vec::new();
    match value {
        serde_json::Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_str() {
                    Some(query) if matches!(&**key, "expr" | "query" | "definition") => {
                        found.push(query);
                    }
                    _ => found.extend(queries(value)),
                }
            }
        }
        serde_json::Value::Array(values) => found.extend(values.iter().flat_map(queries)),
        _ => {}
    }
    found
}

fn assert_scraped<'a>(what: &str, names: impl IntoIterator<Item = &'a str>) {
    let scraped = Scraped::parse(&scrape(Observations::default()));
    let known = scraped.names();
    let mut count = 0;
    for name in names {
        // Records of endings have this kind too.
        if name == "process_died" {
            continue;
        }
        assert!(known.contains(name), "{what} names {name}, which no scrape has");
        count += 1;
    }
    assert!(count > 10, "{what} names but {count} metrics");
}

#[test]
fn the_dashboard_asks_for_what_a_scrape_has() {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    assert_scraped("the dashboard", queries(&dashboard).into_iter().flat_map(named));

    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let variables: Vec<_> =
        variables.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
    assert_eq!(variables, ["datasource", "job", "instance", "route"]);
    let panels = dashboard["panels"].as_array().unwrap();
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let title = panel["title"].as_str().unwrap();
        assert!(!panel["description"].as_str().unwrap().is_empty(), "{title}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        let queries = queries(panel);
        assert!(!queries.is_empty(), "{title}");
        for query in queries {
            assert!(query.contains(r#"job=~"$job",instance=~"$instance""#), "{title}: {query}");
        }
    }
    assert!(panels.len() > 15);
}

#[test]
fn every_alert_asks_for_what_a_scrape_has_and_says_what_to_do() {
    assert_scraped("the rules", named(RULES));
    let mut alerts: Vec<&str> = RULES.split("- alert: ").collect();
    alerts.remove(0);
    assert!(alerts.len() > 15);
    for alert in alerts {
        for part in ["expr: ", "severity: ", "summary: \"", "description: >-\n"] {
            assert!(alert.contains(part), "{alert} lacks {part}");
        }
        let (_, description) = alert.split_once("description: >-\n").unwrap();
        let sentences = description.matches(". ").count() + description.matches(".\n").count();
        assert!(sentences >= 2, "what it means, and what to do: {alert}");
    }
}

#[test]
fn the_guide_explains_every_metric_and_no_other() {
    let explained = named(GUIDE);
    assert_scraped(
        "the guide",
        explained.iter().copied().filter(|name| {
            // A histogram is explained by the name of its family.
            !["lastword_closing_handshake_seconds", "lastword_connection_seconds"].contains(name)
        }),
    );
    let scraped = Scraped::parse(&scrape(Observations::default()));
    for (name, family) in &scraped.families {
        let suffix = match family.kind.as_str() {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let name = format!("{name}{suffix}");
        assert!(explained.contains(&*name), "the guide does not explain {name}");
    }
}
