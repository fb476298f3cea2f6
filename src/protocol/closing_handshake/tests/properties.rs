//! What holds whatever happens, in whatever order, and however late.

use proptest::prelude::*;

use super::model::{Event, World};
use super::*;
use crate::vocabulary::IllegalClose;

fn any_role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Server), Just(Role::Client)]
}

fn any_reply() -> impl Strategy<Value = ReplyPolicy> {
    prop_oneof![Just(ReplyPolicy::AtOnce), Just(ReplyPolicy::Chosen)]
}

fn any_frame() -> impl Strategy<Value = CloseFrame> {
    let codes = prop_oneof![1000_u16..=1003, 1007_u16..=1014, 3000_u16..=4999];
    let legal = |code| CloseFrame::new(Some(code), "r").map_err(|_: IllegalClose| "illegal code");
    prop_oneof![Just(CloseFrame::Empty), codes.prop_map(move |code| legal(code).unwrap())]
}

fn any_cause() -> impl Strategy<Value = Cause> {
    let acts = Cause::ALL.iter().copied().filter(|cause| *cause != Cause::None);
    prop::sample::select(acts.collect::<Vec<_>>())
}

/// The payloads of Closes, most of them legal.
fn any_payload() -> impl Strategy<Value = Box<[u8]>> {
    prop_oneof![
        2 => Just(Box::default()),
        6 => any_frame().prop_map(|frame| frame.payload().into()),
        2 => prop::collection::vec(any::<u8>(), 0..=125).prop_map(Into::into),
    ]
}

fn any_loss() -> impl Strategy<Value = Loss> {
    let how = prop_oneof![
        4 => Just(LossKind::Fin),
        2 => Just(LossKind::Reset),
        1 => Just(LossKind::TlsTruncated),
        1 => Just(LossKind::PathLost("ETIMEDOUT".to_owned())),
        1 => Just(LossKind::Error("EIO".to_owned())),
    ];
    how.prop_map(|how| Loss { how, position: Position::BetweenMessages })
}

fn any_breach() -> impl Strategy<Value = Breach> {
    prop_oneof![
        Just(Breach::Framing(FramingViolation::LengthTopBit)),
        Just(Breach::Framing(FramingViolation::MessageTooBig(limit("max_frame_size", 1, 2)))),
        Just(Breach::InvalidText),
        ".*".prop_map(Breach::Other),
    ]
}

/// What the machine may be told by others than the outbox.
fn any_fact() -> impl Strategy<Value = Input> {
    let code = any_frame().prop_filter_map("no code", |frame| frame.code());
    prop_oneof![
        8 => any_payload().prop_map(|payload| peer_close(&payload)),
        4 => any_loss().prop_map(Input::TransportEnded),
        2 => any_breach().prop_map(Input::Violation),
        2 => Just(Input::ReplyInKind),
        1 => any_cause().prop_map(|cause| Input::Abort { cause, by: None }),
        1 => Just(Input::PongOverdue { silent: TIMEOUT }),
        1 => Just(Input::WriteStalled(limit("write_timeout", 1, 2))),
        1 => Just(Input::OutboxOverflow(limit("outbox_bytes", 1, 2))),
        1 => any::<bool>().prop_map(|reads| {
            let limit = limit("memory", 1, 2);
            Input::MemoryExhausted { limit, what: "x".into(), reads }
        }),
        2 => code.prop_map(|code| Input::BackendFailed { code, what: "x".into(), limit: None }),
        1 => Just(Input::DrainDeadline(None)),
        2 => any_relay_loss(),
    ]
}

fn any_relay_loss() -> impl Strategy<Value = Input> {
    let code = prop_oneof![Just(None), Just(Some(CloseCode::SERVICE_RESTART))];
    (code, any::<bool>(), any::<bool>()).prop_map(|(code, cut, aborts)| {
        let kind = if aborts { Kind::Aborted } else { Kind::BackendFailed };
        Input::RelayLost(RelayLoss { what: "x".into(), kind, code, reason: None, cut })
    })
}

