//! A strict reader of OpenMetrics text, as far as we write it.

use std::collections::{BTreeMap, BTreeSet};

pub(super) type Labels = BTreeMap<String, String>;

/// A scrape, by the name of each family.
pub(super) struct Scraped {
    pub(super) families: BTreeMap<String, Family>,
}

#[derive(Debug)]
pub(super) struct Family {
    pub(super) kind: String,
    pub(super) help: String,
    unit: Option<String>,
    pub(super) samples: Vec<Sample>,
}

#[derive(Debug)]
pub(super) struct Sample {
    pub(super) name: String,
    pub(super) labels: Labels,
    pub(super) value: f64,
}

impl Sample {
    pub(super) fn label(&self, name: &str) -> &str {
        &self.labels[name]
    }
}

impl Scraped {
    /// Parses a scrape; whatever is not as the specification wants it fails the test.
    pub(super) fn parse(text: &str) -> Self {
        let body = text.strip_suffix("# EOF\n").expect("no EOF at the end");
        let mut families: BTreeMap<String, Family> = BTreeMap::new();
        let mut current: Option<(String, Family)> = None;
        for line in body.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                finish(&mut families, current.take());
                let (help, kind) = (help.to_owned(), String::new());
                current =
                    Some((name.to_owned(), Family { kind, help, unit: None, samples: vec![] }));
                continue;
            }
            let (name, family) = current.as_mut().expect("a family begins with HELP");
            if let Some(kind) = line.strip_prefix(&format!("# TYPE {name} ")) {
                assert!(family.samples.is_empty(), "{line}");
                family.kind = kind.to_owned();
            } else if let Some(unit) = line.strip_prefix(&format!("# UNIT {name} ")) {
                assert!(name.ends_with(&format!("_{unit}")), "{line}");
                family.unit = Some(unit.to_owned());
            } else {
                family.samples.push(sample(line, name, &family.kind));
            }
        }
        finish(&mut families, current);
        Self { families }
    }

    /// The samples of a name, such as `lastword_messages_total`.
    pub(super) fn all(&self, name: &str) -> Vec<&Sample> {
        let samples = self.families.values().flat_map(|family| &family.samples);
        samples.filter(|sample| sample.name == name).collect()
    }

    /// The sum of the samples of a name that have these labels.
    pub(super) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |sample: &&&Sample| labels.iter().all(|(key, value)| sample.label(key) == *value);
        let all = self.all(name);
        let found: Vec<_> = all.iter().filter(has).collect();
        assert!(!found.is_empty(), "there is no {name} {labels:?}");
        found.iter().map(|sample| sample.value).sum()
    }

    /// Every name that a query may use.
    pub(super) fn names(&self) -> BTreeSet<&str> {
        let samples = self.families.values().flat_map(|family| &family.samples);
        samples.map(|sample| sample.name.as_str()).collect()
    }
}

fn finish(families: &mut BTreeMap<String, Family>, done: Option<(String, Family)>) {
    let Some((name, family)) = done else { return };
    assert!(!family.samples.is_empty(), "{name} has no series");
    let mut seen = BTreeSet::new();
    for sample in &family.samples {
        assert!(seen.insert((&sample.name, &sample.labels)), "twice: {sample:?}");
        let keys: Vec<_> = sample.labels.keys().filter(|key| *key != "le").collect();
        let first: Vec<_> = family.samples[0].labels.keys().filter(|key| *key != "le").collect();
        assert_eq!(keys, first, "{name} has different labels");
    }
    if family.kind == "histogram" {
        check_histogram(&name, &family);
    }
    assert!(families.insert(name, family).is_none(), "a family comes twice");
}

fn check_histogram(name: &str, family: &Family) {
    let of = |suffix: &str| {
        let name = format!("{name}_{suffix}");
        family.samples.iter().filter(move |sample| sample.name == name).collect::<Vec<_>>()
    };
    let buckets = of("bucket");
    let bound = |sample: &Sample| match sample.label("le") {
        "+Inf" => f64::INFINITY,
        bound => bound.parse().unwrap(),
    };
    assert!(buckets.is_sorted_by(|a, b| bound(a) < bound(b) && a.value <= b.value), "{family:?}");
    let last = buckets.last().unwrap();
    assert_eq!((bound(last), last.value), (f64::INFINITY, of("count")[0].value));
    assert_eq!((of("count").len(), of("sum").len()), (1, 1));
}

fn sample(line: &str, family: &str, kind: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, parse_labels(labels.strip_suffix('}').unwrap())),
        None => (series, Labels::new()),
    };
    let suffixes: &[&str] = match kind {
        "counter" => &["_total"],
        "gauge" => &[""],
        "histogram" => &["_bucket", "_count", "_sum"],
        "info" => &["_info"],
        kind => panic!("{family} is of kind {kind}"),
    };
    assert!(suffixes.iter().any(|suffix| format!("{family}{suffix}") == name), "{line}");
    let value: f64 = value.parse().unwrap();
    assert!(value.is_finite() && value >= 0.0, "{line}");
    Sample { name: name.to_owned(), labels, value }
}

fn parse_labels(mut rest: &str) -> Labels {
    let mut labels = Labels::new();
    while !rest.is_empty() {
        let (key, after) = rest.split_once("=\"").unwrap();
        let legal = key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        assert!(legal && !key.is_empty(), "label {key:?}");
        let (mut value, mut characters) = (String::new(), after.chars());
        loop {
            match characters.next().expect("a value without end") {
                '"' => break,
                '\\' => match characters.next().unwrap() {
                    'n' => value.push('\n'),
                    escaped @ ('"' | '\\') => value.push(escaped),
                    other => panic!("\\{other} is no escape"),
                },
                plain => value.push(plain),
            }
        }
        assert!(labels.insert(key.to_owned(), value).is_none(), "label {key} twice");
        rest = characters.as_str();
        rest = match rest.strip_prefix(',') {
            Some(more) => more,
            None => {
                assert!(rest.is_empty(), "after a label: {rest:?}");
                rest
            }
        };
    }
    labels
}
