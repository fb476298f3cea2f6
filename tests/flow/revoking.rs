//! Revocations: who is closed and refused, and who is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use lastword::ledger::{Committed, Entry, Health, InMemory, Ledger, RecordedRevocations};
use lastword::vocabulary::{
    Advice, Cause, Fault, Kind, OpenFailure, Record, Requester, Revocation, RevocationTarget, Role,
};
use lastword::{
    Accept, Adopt, Backend, ConnectionHandle, DialError, Ending, ListenerHandle, OpeningRequest,
    Revoke, RevokeError, Route, Supervisor,
};

use super::stage::{ended, sent_code, soon, supervisor};

const MINUTE: Duration = Duration::from_secs(60);

/// Listens with a route that takes the subject from the path: `/of/ann`.
async fn listen(supervisor: &Supervisor) -> ListenerHandle {
    let route = Route::new("/of/{who}", async |request: OpeningRequest| {
        let who = request.path().trim_start_matches("/of/").to_owned();
        Ok(Accept::new(Backend::echo()).subject(who))
    });
    let address = "127.0.0.1:0".parse().unwrap();
    supervisor.listen("public", &address, vec![route.unwrap()]).await.unwrap()
}

/// Dials as this subject.
async fn dial(
    supervisor: &Supervisor,
    listener: &ListenerHandle,
    subject: &str,
) -> Result<ConnectionHandle, DialError> {
    let url = format!("ws://{}/of/{subject}", listener.address());
    soon("the dial", supervisor.dial(&url).open(Backend::none())).await
}

/// The open connections of a subject, as the listener has them.
fn of(supervisor: &Supervisor, subject: &str) -> Vec<ConnectionHandle> {
    let mut all = supervisor.connections();
    all.retain(|connection| connection.origin().subject.as_deref() == Some(subject));
    all
}

/// Adopts a connection of this subject.
async fn adopted(supervisor: &Supervisor, subject: &str) -> (ConnectionHandle, impl Sized) {
    let (peer, transport) = tokio::io::duplex(1024);
    let mut adopt = Adopt::new(Role::Server, transport);
    adopt.origin.subject = Some(subject.to_owned());
    adopt.settings.close.timeout = Duration::from_secs(1);
    (supervisor.adopt(adopt, Backend::none()).await.unwrap(), peer)
}

fn assert_revoked(ending: &Ending) {
    let outcome = &ending.outcome;
    assert_eq!(outcome.cause, Cause::Revoked, "{ending}");
    assert_eq!((sent_code(ending), outcome.retry.advice()), (Some(3000), Advice::Reauthenticate));
    assert_eq!(outcome.close_sent.as_ref().unwrap().reason(), "access revoked");
}

#[tokio::test]
async fn a_subject_is_closed_and_refused_until_that_is_withdrawn() {
    let supervisor = supervisor().await;
    let listener = listen(&supervisor).await;
    let mut endings = supervisor.endings();
    let _ann = dial(&supervisor, &listener, "ann").await.unwrap();
    let _bob = dial(&supervisor, &listener, "bob").await.unwrap();
    let connections = of(&supervisor, "ann");
    let by = Requester::Api("ops".into());
    let revoked = supervisor.revoke(Revoke::subject("ann").by(by.clone())).await.unwrap();
    assert_eq!((revoked.closed, connections.len()), (1, 1));
    let ending = ended(&supervisor, &connections[0]).await;
    assert_revoked(&ending);
    assert_eq!((ending.outcome.kind, ending.outcome.fault), (Kind::Clean, Fault::Operator));
    assert_eq!(ending.outcome.by, Some(by));
    assert_eq!(of(&supervisor, "bob")[0].state().as_str(), "open");

    let Err(DialError::Failed(dialled)) = dial(&supervisor, &listener, "ann").await else {
        panic!("the subject is let in");
    };
    assert_eq!(
        dialled.outcome.kind,
        Kind::OpenFailed(OpenFailure::UpgradeRejected { status: 401 })
    );
    let refused = loop {
        let ending = soon("the refusal", endings.next()).await.unwrap().unwrap();
        if ending.outcome.kind == Kind::OpenFailed(OpenFailure::Unauthorized) {
            break ending;
        }
    };
    assert_eq!(refused.origin.subject.as_deref(), Some("ann"));
    let detail = &refused.outcome.detail;
    assert!(detail.contains("the subject is revoked (revocation 1); answered 401"), "{detail}");
    assert_eq!(refused.outcome.retry.advice(), Advice::Reauthenticate);
    dial(&supervisor, &listener, "bob").await.unwrap();

    let counts = supervisor.revocation_counts();
    assert_eq!((counts.in_force, counts.closed, counts.refused), (1, 1, 1));
    let withdrawn = supervisor.withdraw(1).await.unwrap();
    assert_eq!(withdrawn, Some(revoked.revocation));
    assert_eq!(supervisor.withdraw(1).await, Ok(None));
    assert!(supervisor.revocations().is_empty());
    dial(&supervisor, &listener, "ann").await.unwrap();
}

