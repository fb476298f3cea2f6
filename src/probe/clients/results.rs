//! What clients did, by User-Agent, in bounded memory.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;

use super::super::case::{Judgement, Verdict};
use super::cases::ALL;
use crate::contract::ProbedClientRecord;

/// How many User-Agents are remembered; the one that was not seen for longest is forgotten.
const MOST_AGENTS: usize = 64;
/// How much of a User-Agent is kept, in bytes.
const LONGEST_AGENT: usize = 200;

/// What one client made of one case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tested {
    /// Its number among all results, from 1; 0 until it is added.
    pub number: u64,
    /// The client's User-Agent, safe to print.
    pub agent: String,
    /// The case.
    pub id: &'static str,
    /// The verdict.
    pub judgement: Judgement,
    /// What the server saw, in one line.
    pub observed: String,
}

/// What clients did.
#[derive(Debug, Default)]
pub struct Results {
    /// The User-Agents, the one that was seen last at the end.
    agents: VecDeque<Agent>,
    /// How many results there were.
    count: u64,
}

/// What clients with one User-Agent did last in each case.
#[derive(Debug)]
struct Agent {
    name: String,
    cases: BTreeMap<&'static str, Tested>,
}

/// Shortens a User-Agent to what is kept of it.
pub(super) fn kept(agent: &str) -> String {
    let agent = crate::policy::masking::record_text(agent);
    match agent.is_empty() {
        true => "no User-Agent".to_owned(),
        false => agent[..agent.floor_char_boundary(LONGEST_AGENT)].to_owned(),
    }
}

impl Results {
    /// Adds a result; a newer one of the same User-Agent and case takes the place of the older.
    /// Returns it with its number.
    pub fn add(&mut self, tested: Tested) -> Tested {
        self.count += 1;
        let tested = Tested { number: self.count, ..tested };
        let known = self.agents.iter().position(|agent| agent.name == tested.agent);
        let known = known.and_then(|at| self.agents.remove(at));
        let mut agent =
            known.unwrap_or_else(|| Agent { name: tested.agent.clone(), cases: BTreeMap::new() });
        agent.cases.insert(tested.id, tested.clone());
        self.agents.push_back(agent);
        if self.agents.len() > MOST_AGENTS {
            self.agents.pop_front();
        }
        tested
    }

    /// Returns the results, by User-Agent, in the order of the cases.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Vec<&Tested>)> {
        self.agents.iter().map(|agent| {
            let results = ALL.iter().filter_map(|case| agent.cases.get(case.id));
            (agent.name.as_str(), results.collect())
        })
    }

    /// Returns whether a case failed.
    pub fn has_failure(&self) -> bool {
        self.iter().flat_map(|(_, results)| results).any(|it| it.judgement.verdict == Verdict::Fail)
    }

    /// Writes a report for people.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (agent, results) in self.iter() {
            let count =
                |verdict| results.iter().filter(|it| it.judgement.verdict == verdict).count();
            // Writing into a String cannot fail.
            let _ = writeln!(
                text,
                "{agent}: {} passed, {} warned, {} failed, {} skipped, {} not tried",
                count(Verdict::Pass),
                count(Verdict::Warn),
                count(Verdict::Fail),
                count(Verdict::Skipped),
                ALL.len() - results.len()
            );
            for tested in results {
                let verdict = tested.judgement.verdict.as_str();
                let _ = writeln!(text, "  {verdict:7}  {}", tested.details());
            }
        }
        if text.is_empty() {
            text.push_str("no client has come yet\n");
        }
        text
    }
}

impl Tested {
    /// Returns the result as JSON has it.
    pub fn to_record(&self) -> ProbedClientRecord {
        let consequence = Some(self.judgement.consequence.clone());
        ProbedClientRecord {
            number: self.number,
            user_agent: self.agent.clone(),
            id: self.id,
            observed: self.observed.clone(),
            verdict: self.judgement.verdict.as_str(),
            consequence: consequence.filter(|text| !text.is_empty()),
        }
    }

    /// Writes what follows the verdict in a line.
    pub fn details(&self) -> String {
        let Self { id, judgement, observed, .. } = self;
        match judgement.consequence.is_empty() {
            true => format!("{id:24}  {observed}"),
            false => format!("{id:24}  {observed}: {}", judgement.consequence),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tested(agent: &str, id: &'static str, judgement: Judgement) -> Tested {
        Tested { number: 0, agent: kept(agent), id, judgement, observed: "seen".to_owned() }
    }

    #[test]
    fn the_last_result_counts_and_agents_are_bounded() {
        let mut results = Results::default();
        assert_eq!(results.to_text(), "no client has come yet\n");
        results.add(tested("a", "reset", Judgement::fail("bad")));
        assert!(results.has_failure());
        results.add(tested("a", "reset", Judgement::pass()));
        results.add(tested("a", "ping", Judgement::warn("slow")));
        assert!(!results.has_failure());
        assert!(results.to_text().starts_with("a: 1 passed, 1 warned, 0 failed, 0 skipped, "));
        for n in 0..MOST_AGENTS {
            results.add(tested(&n.to_string(), "reset", Judgement::pass()));
        }
        assert_eq!(results.agents.len(), MOST_AGENTS);
        assert!(results.iter().all(|(agent, _)| agent != "a"));
        let long = kept(&format!("{}\u{1b}", "ü".repeat(1000)));
        assert!(long.len() <= LONGEST_AGENT && !long.contains('\u{1b}'));
        assert_eq!(kept(""), "no User-Agent");
    }
}
