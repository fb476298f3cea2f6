//! CONTRACT.md section 3: the rules of the wire that this machine carries.

use super::decided_cases::row;
use super::*;
use crate::vocabulary::Requester;
use Step::{Due, Tell, Wait};

fn run(steps: &[Step]) -> Sim {
    Sim::run(Role::Server, ReplyPolicy::AtOnce, steps)
}

fn run_chosen(steps: &[Step]) -> Sim {
    Sim::run(Role::Server, ReplyPolicy::Chosen, steps)
}

#[test]
fn close_timeout_runs_from_the_request_through_queue_frame_and_answer() {
    let sim = run(&[close(1000, Cause::Api), Wait(6_000), left(), Wait(3_999), Due]);
    assert_eq!(sim.elapsed(), TIMEOUT);
    assert_eq!(sim.outcome().kind, Kind::CloseTimeout);
}

#[test]
fn close_timeout_is_not_prolonged_by_the_peers_close_while_ours_is_queued() {
    let sim = run(&[close(1000, Cause::Api), Wait(6_000), peer(1000), Wait(3_999), Due]);
    assert_eq!(sim.elapsed(), TIMEOUT);
    assert_eq!(row(sim.outcome()), "close_timeout peer api close_received timeout 1000");
}

#[test]
fn close_timeout_runs_from_the_peers_close_if_that_came_first() {
    let sim = run(&[Wait(5_000), peer(1000), Due]);
    assert_eq!(sim.elapsed(), Duration::from_secs(5) + TIMEOUT);
}

#[test]
fn linger_runs_from_the_moment_both_closes_are_through() {
    for role in BOTH {
        let steps =
            [close(1000, Cause::Api), Wait(9_000), left(), Wait(999), peer(1000), Wait(1_999), Due];
        let sim = Sim::run(role, ReplyPolicy::AtOnce, &steps);
        assert_eq!(sim.elapsed(), Duration::from_millis(9_999) + LINGER);
        assert_eq!(sim.outcome().kind, Kind::Clean);
    }
}

#[test]
fn the_reply_has_the_code_and_reason_that_were_received() {
    let sim = run(&[Tell(peer_close(&payload(4999, "grüße".as_bytes())))]);
    let frame = CloseFrame::new(Some(4999), "grüße").unwrap();
    assert_eq!(sim.actions, [Action::SendClose { frame, shed: false }]);
}

#[test]
fn a_chosen_reply_takes_the_place_of_the_one_in_kind() {
    let sim = run_chosen(&[peer(1000), Wait(4_000), close(4001, Cause::Embedder), left(), fin()]);
    assert_eq!(sim.done(), "fin drop finish");
    assert_eq!(row(sim.outcome()), "clean peer peer closed fin 1000");
    assert_eq!(sim.outcome().close_sent, Some(frame(4001)));
}

#[test]
fn an_application_may_leave_the_reply_to_us() {
    let mut sim = run_chosen(&[peer(1000), Wait(4_000)]);
    assert_eq!((sim.done().as_str(), sim.state()), ("", CloseState::CloseReceived));
    sim.tell(Input::ReplyInKind);
    sim.tell(Input::ReplyInKind);
    assert_eq!(sim.done(), "1000");
}

#[test]
fn a_reply_in_kind_before_any_close_is_nothing() {
    let mut sim = run_chosen(&[Tell(Input::ReplyInKind)]);
    assert_eq!((sim.done().as_str(), sim.state()), ("", CloseState::Open));
    sim.step(&peer(1000));
    assert_eq!(sim.done(), "");
}

#[test]
fn a_reply_chosen_too_late_is_replaced_early_enough_to_leave_in_time() {
    let mut sim = run_chosen(&[peer(1000), Due]);
    assert_eq!(sim.elapsed(), TIMEOUT - LINGER);
    assert_eq!(sim.done(), "1000");
    // The application's own comes too late: same ending, no second frame.
    sim.step(&left());
    sim.step(&close(4001, Cause::Embedder));
    sim.step(&fin());
    assert_eq!(sim.outcome().close_sent, Some(frame(1000)));
    assert_eq!(sim.outcome().kind, Kind::Clean);
}

