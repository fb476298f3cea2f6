//! The revocations in force, and whom they apply to. Pure: the caller passes the time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use crate::vocabulary::{Grant, Revocation, RevocationTarget};

/// What a connection, or an attempt to open one, is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials<'a> {
    /// Its subject.
    pub subject: Option<&'a str>,
    /// The `jti` claim of its token.
    pub token_id: Option<&'a str>,
    /// When its token was issued, or else when it opened.
    pub issued_at: SystemTime,
}

impl<'a> Credentials<'a> {
    /// Returns what a connection is known by that opened at this time.
    pub fn new(subject: Option<&'a str>, grant: Option<&'a Grant>, opened_at: SystemTime) -> Self {
        Self {
            subject,
            token_id: grant.and_then(|grant| grant.token_id.as_deref()),
            issued_at: grant.and_then(|grant| grant.issued_at).unwrap_or(opened_at),
        }
    }
}

/// The limit on revocations is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there are {limit} revocations, which is the limit: withdraw some, or let them expire")]
pub struct TooManyRevocations {
    /// The limit.
    pub limit: usize,
}

/// The revocations of a node.
#[derive(Debug)]
pub struct Revocations {
    limit: usize,
    by_number: BTreeMap<u64, Arc<Revocation>>,
    by_subject: HashMap<String, Vec<Arc<Revocation>>>,
    by_token: HashMap<String, Vec<Arc<Revocation>>>,
    /// When each expires, and its number.
    expiries: BTreeSet<(SystemTime, u64)>,
    /// Numbers that were reserved and are neither added nor released.
    reserved: usize,
    /// The last number assigned.
    last: u64,
}

impl Revocations {
    /// Holds at most `limit` revocations.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            by_number: BTreeMap::new(),
            by_subject: HashMap::new(),
            by_token: HashMap::new(),
            expiries: BTreeSet::new(),
            reserved: 0,
            last: 0,
        }
    }

    /// Sets how many it holds at most from now on. Those beyond stay until they expire.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Adds the revocations that a ledger has recorded; numbers go on behind `last`. The limit does
    /// not apply: a lower one must not make an earlier revocation void.
    pub fn restore(&mut self, last: u64, recorded: impl IntoIterator<Item = Arc<Revocation>>) {
        self.last = self.last.max(last);
        recorded.into_iter().for_each(|revocation| self.insert(revocation));
    }

    /// Reserves the number of a revocation that is about to be recorded.
    ///
    /// # Errors
    /// The limit is reached.
    pub fn reserve(&mut self, now: SystemTime) -> Result<u64, TooManyRevocations> {
        self.expire(now);
        if self.by_number.len() + self.reserved >= self.limit {
            return Err(TooManyRevocations { limit: self.limit });
        }
        self.reserved += 1;
        self.last += 1;
        Ok(self.last)
    }

    /// Gives up a reservation.
    pub fn release(&mut self) {
        self.reserved = self.reserved.saturating_sub(1);
    }

    /// Adds a revocation whose number was reserved.
    pub fn add(&mut self, revocation: Arc<Revocation>) {
        self.release();
        self.insert(revocation);
    }

    fn insert(&mut self, revocation: Arc<Revocation>) {
        self.remove(revocation.number);
        self.last = self.last.max(revocation.number);
        let named = match &revocation.target {
            RevocationTarget::Subject { subject, .. } => {
                self.by_subject.entry(subject.clone()).or_default()
            }
            RevocationTarget::Token { id } => self.by_token.entry(id.clone()).or_default(),
        };
        named.push(Arc::clone(&revocation));
        if let Some(expires_at) = revocation.expires_at {
            self.expiries.insert((expires_at, revocation.number));
        }
        self.by_number.insert(revocation.number, revocation);
    }

    /// Removes a revocation; `None` if there is none with this number.
    pub fn remove(&mut self, number: u64) -> Option<Arc<Revocation>> {
        let revocation = self.by_number.remove(&number)?;
        let (names, name) = match &revocation.target {
            RevocationTarget::Subject { subject, .. } => (&mut self.by_subject, subject),
            RevocationTarget::Token { id } => (&mut self.by_token, id),
        };
        if let Some(named) = names.get_mut(name) {
            named.retain(|named| named.number != number);
            if named.is_empty() {
                names.remove(name);
            }
        }
        if let Some(expires_at) = revocation.expires_at {
            self.expiries.remove(&(expires_at, number));
        }
        Some(revocation)
    }

    /// Removes the revocations that have expired.
    pub fn expire(&mut self, now: SystemTime) {
        while let Some((expires_at, number)) = self.expiries.first().copied()
            && expires_at <= now
        {
            self.remove(number);
        }
    }

    /// Returns the revocation with this number, if it is in force.
    pub fn get(&self, number: u64, now: SystemTime) -> Option<&Arc<Revocation>> {
        self.by_number.get(&number).filter(|revocation| revocation.is_in_force(now))
    }

    /// Returns those in force, the newest first.
    pub fn in_force(&self, now: SystemTime) -> impl Iterator<Item = &Arc<Revocation>> {
        self.by_number.values().rev().filter(move |revocation| revocation.is_in_force(now))
    }

    /// Returns a revocation that applies, if there is one.
    pub fn find(&self, credentials: &Credentials<'_>, now: SystemTime) -> Option<&Arc<Revocation>> {
        let of_subject = credentials.subject.and_then(|subject| self.by_subject.get(subject));
        let of_token = credentials.token_id.and_then(|id| self.by_token.get(id));
        let named = of_subject.into_iter().chain(of_token).flatten();
        named
            .into_iter()
            .find(|revocation| revocation.is_in_force(now) && applies(revocation, credentials))
    }

    /// Returns whether there are none, so that nothing needs to be looked up.
    pub fn is_empty(&self) -> bool {
        self.by_number.is_empty()
    }
}

/// Returns whether a revocation applies to a connection, while it is in force.
pub fn applies(revocation: &Revocation, credentials: &Credentials<'_>) -> bool {
    match &revocation.target {
        RevocationTarget::Subject { subject, issued_before } => {
            credentials.subject == Some(subject)
                && issued_before.is_none_or(|time| credentials.issued_at < time)
        }
        RevocationTarget::Token { id } => credentials.token_id == Some(id),
    }
}

#[cfg(test)]
mod tests;