/// Anything at all, also what no outbox would ever tell.
fn any_input() -> impl Strategy<Value = Input> {
    let request =
        (any_frame(), any_cause()).prop_map(|(frame, cause)| CloseRequest::new(frame, cause));
    prop_oneof![
        6 => any_fact(),
        2 => request.prop_map(Input::CloseAccepted),
        2 => Just(Input::CloseFlushed),
        1 => Just(Input::OutboxFlushed),
    ]
}

fn any_event(may_be_late: bool) -> impl Strategy<Value = Event> {
    // In late worlds half of the waits pass over deadlines.
    let wait = (0_u64..4_000, any::<bool>())
        .prop_map(move |(millis, late)| Event::Wait { millis, punctual: !(may_be_late && late) });
    prop_oneof![
        3 => (any_frame(), any_cause()).prop_map(|(frame, cause)| Event::Close(frame, cause)),
        4 => Just(Event::Flush),
        1 => (any_frame(), any_cause()).prop_map(|(frame, cause)| Event::Race(frame, cause)),
        6 => any_fact().prop_map(Event::Tell),
        4 => wait,
    ]
}

fn any_events(may_be_late: bool) -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec(any_event(may_be_late), 0..24)
}

/// Lets everything happen, then leaves the machine alone with its deadlines.
fn live(role: Role, reply: ReplyPolicy, events: Vec<Event>) -> World {
    let mut world = World::new(role, reply);
    for event in events {
        world.happen(event);
        assert_watched(&world.sim);
    }
    // Most worlds have left `Open` by now; the others are told to.
    world.happen(Event::Close(CloseFrame::Empty, Cause::Api));
    let mut served = 0;
    while world.sim.machine.poll_deadline().is_some() {
        world.due();
        assert_watched(&world.sim);
        served += 1;
        assert!(served <= 3, "deadlines without end");
    }
    world
}

/// Every state but `Open` and `Ended` has a deadline.
fn assert_watched(sim: &Sim) {
    let is_open = sim.machine.phase == Phase::Open;
    let due = sim.machine.poll_deadline();
    assert_eq!(due.is_none(), is_open || sim.machine.is_ended(), "{:?}", sim.machine.phase);
}

fn assert_one_finish(actions: &[Action]) {
    let finishes = actions.iter().filter(|action| matches!(action, Action::Finish { .. })).count();
    assert_eq!(finishes, 1);
    assert!(matches!(actions.last(), Some(Action::Finish { .. })), "{actions:?}");
}

