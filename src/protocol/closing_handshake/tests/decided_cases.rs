//! CONTRACT.md section 2, "Decided cases": every row that needs neither an actor nor an attempt.

use std::borrow::Borrow;

use super::*;

/// A row of the contract's table.
///
/// A word that begins with `server:` or `client:` is meant for that role only.
struct Case {
    situation: &'static str,
    steps: Vec<Step>,
    /// `kind first_close cause state transport_end close_code`, as in the contract's table.
    row: &'static str,
    /// `fault retry handshake`, the last in milliseconds.
    judged: &'static str,
    /// What was done, in order.
    done: &'static str,
    detail: &'static str,
}

fn cases() -> Vec<Case> {
    use Cause::{Api, Drain, Embedder, IdleTimeout};
    use Step::{Due, Tell, Wait};
    vec![
        Case {
            situation: "API close 1000, echoed",
            steps: vec![close(1000, Api), Wait(5), left(), Wait(3), peer(1000), Wait(1), fin()],
            row: "clean local api closed fin 1000",
            judged: "operator backoff 3",
            done: "server:fin drop finish",
            detail: "this end closed first, with 1000 (api)",
        },
        Case {
            situation: "same, no FIN within linger",
            steps: vec![close(1000, Api), left(), Wait(3), peer(1000), Wait(1999), Due],
            row: "clean local api closed timeout 1000",
            judged: "operator backoff 3",
            done: "server:fin drop finish",
            detail: "this end closed first, with 1000 (api); the peer did not end TCP in time",
        },
        Case {
            situation: "peer's empty Close",
            steps: vec![peer_empty(), Wait(2), left(), fin()],
            row: "clean peer peer closed fin 1005",
            judged: "none backoff 2",
            done: "empty server:fin drop finish",
            detail: "the peer closed first, with an empty Close",
        },
        Case {
            situation: "peer's 1001, RST after our reply left",
            steps: vec![peer(1001), Wait(2), left(), rst()],
            row: "clean peer peer closed reset 1001",
            judged: "none server:never client:backoff 2",
            done: "1001 server:fin drop finish",
            detail: "the peer closed first, with 1001",
        },
        Case {
            situation: "peer's 1001, RST before our reply left",
            steps: vec![peer(1001), Wait(2), rst()],
            row: "connection_reset peer peer close_received reset 1001",
            judged: "peer server:never client:backoff -",
            done: "1001 drop finish",
            detail: "the peer closed first, with 1001; the peer reset TCP (RST) before our answer had left",
        },
        Case {
            situation: "peer's Close and FIN in one segment",
            steps: vec![Tell(peer_close(&payload(1000, b"bye"))), fin(), Wait(1), left()],
            row: "clean peer peer closed fin 1000",
            judged: "none server:never client:backoff 1",
            done: "1000 drop finish",
            detail: "the peer closed first, with 1000 \"bye\"",
        },
        Case {
            situation: "peer's 1000, our reply cannot leave",
            steps: vec![peer(1000), Wait(9_999), Due],
            row: "close_timeout peer peer close_received timeout 1000",
            judged: "peer server:never client:backoff -",
            done: "1000 reset finish",
            detail: "the peer closed first, with 1000; our answer could not leave in time",
        },
        Case {
            situation: "both Closes cross",
            steps: vec![close(1000, Api), left(), Wait(1), peer(3001), fin()],
            row: "clean local api closed fin 3001",
            judged: "operator backoff 1",
            done: "server:fin drop finish",
            detail: "this end closed first, with 1000 (api)",
        },
        Case {
            situation: "our Close still queued when the peer's is read",
            steps: vec![close(1000, Api), Wait(4), peer(1001), Wait(3), left(), fin()],
            row: "clean peer api closed fin 1001",
            judged: "operator backoff 3",
            done: "server:fin drop finish",
            detail: "the peer closed first, with 1001, while our own Close was queued (api)",
        },
        Case {
            situation: "our Close unanswered",
            steps: vec![close(1000, Api), Wait(7), left(), Wait(9_992), Due],
            row: "close_timeout local api close_sent timeout 1006",
            judged: "peer backoff -",
            done: "drop finish",
            detail: "this end closed first, with 1000 (api); the peer did not answer our Close in time",
        },
        Case {
            situation: "our Close could not even leave",
            steps: vec![close(1000, Api), Wait(9_999), Due],
            row: "close_timeout none api close_sent timeout 1006",
            judged: "peer backoff -",
            done: "reset finish",
            detail: "our Close could not leave in time",
        },
        Case {
            situation: "FIN instead of an answer to our Close",
            steps: vec![close(1000, Api), left(), fin()],
            row: "closed_prematurely local api close_sent fin 1006",
            judged: "peer backoff -",
            done: "drop finish",
            detail: "this end closed first, with 1000 (api); the peer ended TCP (FIN) instead of answering our Close",
        },
        Case {
            situation: "RST instead of an answer to our Close",
            steps: vec![close(1000, Api), left(), rst()],
            row: "connection_reset local api close_sent reset 1006",
            judged: "peer backoff -",
            done: "drop finish",
            detail: "this end closed first, with 1000 (api); the peer reset TCP (RST) instead of answering our Close",
        },
        Case {
            situation: "FIN while open",
            steps: vec![fin(), Wait(1), Tell(Input::OutboxFlushed)],
            row: "closed_prematurely none none open fin 1006",
            judged: "peer backoff -",
            done: "flush drop finish",
            detail: "the peer ended TCP (FIN) between messages",
        },
        Case {
            situation: "RST while open",
            steps: vec![Tell(Input::TransportEnded(Loss {
                how: LossKind::Reset,
                position: Position::InPayload { read: 12, len: 4096 },
            }))],
            row: "connection_reset none none open reset 1006",
            judged: "peer backoff -",
            done: "drop finish",
            detail: "the peer reset TCP (RST) inside a payload (12 of 4096 bytes)",
        },
        Case {
            situation: "RSV bit, peer silent after our 1002",
            steps: vec![rsv(), Wait(1), left(), Wait(1_998), Due],
            row: "protocol_violation local violation close_sent timeout 1006",
            judged: "peer never -",
            done: "stop 1002 fin drop finish",
            detail: "this end closed first, with 1002 \"reserved bit set\" (violation); the peer broke the protocol: reserved bit set",
        },
        Case {
            situation: "RSV bit, our 1002 echoed",
            steps: vec![rsv(), left(), Wait(6), peer(1002), fin()],
            row: "protocol_violation local violation closed fin 1002",
            judged: "peer never 6",
            done: "stop 1002 fin drop finish",
            detail: "this end closed first, with 1002 \"reserved bit set\" (violation); the peer broke the protocol: reserved bit set",
        },
        Case {
            situation: "peer's Close carries an illegal code",
            steps: vec![peer(1005), Wait(1), left(), fin()],
            row: "protocol_violation peer violation closed fin 1005",
            judged: "peer never 1",
            done: "stop 1002 fin drop finish",
            detail: "the peer closed first, with 1005; the peer broke the protocol: Close frame with code 1005",
        },
        Case {
            situation: "violation after our Close, then FIN",
            steps: vec![close(1000, Api), left(), rsv(), fin()],
            row: "protocol_violation local api close_sent fin 1006",
            judged: "peer never -",
            done: "stop fin drop finish",
            detail: "this end closed first, with 1000 (api); the peer broke the protocol: reserved bit set",
        },
        Case {
            situation: "violation after our Close, then RST",
            steps: vec![close(1000, Api), left(), rsv(), rst()],
            row: "protocol_violation local api close_sent reset 1006",
            judged: "peer never -",
            done: "stop fin drop finish",
            detail: "this end closed first, with 1000 (api); the peer broke the protocol: reserved bit set",
        },
        Case {
            situation: "violation after our Close, then nothing",
            steps: vec![close(1000, Api), left(), rsv(), Wait(1_999), Due],
            row: "protocol_violation local api close_sent timeout 1006",
            judged: "peer never -",
            done: "stop fin drop finish",
            detail: "this end closed first, with 1000 (api); the peer broke the protocol: reserved bit set",
        },
        Case {
            situation: "too big, peer silent",
            steps: vec![too_big(), left(), Due],
            row: "message_too_big local violation close_sent timeout 1006",
            judged: "peer never -",
            done: "stop 1009 fin drop finish",
            detail: "this end closed first, with 1009 \"4096 bytes announced, over max_message_size of 1024 bytes\" (violation); the peer sent too much: 4096 bytes announced, over max_message_size of 1024 bytes",
        },
        Case {
            situation: "pong overdue, the 1011 left",
            steps: vec![
                Tell(Input::PongOverdue { silent: Duration::from_secs(20) }),
                Wait(1),
                left(),
            ],
            row: "pong_timeout local keepalive close_sent local 1006",
            judged: "network backoff -",
            done: "1011 drop finish",
            detail: "this end closed first, with 1011 \"no pong\" (keepalive); the peer was silent for 20000 ms after our Ping",
        },
        Case {
            situation: "pong overdue, the 1011 cannot leave",
            steps: vec![Tell(Input::PongOverdue { silent: Duration::from_secs(20) }), Due],
            row: "pong_timeout none keepalive open local 1006",
            judged: "network backoff -",
            done: "1011 reset finish",
            detail: "the peer was silent for 20000 ms after our Ping",
        },
        Case {
            situation: "write stalled",
            steps: vec![Tell(Input::WriteStalled(limit("write_timeout", 15_000, 15_004)))],
            row: "slow_consumer none slow_consumer open local 1006",
            judged: "peer backoff -",
            done: "reset finish",
            detail: "the peer took nothing of what was queued for it for 15004 ms",
        },
        Case {
            situation: "our Close could not leave whole (overflow)",
            steps: vec![overflow(), Due],
            row: "slow_consumer none slow_consumer open timeout 1006",
            judged: "peer backoff -",
            done: "shed+1013 reset finish",
            detail: "the outbox was full: 101 of 100 bytes",
        },
        Case {
            situation: "idle_timeout, echoed",
            steps: vec![close(3008, IdleTimeout), left(), Wait(2), peer(3008), fin()],
            row: "clean local idle_timeout closed fin 3008",
            judged: "none backoff 2",
            done: "server:fin drop finish",
            detail: "this end closed first, with 3008 (idle_timeout)",
        },
        Case {
            situation: "handler panics, 1011 echoed",
            steps: vec![backend_failed(1011), left(), Wait(2), peer(1011), fin()],
            row: "backend_failed local backend closed fin 1011",
            judged: "backend backoff 2",
            done: "stop 1011 server:fin drop finish",
            detail: "this end closed first, with 1011 \"backend failed\" (backend); the handler panicked",
        },
        Case {
            situation: "abort by the API",
            steps: vec![abort(Api)],
            row: "aborted none api open local 1006",
            judged: "operator backoff -",
            done: "reset finish",
            detail: "this end aborted the connection",
        },
        Case {
            situation: "abort by the embedder",
            steps: vec![abort(Embedder)],
            row: "aborted none embedder open local 1006",
            judged: "operator backoff -",
            done: "reset finish",
            detail: "this end aborted the connection",
        },
        Case {
            situation: "drain deadline after our Close",
            steps: vec![close(1012, Drain), left(), Wait(5_000), Tell(Input::DrainDeadline(None))],
            row: "drain_deadline local drain close_sent local 1006",
            judged: "operator backoff -",
            done: "reset finish",
            detail: "this end closed first, with 1012 (drain); the connection was still open when the drain's deadline passed",
        },
        Case {
            situation: "second signal",
            steps: vec![close(1012, Drain), left(), Wait(5_000), abort(Drain)],
            row: "aborted local drain close_sent local 1006",
            judged: "operator backoff -",
            done: "reset finish",
            detail: "this end closed first, with 1012 (drain); this end aborted the connection",
        },
    ]
}