#[test]
fn a_chosen_reply_that_got_into_the_outbox_before_ours_is_the_one_recorded() {
    let sim = run_chosen(&[peer(1000), Due, close(4001, Cause::Embedder), left(), fin()]);
    assert_eq!(sim.outcome().close_sent, Some(frame(4001)));
}

#[test]
fn a_chosen_reply_with_a_short_timeout_is_replaced_at_half_of_it() {
    let timeout = LINGER;
    let mut sim = Sim::new(Role::Server, ClosePolicy { timeout, ..policy(ReplyPolicy::Chosen) });
    sim.step(&peer(1000));
    sim.due();
    assert_eq!((sim.elapsed(), sim.done().as_str()), (timeout / 2, "1000"));
    sim.due();
    assert_eq!((sim.elapsed(), sim.done().as_str()), (timeout, "1000 reset finish"));
}

#[test]
fn a_chosen_reply_is_replaced_in_time_also_without_linger() {
    let linger = Duration::ZERO;
    let mut sim = Sim::new(Role::Server, ClosePolicy { linger, ..policy(ReplyPolicy::Chosen) });
    sim.step(&peer(1000));
    sim.due();
    assert_eq!((sim.elapsed(), sim.done().as_str()), (TIMEOUT * 9 / 10, "1000"));
    sim.step(&left());
    sim.step(&fin());
    assert_eq!(sim.outcome().kind, Kind::Clean);
}

#[test]
fn an_answer_that_is_due_late_still_gets_its_time_to_leave() {
    let mut sim = run_chosen(&[peer(1000)]);
    sim.now += 3 * TIMEOUT;
    sim.machine.handle_deadline(sim.now, &mut sim.actions);
    assert_eq!(sim.done(), "1000");
    assert_eq!(sim.machine.poll_deadline(), Some(sim.now + LINGER));
    sim.due();
    assert_eq!(sim.outcome().kind, Kind::CloseTimeout);
}

#[test]
fn no_timeout_and_no_linger_still_end_in_order() {
    for reply in [ReplyPolicy::AtOnce, ReplyPolicy::Chosen] {
        let none = Duration::ZERO;
        let policy = ClosePolicy { timeout: none, linger: none, ..policy(reply) };
        let mut sim = Sim::new(Role::Client, policy);
        sim.step(&peer(1000));
        sim.due();
        assert_eq!(sim.outcome().kind, Kind::CloseTimeout);
    }
}

#[test]
fn a_second_close_is_the_same_ending_without_a_second_frame() {
    let sim = run(&[
        close(1000, Cause::Api),
        close(1001, Cause::Drain),
        left(),
        close(1012, Cause::Drain),
        peer(1000),
        close(1012, Cause::Drain),
        fin(),
        close(1012, Cause::Drain),
    ]);
    assert_eq!(sim.done(), "fin drop finish");
    assert_eq!(row(sim.outcome()), "clean local api closed fin 1000");
    assert_eq!(sim.outcome().close_sent, Some(frame(1000)));
}

#[test]
fn a_flush_told_twice_does_not_lose_our_close() {
    let sim = run(&[close(1000, Cause::Api), left(), Wait(5), left(), peer(1000), left(), fin()]);
    assert_eq!(sim.outcome().close_sent, Some(frame(1000)));
    assert_eq!(sim.outcome().handshake, Some(Duration::from_millis(5)));
}

#[test]
fn a_second_close_of_the_peer_is_ignored() {
    let sim = run(&[peer(1000), peer(1005), left(), peer(4000), fin()]);
    assert_eq!(row(sim.outcome()), "clean peer peer closed fin 1000");
}

