//! Questions about the endings that are kept.

use std::collections::HashMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::SystemTime;

use super::InMemory;
use crate::contract::EndingRecord;
use crate::ledger::archive::{
    Archive, Count, EndingFilter, EndingPage, Property, QueryError, Replay, Stored, Summary,
};
use crate::ledger::timeline::{Counting, Slots, Timeline};
use crate::vocabulary::{ConnectionName, Ending, PeerFilter};

impl Archive for InMemory {
    fn ending(&self, name: ConnectionName) -> Result<Option<Stored>, QueryError> {
        let kept = self.kept.lock();
        let mut newest_first = kept.endings.iter().rev();
        Ok(newest_first.find(|(_, ending)| name.names(ending.id)).map(stored))
    }

    fn endings(&self, filter: &EndingFilter) -> Result<EndingPage, QueryError> {
        let peer = filter.peer.as_deref().map(PeerFilter::parse);
        let comes_from = |ending: &Ending| {
            let recorded = ending.origin.peer.as_deref();
            peer.as_ref().is_none_or(|peer| recorded.is_some_and(|recorded| peer.matches(recorded)))
        };
        let kept = self.kept.lock();
        let mut found = kept
            .endings
            .iter()
            .rev()
            .filter(|(sequence, _)| filter.before.is_none_or(|before| **sequence < before))
            .filter(|(_, ending)| matches(ending, filter) && comes_from(ending));
        let endings: Vec<Stored> = found.by_ref().take(filter.limit).map(stored).collect();
        let next = found.next().and(endings.last()).map(|last| last.sequence);
        Ok(EndingPage { endings, next })
    }

    fn summary(
        &self,
        since: Option<SystemTime>,
        until: Option<SystemTime>,
        by: Property,
    ) -> Result<Summary, QueryError> {
        let period = EndingFilter { since, until, ..EndingFilter::default() };
        let mut counted: HashMap<Option<String>, u64> = HashMap::new();
        let kept = self.kept.lock();
        for ending in kept.endings.values().filter(|ending| matches(ending, &period)) {
            *counted.entry(value_of(ending, by)).or_default() += 1;
        }
        let total = counted.values().sum();
        let mut counts: Vec<Count> =
            counted.into_iter().map(|(value, count)| Count { value, count }).collect();
        counts.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.value.cmp(&b.value)));
        counts.truncate(1000);
        Ok(Summary { counts, total })
    }

    fn over_time(&self, slots: &Slots, by: Property) -> Result<Timeline, QueryError> {
        let mut counting = Counting::new(slots);
        for ending in self.kept.lock().endings.values() {
            if let (Some(slot), Some(value)) = (slots.find(ending.ended_at), value_of(ending, by)) {
                counting.add(slot, &value, 1);
            }
        }
        Ok(counting.finish())
    }

    fn after(&self, sequence: u64, limit: usize) -> Result<Replay, QueryError> {
        let kept = self.kept.lock();
        let newer = kept.endings.range((Bound::Excluded(sequence), Bound::Unbounded));
        Ok(Replay {
            endings: newer.take(limit).map(stored).collect(),
            gap: sequence < kept.dropped || sequence > kept.sequence,
        })
    }
}

fn stored((sequence, ending): (&u64, &Arc<Ending>)) -> Stored {
    Stored {
        sequence: *sequence,
        attempt: ending.outcome.kind.open_failure().is_some(),
        json: EndingRecord::from(&**ending).to_json(),
    }
}

/// Returns whether an ending matches a filter, leaving its peer aside.
fn matches(ending: &Ending, filter: &EndingFilter) -> bool {
    let EndingFilter { since, until, kind, fault, cause, code, route, subject, path, .. } = filter;
    let same = |wanted: &Option<String>, has: &Option<String>| wanted.is_none() || wanted == has;
    let origin = &ending.origin;
    since.is_none_or(|since| ending.ended_at >= since)
        && until.is_none_or(|until| ending.ended_at < until)
        && kind.as_deref().is_none_or(|kind| ending.outcome.kind.as_str() == kind)
        && fault.is_none_or(|fault| ending.outcome.fault == fault)
        && cause.is_none_or(|cause| ending.outcome.cause == cause)
        && code.is_none_or(|code| ending.outcome.close_code() == Some(code))
        && same(route, &origin.route)
        && same(subject, &origin.subject)
        && same(path, &origin.path)
}

fn value_of(ending: &Ending, by: Property) -> Option<String> {
    let outcome = &ending.outcome;
    match by {
        Property::Kind => Some(outcome.kind.as_str().to_owned()),
        Property::Fault => Some(outcome.fault.as_str().to_owned()),
        Property::Cause => Some(outcome.cause.as_str().to_owned()),
        Property::Code => outcome.close_code().map(|code| code.to_string()),
        Property::Route => ending.origin.route.clone(),
        Property::UserAgent => ending.origin.user_agent.clone(),
    }
}