#[test]
fn every_decided_case_ends_as_the_contract_says_in_both_roles() {
    let mut wrong = Vec::new();
    for case in cases() {
        for role in BOTH {
            let sim = Sim::run(role, ReplyPolicy::AtOnce, &case.steps);
            let outcome = sim.outcome();
            let is = [row(&outcome), judged(&outcome), sim.done(), outcome.detail.clone()];
            let due = [
                case.row.to_owned(),
                for_role(case.judged, role),
                for_role(case.done, role),
                case.detail.to_owned(),
            ];
            if is != due {
                wrong.push(format!("{} ({role}):\n  is  {is:?}\n  due {due:?}", case.situation));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// An actor that was killed tells the machine nothing; what it had seen is the record.
#[test]
fn an_actor_that_is_killed_while_open_is_actor_failed() {
    let mut machine = ClosingHandshake::new(Role::Server, policy(ReplyPolicy::AtOnce));
    let outcome = machine.fail_actor("the connection's actor was killed");
    assert_eq!(row(&outcome), "actor_failed none none open local 1006");
    assert_eq!(judged(&outcome), "local backoff -");
    assert_eq!(outcome.detail, "the connection's actor was killed");
}

#[test]
fn an_actor_that_dies_later_changes_no_kind_that_was_fixed() {
    let rows = [
        (vec![close(1000, Cause::Api)], "actor_failed none api close_sent local 1006"),
        (vec![peer(1000)], "actor_failed peer peer close_received local 1000"),
        (vec![peer(1000), left()], "clean peer peer closed local 1000"),
        (vec![rsv(), left()], "protocol_violation local violation close_sent local 1006"),
        (vec![fin()], "closed_prematurely none none open fin 1006"),
    ];
    for (steps, due) in rows {
        let mut sim = Sim::run(Role::Server, ReplyPolicy::AtOnce, &steps);
        let outcome = sim.machine.fail_actor("the actor was killed");
        assert_eq!(row(&outcome), due);
        assert!(outcome.detail.ends_with("the actor was killed"), "{}", outcome.detail);
    }
}

/// Writes the columns of the contract's table.
pub(super) fn row(outcome: impl Borrow<Outcome>) -> String {
    let outcome = outcome.borrow();
    let state = outcome.state.expect("a state");
    let end = outcome.transport_end.expect("an end");
    let code = outcome.close_code().expect("a code");
    let Outcome { kind, first_close, cause, .. } = outcome;
    format!("{kind} {first_close} {cause} {state} {end} {code}")
}

fn judged(outcome: &Outcome) -> String {
    let handshake = outcome.handshake.map_or("-".to_owned(), |took| took.as_millis().to_string());
    format!("{} {} {handshake}", outcome.fault, outcome.retry.advice())
}

fn for_role(words: &str, role: Role) -> String {
    let words = words.split_whitespace().filter_map(|word| match word.split_once(':') {
        Some((only, word)) => (only == role.as_str()).then_some(word),
        None => Some(word),
    });
    words.collect::<Vec<_>>().join(" ")
}