#[test]
fn what_follows_the_peers_close_is_ignored_be_it_a_violation() {
    let sim = run(&[peer(1000), rsv(), left(), too_big(), fin()]);
    assert_eq!(sim.done(), "1000 fin drop finish");
    assert_eq!(sim.outcome().kind, Kind::Clean);
}

#[test]
fn a_fin_with_the_chosen_reply_still_to_come_leaves_time_for_it() {
    let steps = [peer(1000), fin(), Wait(3_000), close(4001, Cause::Embedder), Wait(10), left()];
    let sim = run_chosen(&steps);
    assert_eq!(sim.done(), "drop finish");
    assert_eq!(row(sim.outcome()), "clean peer peer closed fin 1000");
}

#[test]
fn tls_that_ends_without_close_notify_behind_the_peers_close_is_clean() {
    let sim = run(&[peer(1000), lost(LossKind::TlsTruncated), left()]);
    assert_eq!(row(sim.outcome()), "clean peer peer closed tls_truncated 1000");
}

#[test]
fn tls_that_ends_without_close_notify_and_without_a_close_is_tls_truncated() {
    let sim = run(&[lost(LossKind::TlsTruncated)]);
    assert_eq!(row(sim.outcome()), "tls_truncated none none open tls_truncated 1006");
}

#[test]
fn a_fin_that_was_seen_is_recorded_though_our_close_cannot_leave() {
    for (steps, due) in [
        (vec![peer(1000), fin(), Due], "close_timeout peer peer close_received fin 1000"),
        (vec![rsv(), fin(), Due], "protocol_violation none violation close_sent fin 1006"),
        (vec![peer(1000), fin(), rst()], "connection_reset peer peer close_received reset 1000"),
    ] {
        assert_eq!(row(run(&steps).outcome()), due);
    }
}

#[test]
fn what_was_queued_is_still_written_to_a_peer_that_ended_its_half() {
    let mut sim = run(&[fin()]);
    assert_eq!((sim.done().as_str(), sim.state()), ("flush", CloseState::Open));
    sim.due();
    assert_eq!(sim.elapsed(), LINGER);
    assert_eq!(sim.done(), "flush reset finish");
    assert_eq!(row(sim.outcome()), "closed_prematurely none none open fin 1006");
}

#[test]
fn our_queued_close_still_leaves_to_a_peer_that_ended_its_half() {
    let steps = [close(1000, Cause::Api), fin(), left(), Tell(Input::OutboxFlushed)];
    let sim = run(&steps);
    assert_eq!(sim.done(), "flush drop finish");
    assert_eq!(row(sim.outcome()), "closed_prematurely local api close_sent fin 1006");
    assert!(sim.outcome().detail.ends_with("between messages, before our Close had left"));
}

#[test]
fn a_close_that_raced_with_the_fin_has_a_cause() {
    let steps = [fin(), close(1000, Cause::Api), left(), Tell(Input::OutboxFlushed)];
    assert_eq!(row(run(&steps).outcome()), "closed_prematurely local api close_sent fin 1006");
}

#[test]
fn flushing_ends_no_later_than_close_timeout() {
    let sim = run(&[close(1000, Cause::Api), Wait(9_500), fin(), Due]);
    assert_eq!(sim.elapsed(), TIMEOUT);
}

#[test]
fn a_failed_connection_is_gone_within_linger_and_close_timeout() {
    for offence in [rsv(), too_big(), peer(999), overflow(), memory_exhausted(true)] {
        let sim = run(&[Wait(1_000), offence, Wait(1_999), Due]);
        assert_eq!(sim.elapsed(), Duration::from_secs(1) + LINGER);
    }
    let sim = run(&[close(1000, Cause::Api), left(), Wait(9_500), rsv(), Due]);
    assert_eq!(sim.elapsed(), TIMEOUT);
}

