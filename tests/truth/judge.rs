//! Joins what was due with what the ledger has.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use serde_json::Value;

use super::draw;
use super::expected::{self, Due};
use super::journal::Deeds;
use super::plan::{BLOCK, Script};
use super::record::{contradictions, time};
use super::stage::address_of;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    Wrong,
    Missing,
    Twice,
    /// The script could not be played to its end.
    Unplayed,
}

#[derive(Debug, Clone)]
pub struct Finding {
    pub fault: Fault,
    pub what: String,
}

/// What a block, or many, came to.
#[derive(Debug, Default, Clone)]
pub struct Verdict {
    pub scripts: u64,
    pub records: u64,
    /// How often each word came, by `field: word`.
    pub seen: BTreeMap<String, u64>,
    pub findings: Vec<Finding>,
}

impl Verdict {
    pub fn add(&mut self, other: Self) {
        self.scripts += other.scripts;
        self.records += other.records;
        for (word, count) in other.seen {
            *self.seen.entry(word).or_default() += count;
        }
        self.findings.extend(other.findings);
    }

    pub fn count(&self, fault: Fault) -> usize {
        self.findings.iter().filter(|finding| finding.fault == fault).count()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (word, count) in &self.seen {
            writeln!(f, "{word:<40} {count:>9}")?;
        }
        let count = |fault| self.count(fault);
        let (wrong, missing, twice) =
            (count(Fault::Wrong), count(Fault::Missing), count(Fault::Twice));
        writeln!(f, "{} scripts, {} records", self.scripts, self.records)?;
        write!(f, "{wrong} wrong, {missing} missing, {twice} twice")?;
        match count(Fault::Unplayed) {
            0 => Ok(()),
            unplayed => write!(f, ", {unplayed} not played to the end"),
        }
    }
}

/// What is known of a block when its daemon has ended.
pub struct Evidence<'a> {
    pub seed: u64,
    pub scripts: &'a [Script],
    pub deeds: &'a HashMap<u64, Deeds>,
    pub records: &'a [Value],
    /// Path and direction of each connection whose `opened` was published.
    pub published: &'a HashSet<(String, &'static str)>,
}

pub fn judge(evidence: &Evidence<'_>) -> Verdict {
    let mut verdict = Verdict {
        scripts: evidence.scripts.len() as u64,
        records: evidence.records.len() as u64,
        ..Verdict::default()
    };
    for record in evidence.records {
        for field in ["kind", "open_failure", "cause", "state", "first_close", "transport_end"] {
            if let Some(word) = record[field].as_str() {
                *verdict.seen.entry(format!("{field}: {word}")).or_default() += 1;
            }
        }
    }
    let mut of_script: HashMap<u64, Vec<&Value>> = HashMap::new();
    let numbers: HashMap<String, u64> = evidence.scripts.iter().flat_map(names).collect();
    for record in evidence.records {
        match number_of(record, &numbers) {
            Some(number) => of_script.entry(number).or_default().push(record),
            None => verdict.findings.push(Finding {
                fault: Fault::Wrong,
                what: format!("a record of no script: {record}"),
            }),
        }
    }
    let unplayed = Deeds::default();
    for script in evidence.scripts {
        let deeds = evidence.deeds.get(&script.number).unwrap_or(&unplayed);
        let records = of_script.remove(&script.number).unwrap_or_default();
        for (fault, what) in judge_script(script, deeds, &records, evidence.published) {
            let what = story(evidence.seed, script, deeds, &what, &records);
            verdict.findings.push(Finding { fault, what });
        }
    }
    verdict
}

/// By what records are known to be of a script: its mark, and its addresses.
fn names(script: &Script) -> Vec<(String, u64)> {
    let address = |second| address_of(script.number, second).ip().to_string();
    let names = [script.mark.clone(), script.application_mark(), address(false), address(true)];
    names.map(|name| (name, script.number)).into()
}