fn sends(actions: &[Action]) -> usize {
    actions.iter().filter(|action| matches!(action, Action::SendClose { .. })).count()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..Default::default() })]

    #[test]
    fn it_finishes_exactly_once_and_last(
        role in any_role(), reply in any_reply(), events in any_events(true),
    ) {
        let mut world = live(role, reply, events);
        assert_one_finish(&world.sim.actions);
        let done = world.sim.actions.len();
        world.happen(Event::Wait { millis: 60_000, punctual: true });
        world.happen(Event::Tell(peer_close(b"")));
        world.happen(Event::Flush);
        prop_assert_eq!(world.sim.actions.len(), done);
    }

    /// The outbox of the model refuses a second Close, and any after it was shut, by a panic.
    #[test]
    fn it_asks_for_at_most_one_close_and_none_behind_an_accepted_one(
        role in any_role(), reply in any_reply(), events in any_events(true),
    ) {
        let world = live(role, reply, events);
        prop_assert!(world.closes_asked_for <= 1);
    }

    #[test]
    fn if_served_in_time_it_is_gone_within_timeout_and_linger(
        role in any_role(), reply in any_reply(), events in any_events(false),
    ) {
        let world = live(role, reply, events);
        prop_assert!(world.always_punctual);
        let left_open = world.oracle.left_open.unwrap();
        let took = ended_at(&world) - left_open;
        prop_assert!(took <= TIMEOUT + LINGER, "{:?}", took);
        if let Some(failed) = world.oracle.failed {
            prop_assert!(ended_at(&world) - failed <= LINGER);
        }
    }

    #[test]
    fn the_closes_recorded_are_those_that_left_and_came(
        role in any_role(), reply in any_reply(), events in any_events(true),
    ) {
        let world = live(role, reply, events);
        let outcome = world.sim.outcome();
        let (sent, sent_at) = world.ours().unzip();
        let (received, received_at) = world.oracle.theirs.clone().unzip();
        prop_assert_eq!(&outcome.close_sent, &sent);
        prop_assert_eq!(&outcome.close_received, &received);
        let took = sent_at.zip(received_at).map(|(a, b)| a.max(b) - a.min(b));
        prop_assert_eq!(outcome.handshake, took);
    }

    #[test]
    fn the_first_close_is_the_one_that_left_or_came_first(
        role in any_role(), reply in any_reply(), events in any_events(true),
    ) {
        let world = live(role, reply, events);
        let first = world.oracle.first_close.unwrap_or(FirstClose::None);
        prop_assert_eq!(world.sim.outcome().first_close, first);
    }

    #[test]
    fn the_state_follows_from_the_frames(
        role in any_role(), reply in any_reply(), events in any_events(true),
    ) {
        let world = live(role, reply, events);
        let outcome = world.sim.outcome();
        let (sent, received) = (outcome.close_sent.is_some(), outcome.close_received.is_some());
        let state = match (sent, received) {
            (true, true) => CloseState::Closed,
            (false, true) => CloseState::CloseReceived,
            (true, false) => CloseState::CloseSent,
            // Accepted or decided on, and never left; to a silent or slow peer a Close is only tried.
            (false, false)
                if world.has_close()
                    && !matches!(outcome.kind, Kind::PongTimeout | Kind::SlowConsumer) =>
            {
                CloseState::CloseSent
            }
            (false, false) if outcome.state == Some(CloseState::CloseSent) => {
                prop_assert!(world.has_close());
                CloseState::CloseSent
            }
            (false, false) => CloseState::Open,
        };
        prop_assert_eq!(outcome.state, Some(state));
    }

    #[test]
    fn the_first_trigger_fixes_the_kind_and_without_one_it_is_clean(
        role in any_role(), reply in any_reply(), events in any_events(true),
    ) {
        let world = live(role, reply, events);
        let kind = world.oracle.trigger.unwrap_or(Kind::Clean);
        prop_assert_eq!(world.sim.outcome().kind, kind);
        if kind == Kind::Clean {
            prop_assert_eq!(world.sim.outcome().state, Some(CloseState::Closed));
        }
    }

    #[test]
    fn the_cause_is_the_first_reason_to_act_and_an_end_that_closes_has_one(
        role in any_role(), reply in any_reply(), events in any_events(true),
    ) {
        let world = live(role, reply, events);
        let outcome = world.sim.outcome();
        prop_assert_eq!(outcome.cause, world.oracle.cause.unwrap_or(Cause::None));
        prop_assert!(outcome.cause != Cause::None || outcome.close_sent.is_none());
    }

    /// Facts in orders that no outbox and no socket would tell.
    #[test]
    fn any_inputs_at_any_times_end_in_one_finish_and_at_most_one_close(
        role in any_role(),
        reply in any_reply(),
        steps in prop::collection::vec((any_input(), 0_u64..5_000, any::<bool>()), 0..40),
    ) {
        let mut sim = Sim::new(role, policy(reply));
        let mut accepted_first = false;
        for (input, millis, serve) in steps {
            sim.now += Duration::from_millis(millis);
            if serve {
                sim.machine.handle_deadline(sim.now, &mut sim.actions);
            }
            let accepted = matches!(input, Input::CloseAccepted(_)) && !sim.machine.is_ended();
            accepted_first |= accepted && sends(&sim.actions) == 0;
            sim.tell(input);
            assert_watched(&sim);
            prop_assert!(sends(&sim.actions) <= usize::from(!accepted_first));
        }
        sim.tell(Input::Abort { cause: Cause::Api, by: None });
        assert_one_finish(&sim.actions);
    }
}

fn ended_at(world: &World) -> Instant {
    world.ended_at.expect("ended")
}