#[test]
fn a_violation_behind_our_queued_close_sends_no_second() {
    let sim = run(&[close(1000, Cause::Api), rsv(), left(), fin()]);
    assert_eq!(sim.done(), "stop fin drop finish");
    assert_eq!(row(sim.outcome()), "protocol_violation local api close_sent fin 1006");
}

#[test]
fn a_full_outbox_sheds_what_is_queued_so_that_1013_can_leave() {
    let sim = run(&[overflow(), left(), Wait(1), peer(1013), fin()]);
    assert_eq!(sim.done(), "shed+1013 fin drop finish");
    assert_eq!(row(sim.outcome()), "slow_consumer local slow_consumer closed fin 1013");
    assert_eq!(sim.outcome().limit, Some(limit("outbox_bytes", 100, 101)));
}

#[test]
fn a_victim_of_used_up_memory_gets_1013_if_it_reads_and_is_dropped_if_not() {
    let sim = run(&[memory_exhausted(true), left(), Wait(1), peer(1013), fin()]);
    assert_eq!(sim.done(), "stop shed+1013 fin drop finish");
    assert_eq!(row(sim.outcome()), "slow_consumer local slow_consumer closed fin 1013");
    assert_eq!(sim.outcome().limit, Some(limit("memory", 1000, 600)));
    let sim = run(&[memory_exhausted(false)]);
    assert_eq!(sim.done(), "reset finish");
    assert_eq!(row(sim.outcome()), "slow_consumer none slow_consumer open local 1006");
    // It has had its chance to end in order.
    let sim = run(&[close(1000, Cause::Api), left(), memory_exhausted(true)]);
    assert_eq!(row(sim.outcome()), "slow_consumer local api close_sent local 1006");
    let sim = run(&[peer(1000), left(), memory_exhausted(true)]);
    assert_eq!(row(sim.outcome()), "clean peer peer closed local 1000");
}

#[test]
fn an_outbox_that_fills_before_the_chosen_reply_makes_it_1013() {
    let sim = run_chosen(&[peer(1000), overflow(), left(), fin()]);
    assert_eq!(sim.done(), "shed+1013 fin drop finish");
    assert_eq!(row(sim.outcome()), "slow_consumer peer peer closed fin 1000");
}

#[test]
fn a_backend_that_fails_before_the_chosen_reply_makes_it_1011() {
    let sim = run_chosen(&[peer(1000), backend_failed(1011), left(), fin()]);
    assert_eq!(sim.done(), "1011 fin drop finish");
    assert_eq!(row(sim.outcome()), "backend_failed peer peer closed fin 1000");
}

#[test]
fn a_close_that_raced_with_a_failure_of_the_backend_is_the_one_recorded() {
    let sim = run(&[backend_failed(1011), close(1000, Cause::Api), left(), peer(1000), fin()]);
    assert_eq!(row(sim.outcome()), "backend_failed local backend closed fin 1000");
    assert_eq!(sim.outcome().close_sent, Some(frame(1000)));
}

#[test]
fn silence_and_stalls_while_closing_are_left_to_the_closing_handshake() {
    let stall = Tell(Input::WriteStalled(limit("write_timeout", 1, 2)));
    let silence = Tell(Input::PongOverdue { silent: TIMEOUT });
    let sim =
        run(&[close(1000, Cause::Api), stall, silence, overflow(), left(), peer(1000), fin()]);
    assert_eq!(row(sim.outcome()), "clean local api closed fin 1000");
}

#[test]
fn an_abort_after_both_closes_only_cuts_the_wait_short() {
    let sim = run(&[peer(1000), left(), abort(Cause::Api)]);
    assert_eq!(sim.done(), "1000 fin reset finish");
    assert_eq!(row(sim.outcome()), "clean peer peer closed local 1000");
}

#[test]
fn an_abort_behind_a_fixed_kind_changes_neither_kind_nor_cause() {
    let sim = run(&[fin(), abort(Cause::Api)]);
    assert_eq!(row(sim.outcome()), "closed_prematurely none none open fin 1006");
}