fn number_of(record: &Value, numbers: &HashMap<String, u64>) -> Option<u64> {
    let path = record["path"].as_str().unwrap_or_default();
    let by_mark = path.split('/').find_map(|part| numbers.get(part));
    let address = record["peer"].as_str().and_then(|peer| peer.rsplit_once(':'));
    by_mark.or_else(|| numbers.get(address?.0)).copied()
}

fn judge_script(
    script: &Script,
    deeds: &Deeds,
    records: &[&Value],
    published: &HashSet<(String, &'static str)>,
) -> Vec<(Fault, String)> {
    let caught = draw::is_caught(script.number);
    let mut found = Vec::new();
    let mut left: Vec<&Value> = records.to_vec();
    let mut legs: Vec<&Value> = Vec::new();
    for due in expected::of(script, deeds) {
        let (own, rest): (Vec<_>, Vec<_>) = left.into_iter().partition(|record| due.fits(record));
        left = rest;
        match own[..] {
            [] => {
                let known = |field| {
                    let known = due.known_by.iter().find(|(name, _)| *name == field);
                    known.and_then(|(_, value)| value.as_str()).unwrap_or_default()
                };
                let direction = match known("direction") {
                    "outbound" => "outbound",
                    _ => "inbound",
                };
                let path = known("path").to_owned();
                // A connection whose opening was not published may be lost with the daemon.
                if !caught || !due.attempt && published.contains(&(path, direction)) {
                    found.push((Fault::Missing, format!("no record of the leg {}", due.leg)));
                }
            }
            [record] => {
                legs.push(record);
                found.extend(wrong(record, &due, deeds).map(|what| (Fault::Wrong, what)));
            }
            [..] => {
                found.push((Fault::Twice, format!("{} records of the leg {}", own.len(), due.leg)));
            }
        }
    }
    for record in left {
        let id = &record["id"];
        found.push((Fault::Wrong, format!("a record that is not due: {id}")));
    }
    if let [client, application] = legs[..] {
        let each_other =
            client["relay_peer"] == application["id"] && application["relay_peer"] == client["id"];
        if client["backend"] == "relay" && application["backend"] == "relay" && !each_other {
            found.push((Fault::Wrong, "the legs do not name each other".to_owned()));
        }
    }
    found
}

/// What is wrong with a record: what it contradicts, and what the nearest alternative wants.
fn wrong(record: &Value, due: &Due, deeds: &Deeds) -> Option<String> {
    let mut wrong = contradictions(record);
    let (from, to) = deeds.between;
    // Clocks of the same machine; what is written down is rounded.
    if let (Some(opened), true) = (time(record, "opened_at"), to > 0)
        && opened + 100 < from
    {
        wrong.push(format!("opened_at is before the script began, at {from}"));
    }
    let nearest = due
        .alternatives
        .iter()
        .map(|wanted| (wanted.mismatches(record), wanted.why))
        .min_by_key(|(mismatches, _)| mismatches.len());
    let (mismatches, why) = nearest.expect("something is admissible");
    wrong.extend(mismatches);
    let count = due.alternatives.len();
    (!wrong.is_empty()).then(|| {
        let nearest =
            if count > 1 { format!(" (nearest of {count}: {why:?})") } else { String::new() };
        format!("leg {}{nearest}:\n    {}", due.leg, wrong.join("\n    "))
    })
}

/// The command that plays one script again.
pub fn again(seed: u64, number: u64) -> String {
    format!("TRUTH_SEED={seed} TRUTH_ONLY={number} cargo test --test truth -- --nocapture")
}

fn story(seed: u64, script: &Script, deeds: &Deeds, what: &str, records: &[&Value]) -> String {
    let records: Vec<String> = records.iter().map(|record| format!("  {record}")).collect();
    format!(
        "script {number} of block {block}: {what}\n  planned: {plot:?}\n  done:\n    {done}\n\
         records:\n{records}\n  again: {again}",
        again = again(seed, script.number),
        number = script.number,
        block = script.number / BLOCK,
        plot = script.plot,
        done = deeds.lines.join("\n    "),
        records = records.join("\n"),
    )
}