#[tokio::test]
async fn without_a_token_it_counts_when_a_connection_opened() {
    let supervisor = supervisor().await;
    let listener = listen(&supervisor).await;
    let _peer = dial(&supervisor, &listener, "ann").await.unwrap();
    let past = SystemTime::now() - MINUTE;
    let revoke = |time| supervisor.revoke(Revoke::subject_before("ann", time));
    assert_eq!(revoke(past).await.unwrap().closed, 0);
    assert_eq!(revoke(SystemTime::now()).await.unwrap().closed, 1);
    // What opens later opens after that time.
    dial(&supervisor, &listener, "ann").await.unwrap();
    revoke(SystemTime::now() + MINUTE).await.unwrap();
    dial(&supervisor, &listener, "ann").await.unwrap_err();
}

#[tokio::test]
async fn a_connection_that_was_admitted_before_does_not_slip_through() {
    let supervisor = supervisor().await;
    supervisor.revoke(Revoke::subject("ann")).await.unwrap();
    let (connection, _peer) = adopted(&supervisor, "ann").await;
    assert_revoked(&*ended(&supervisor, &connection).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_of_many_that_open_meanwhile_stays() {
    let supervisor = supervisor().await;
    let listener = listen(&supervisor).await;
    let comings: Vec<_> = (0..200)
        .map(|_| {
            let (supervisor, listener) = (supervisor.clone(), listener.clone());
            tokio::spawn(async move { dial(&supervisor, &listener, "ann").await.is_ok() })
        })
        .collect();
    // Some have opened, others have not.
    while of(&supervisor, "ann").len() < 20 {
        tokio::task::yield_now().await;
    }
    supervisor.revoke(Revoke::subject("ann")).await.unwrap();
    for coming in comings {
        coming.await.unwrap();
    }
    for connection in of(&supervisor, "ann") {
        soon("its ending", connection.ended()).await;
    }
    assert!(of(&supervisor, "ann").is_empty());
    assert!(supervisor.accounting().balances());
}

#[tokio::test]
async fn what_can_never_apply_is_refused_and_so_is_one_too_many() {
    let supervisor = Supervisor::builder().max_revocations(1).start().await.unwrap();
    for name in ["", "a\nb", &"x".repeat(257)] {
        assert_eq!(supervisor.revoke(Revoke::subject(name)).await, Err(RevokeError::Name));
        assert_eq!(supervisor.revoke(Revoke::token(name)).await, Err(RevokeError::Name));
    }
    let past = SystemTime::now() - MINUTE;
    let expired = Revoke::subject("ann").expires_at(past);
    assert_eq!(supervisor.revoke(expired).await, Err(RevokeError::Expired));
    let brief = SystemTime::now() + Duration::from_millis(50);
    let revoked = supervisor.revoke(Revoke::subject("ann").expires_at(brief)).await.unwrap();
    let many = supervisor.revoke(Revoke::subject("bob")).await.unwrap_err();
    assert!(matches!(many, RevokeError::TooMany(_)), "{many}");
    while supervisor.revocation(revoked.revocation.number).is_some() {
        tokio::task::yield_now().await;
    }
    assert_eq!(supervisor.revoke(Revoke::subject("bob")).await.unwrap().revocation.number, 2);
    let never = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40);
    supervisor.withdraw(2).await.unwrap();
    let lasting = supervisor.revoke(Revoke::token("t").expires_at(never)).await.unwrap();
    assert_eq!(lasting.revocation.expires_at, None);
    supervisor.shutdown(Default::default()).await;
    let late = supervisor.revoke(Revoke::subject("bob")).await.unwrap_err();
    assert!(matches!(late, RevokeError::ShutDown(_)), "{late}");
}

#[tokio::test]
async fn a_ledger_in_memory_keeps_them_for_the_next_supervisor() {
    let ledger = Arc::new(InMemory::default());
    let start = || Supervisor::builder().ledger(Arc::clone(&ledger) as _).start();
    let first = start().await.unwrap();
    first.revoke(Revoke::subject("ann")).await.unwrap();
    first.revoke(Revoke::subject("bob")).await.unwrap();
    first.withdraw(2).await.unwrap();
    first.shutdown(Default::default()).await;
    let second = start().await.unwrap();
    let listener = listen(&second).await;
    dial(&second, &listener, "ann").await.unwrap_err();
    dial(&second, &listener, "bob").await.unwrap();
    assert_eq!(second.revoke(Revoke::subject("eve")).await.unwrap().revocation.number, 3);
}

/// A ledger that fails, or cannot be read, until a test says otherwise.
#[derive(Default)]
struct Unreliable {
    writes: AtomicBool,
    reads: AtomicBool,
}

impl Ledger for Unreliable {
    fn append(&self, entry: Entry, committed: &Arc<dyn Committed>) {
        let record = match self.writes.load(Ordering::SeqCst) {
            true => Record::Durable(1),
            false => Record::Failed,
        };
        committed.committed(entry, record);
    }

    fn health(&self) -> Health {
        match self.writes.load(Ordering::SeqCst) {
            true => Health::Good,
            false => Health::Failing { problem: "the disk is full".into(), refuse: false },
        }
    }

    fn lag(&self) -> Duration {
        Duration::ZERO
    }

    fn revocations(&self) -> Option<RecordedRevocations> {
        let revocation = Revocation {
            number: 7,
            target: RevocationTarget::Subject { subject: "old".into(), issued_before: None },
            created_at: SystemTime::UNIX_EPOCH,
            expires_at: None,
            by: None,
        };
        let revocations = vec![Arc::new(revocation)];
        self.reads.load(Ordering::SeqCst).then_some(RecordedRevocations { last: 9, revocations })
    }
}

#[tokio::test]
async fn what_cannot_be_recorded_changes_nothing() {
    let ledger = Arc::new(Unreliable { reads: true.into(), ..Unreliable::default() });
    let built = Supervisor::builder().ledger(Arc::clone(&ledger) as _);
    let supervisor = built.start().await.unwrap();
    let (connection, _peer) = adopted(&supervisor, "ann").await;
    let error = supervisor.revoke(Revoke::subject("ann")).await.unwrap_err();
    assert!(
        matches!(&error, RevokeError::NotRecorded(why) if why == "the disk is full"),
        "{error}"
    );
    let stays = supervisor.withdraw(7).await.unwrap_err();
    assert!(matches!(stays, RevokeError::NotRecorded(_)), "{stays}");
    assert_eq!(connection.state().as_str(), "open");
    assert_eq!(supervisor.revocations().len(), 1, "the one that was recorded before");

    ledger.writes.store(true, Ordering::SeqCst);
    let revoked = supervisor.revoke(Revoke::subject("ann")).await.unwrap();
    assert_eq!((revoked.closed, revoked.revocation.number), (1, 11));
    assert_revoked(&*ended(&supervisor, &connection).await);
}

#[tokio::test(start_paused = true)]
async fn those_of_a_ledger_that_can_be_read_late_are_applied_late() {
    let ledger = Arc::new(Unreliable { writes: true.into(), ..Unreliable::default() });
    let built = Supervisor::builder().ledger(Arc::clone(&ledger) as _);
    let supervisor = built.start().await.unwrap();
    let (connection, _peer) = adopted(&supervisor, "old").await;
    let early = supervisor.revoke(Revoke::subject("ann")).await.unwrap_err();
    assert!(matches!(early, RevokeError::NotRecorded(_)), "its number may be taken: {early}");
    assert_eq!(connection.state().as_str(), "open");
    ledger.reads.store(true, Ordering::SeqCst);
    assert_revoked(&*ended(&supervisor, &connection).await);
    assert_eq!(supervisor.revoke(Revoke::subject("ann")).await.unwrap().revocation.number, 10);
}