#[test]
fn who_asked_and_which_limit_are_recorded() {
    let by = Some(Requester::Api("ops".into()));
    let limit = Some(limit("max_age", 5, 6));
    let request = CloseRequest {
        by: by.clone(),
        limit: limit.clone(),
        ..CloseRequest::new(frame(1001), Cause::MaxAge)
    };
    let sim = run(&[Tell(Input::CloseAccepted(request)), left(), peer(1001), fin()]);
    assert_eq!((&sim.outcome().by, &sim.outcome().limit), (&by, &limit));
    let sim = run(&[close(1000, Cause::Api), Tell(Input::DrainDeadline(by.clone()))]);
    assert_eq!(sim.outcome().by, by);
}

#[test]
fn our_own_words_are_signed_and_the_words_of_others_are_not() {
    let signature = Some("8f0a6d4c1711".to_owned());
    let mut sim = Sim::new(Role::Server, ClosePolicy { signature, ..policy(ReplyPolicy::AtOnce) });
    sim.step(&rsv());
    let frame = CloseFrame::new(Some(1002), "reserved bit set [8f0a6d4c1711]").unwrap();
    assert_eq!(sim.actions[1], Action::SendClose { frame, shed: false });

    let policy = sim.machine.policy;
    let mut sim = Sim::new(Role::Server, policy);
    sim.step(&Tell(peer_close(&payload(1000, b"bye"))));
    let frame = CloseFrame::new(Some(1000), "bye").unwrap();
    assert_eq!(sim.actions, [Action::SendClose { frame, shed: false }]);
}

#[test]
fn a_long_reason_gives_way_to_the_signature() {
    let signature = Some("8f0a6d4c1711".to_owned());
    let mut sim = Sim::new(Role::Server, ClosePolicy { signature, ..policy(ReplyPolicy::AtOnce) });
    sim.tell(Input::Violation(Breach::Other("ü".repeat(200))));
    let Action::SendClose { frame, .. } = &sim.actions[1] else { panic!("no Close") };
    assert!(frame.reason().ends_with(" [8f0a6d4c1711]"), "{}", frame.reason());
    assert!(frame.reason().len() <= CloseReason::MAX_LEN);
}

#[test]
fn nothing_is_done_before_its_deadline_or_after_the_end() {
    let mut sim = run(&[close(1000, Cause::Api), left(), Wait(9_999)]);
    sim.machine.handle_deadline(sim.now, &mut sim.actions);
    assert_eq!(sim.done(), "");
    sim.due();
    assert_eq!(sim.done(), "drop finish");
    assert_eq!(sim.machine.poll_deadline(), None);
    assert!(sim.machine.is_ended());
    sim.now += TIMEOUT;
    sim.machine.handle_deadline(sim.now, &mut sim.actions);
    for step in [peer(1000), fin(), rsv(), abort(Cause::Api), left(), backend_failed(1011)] {
        sim.step(&step);
    }
    assert_eq!(sim.done(), "drop finish");
}

#[test]
fn the_state_is_told_in_the_words_of_the_contract_at_every_step() {
    let mut sim = run(&[]);
    let mut states = vec![sim.state()];
    for step in [close(1000, Cause::Api), left(), peer(1000), fin()] {
        sim.step(&step);
        states.push(sim.state());
    }
    use CloseState::{CloseSent, Closed, Open};
    assert_eq!(states, [Open, CloseSent, CloseSent, Closed, Closed]);
    assert_eq!(sim.outcome().first_close, FirstClose::Local);
}

#[test]
fn a_close_that_was_accepted_while_the_transport_was_lost_is_recorded() {
    let sim = run(&[rst(), close(1000, Cause::Api)]);
    assert_eq!(row(sim.outcome()), "connection_reset none api close_sent reset 1006");
}
