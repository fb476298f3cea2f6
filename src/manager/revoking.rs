//! Revocations: closing and refusing a subject or a token.

use std::sync::Arc;
use std::time::SystemTime;

use super::Supervisor;
use crate::ledger::Health;
use crate::node::ShutDown;
use crate::node::revoking::Applied;
use crate::policy::revocations::TooManyRevocations;
use crate::runtime::wall_clock;
use crate::vocabulary::{
    Requester, Revocation, RevocationChange, RevocationCounts, RevocationTarget, timestamp,
};

/// A revocation that is to be made, for [`Supervisor::revoke`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Revoke {
    target: RevocationTarget,
    expires_at: Option<SystemTime>,
    by: Option<Requester>,
}

/// A revocation that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Revoked {
    /// The revocation.
    pub revocation: Arc<Revocation>,
    /// The number of open connections that it closed.
    pub closed: usize,
}

/// Why a revocation was neither made nor withdrawn; nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RevokeError {
    /// No subject or token has such a name.
    #[error("the name of a subject, and the id of a token, has 1 to 256 printable bytes")]
    Name,
    /// It would never apply.
    #[error("expires_at has passed: give a time in the future")]
    Expired,
    /// There are too many.
    #[error(transparent)]
    TooMany(#[from] TooManyRevocations),
    /// The ledger cannot record it.
    #[error("the ledger cannot record it, so nothing has changed: {0}")]
    NotRecorded(String),
    /// The supervisor was shut down.
    #[error(transparent)]
    ShutDown(#[from] ShutDown),
}

impl Revoke {
    /// Revokes all that a subject has, now and later.
    pub fn subject(subject: impl Into<String>) -> Self {
        Self::of(RevocationTarget::Subject { subject: subject.into(), issued_before: None })
    }

    /// Revokes what a subject was granted before a time: its older tokens are refused, newer ones
    /// are not.
    ///
    /// A connection without a token that says when it was issued counts by when it opened.
    pub fn subject_before(subject: impl Into<String>, time: SystemTime) -> Self {
        let (subject, issued_before) = (subject.into(), Some(time));
        Self::of(RevocationTarget::Subject { subject, issued_before })
    }

    /// Revokes one token, by its `jti`.
    pub fn token(id: impl Into<String>) -> Self {
        Self::of(RevocationTarget::Token { id: id.into() })
    }

    pub(crate) fn of(target: RevocationTarget) -> Self {
        Self { target, expires_at: None, by: None }
    }

    /// Sets when the revocation ends, such as when the last token that it is meant for has expired;
    /// by default only [`Supervisor::withdraw`] ends it.
    pub fn expires_at(mut self, time: SystemTime) -> Self {
        self.expires_at = Some(time);
        self
    }

    /// Limits its times to what RFC 3339 can write, which changes nothing that matters.
    fn within_bounds(mut self) -> Self {
        let (first, last) = (SystemTime::UNIX_EPOCH, timestamp::last());
        if let RevocationTarget::Subject { issued_before: Some(time), .. } = &mut self.target {
            *time = (*time).clamp(first, last);
        }
        self.expires_at = self.expires_at.filter(|time| *time <= last);
        self
    }

    /// Sets who asked, for the record.
    pub fn by(mut self, by: Requester) -> Self {
        self.by = Some(by);
        self
    }
}

impl Supervisor {
    /// Closes all connections of a subject, or of one token, with 3000 and cause `revoked`, and
    /// refuses new ones with 401 until the revocation expires or is withdrawn.
    ///
    /// It returns once the ledger has recorded the revocation and the Closes are queued. The
    /// durable ledger keeps it across restarts, the one in memory for its own lifetime.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use lastword::{Accept, Backend, OpeningRequest, Revoke, Route, Supervisor};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let supervisor = Supervisor::builder().start().await?;
    /// let route = Route::new("/chat", async |_: OpeningRequest| {
    ///     Ok(Accept::new(Backend::echo()).subject("ann"))
    /// })?;
    /// let listener = supervisor.listen("public", &"127.0.0.1:0".parse()?, vec![route]).await?;
    /// let url = format!("ws://{}/chat", listener.address());
    /// let (connection, _messages) = supervisor.dial(&url).receive().await?;
    ///
    /// let tomorrow = SystemTime::now() + Duration::from_secs(24 * 60 * 60);
    /// let revoked = supervisor.revoke(Revoke::subject("ann").expires_at(tomorrow)).await?;
    /// assert_eq!(revoked.closed, 1);
    /// let ending = connection.ended().await;
    /// assert_eq!(ending.outcome.close_code(), Some(3000));
    /// assert!(supervisor.dial(&url).receive().await.is_err());
    ///
    /// supervisor.withdraw(revoked.revocation.number).await?;
    /// assert!(supervisor.dial(&url).receive().await.is_ok());
    /// # supervisor.shutdown(Default::default()).await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`RevokeError`]; nothing has changed then.
    ///
    /// # Cancel safety
    /// If the future is dropped, the revocation is made all the same.
    pub async fn revoke(&self, revoke: Revoke) -> Result<Revoked, RevokeError> {
        let Revoke { target, expires_at, by } = revoke.within_bounds();
        if !target.is_valid() {
            return Err(RevokeError::Name);
        }
        if expires_at.is_some_and(|expires_at| expires_at <= wall_clock::now()) {
            return Err(RevokeError::Expired);
        }
        let revocations = &self.inner.node.revocations;
        if self.inner.node.is_shut() {
            return Err(ShutDown.into());
        }
        let Some(revocation) = revocations.prepare(target, expires_at, by)? else {
            return Err(self.not_recorded());
        };
        match self.record(RevocationChange::Made(Arc::clone(&revocation))).await {
            Applied::Made { closed } => Ok(Revoked { revocation, closed }),
            Applied::Withdrawn { .. } | Applied::NotRecorded => Err(self.not_recorded()),
        }
    }

    /// Withdraws a revocation: those that it applied to may connect again. Returns `None` if no
    /// revocation with this number is in force.
    ///
    /// # Errors
    /// [`RevokeError::NotRecorded`]; the revocation stays in force then.
    ///
    /// # Cancel safety
    /// If the future is dropped, the revocation is withdrawn all the same.
    pub async fn withdraw(&self, number: u64) -> Result<Option<Arc<Revocation>>, RevokeError> {
        let Some(revocation) = self.revocation(number) else { return Ok(None) };
        let (withdrawn, at) = (Arc::clone(&revocation), wall_clock::now());
        match self.record(RevocationChange::Withdrawn { revocation: withdrawn, at }).await {
            Applied::Withdrawn { found } => Ok(found.then_some(revocation)),
            Applied::Made { .. } | Applied::NotRecorded => Err(self.not_recorded()),
        }
    }

    /// Returns the revocations in force, the newest first.
    pub fn revocations(&self) -> Vec<Arc<Revocation>> {
        self.inner.node.revocations.in_force()
    }

    /// Returns the revocation with this number, if it is in force.
    pub fn revocation(&self, number: u64) -> Option<Arc<Revocation>> {
        self.inner.node.revocations.get(number)
    }

    /// Counts the revocations in force, and what they have closed and refused.
    pub fn revocation_counts(&self) -> RevocationCounts {
        self.inner.node.revocations.counts()
    }

    async fn record(&self, change: RevocationChange) -> Applied {
        let node = &self.inner.node;
        let applied = node.revocations.await_change(&change);
        node.publisher.revocation(change);
        // The ledger reports every entry, in bounded time.
        applied.await.unwrap_or(Applied::NotRecorded)
    }

    fn not_recorded(&self) -> RevokeError {
        RevokeError::NotRecorded(match self.ledger_health() {
            Health::Failing { problem, refuse: _ } => problem,
            Health::Good => "it failed for a moment: try again".to_owned(),
        })
    }
}
