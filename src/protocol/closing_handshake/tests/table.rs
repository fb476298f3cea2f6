//! The transitions of the machine as tables and a graph: the guide has them, and this compares.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use super::*;

/// The page of the guide, from the root of the crate.
const PAGE: &str = "src/guide/closing_handshake.md";
const BEGIN: &str = "<!-- generated: transitions -->\n";
const END: &str = "<!-- end -->\n";
/// Set to write the page instead of comparing it.
const WRITE: &str = "LASTWORD_WRITE_GUIDE";

/// A state of the table, with the steps that lead there.
struct State {
    name: &'static str,
    reply: ReplyPolicy,
    steps: Vec<Step>,
}

fn states() -> Vec<State> {
    use ReplyPolicy::{AtOnce, Chosen};
    let ours = || close(1000, Cause::Api);
    let state = |name, reply, steps: &[Step]| State { name, reply, steps: steps.to_vec() };
    vec![
        state("Open", AtOnce, &[]),
        state("CloseSent, queued", AtOnce, &[ours()]),
        state("CloseSent, left", AtOnce, &[ours(), left()]),
        state("CloseReceived, answer awaited", Chosen, &[peer(1000)]),
        state("CloseReceived, answer queued", AtOnce, &[peer(1000)]),
        state("AwaitingTransportEnd", AtOnce, &[peer(1000), left()]),
        state("Failing, queued", AtOnce, &[rsv()]),
        state("Failing, left", AtOnce, &[rsv(), left()]),
        state("Flushing", AtOnce, &[fin()]),
        state("Ended", AtOnce, &[rst()]),
    ]
}

fn inputs() -> Vec<(&'static str, Step)> {
    let relay = RelayLoss {
        what: "the other leg was reset".to_owned(),
        kind: Kind::ClosedPrematurely,
        code: Some(CloseCode::new(1011).unwrap()),
        reason: None,
        cut: false,
    };
    let drain = Input::DrainDeadline(None);
    let stalled = Input::WriteStalled(limit("write_timeout", 10_000, 10_001));
    vec![
        ("this end closes with 1001", close(1001, Cause::Api)),
        ("the application leaves the answer to us", Step::Tell(Input::ReplyInKind)),
        ("the peer's Close, 1000", peer(1000)),
        ("a Close of one byte", Step::Tell(peer_close(&[3]))),
        ("our Close has left", left()),
        ("all that was queued has left", Step::Tell(Input::OutboxFlushed)),
        ("the peer's FIN", fin()),
        ("RST", rst()),
        ("a frame with a reserved bit", rsv()),
        ("no Pong in time", Step::Tell(Input::PongOverdue { silent: Duration::from_secs(20) })),
        ("no write in time", Step::Tell(stalled)),
        ("a full outbox", overflow()),
        ("no memory left, and the peer reads", memory_exhausted(true)),
        ("no memory left, and it does not", memory_exhausted(false)),
        ("the backend fails", backend_failed(1011)),
        ("the other leg of a relay is lost", Step::Tell(Input::RelayLost(relay))),
        ("an abort", abort(Cause::Api)),
        ("the drain's deadline", Step::Tell(drain)),
        ("the deadline", Step::Due),
    ]
}

/// The state that a machine is in, as the table names it.
fn name_of(machine: &ClosingHandshake) -> &'static str {
    let left = machine.evidence.our_close_left();
    match (machine.phase, left) {
        (Phase::Open, _) => "Open",
        (Phase::CloseSent { .. }, false) => "CloseSent, queued",
        (Phase::CloseSent { .. }, true) => "CloseSent, left",
        (Phase::CloseReceived { reply: Reply::Awaited { .. }, .. }, _) => {
            "CloseReceived, answer awaited"
        }
        (Phase::CloseReceived { reply: Reply::Queued, .. }, _) => "CloseReceived, answer queued",
        (Phase::AwaitingTransportEnd { .. }, _) => "AwaitingTransportEnd",
        (Phase::Failing { .. }, false) => "Failing, queued",
        (Phase::Failing { .. }, true) => "Failing, left",
        (Phase::Flushing { .. }, _) => "Flushing",
        (Phase::Ended { .. }, _) => "Ended",
    }
}

/// What follows from one input in one state; `None` if nothing does.
#[derive(Debug, PartialEq)]
struct Effect {
    next: &'static str,
    actions: String,
    kind: Option<Kind>,
}

fn effect(role: Role, state: &State, input: &Step) -> Option<Effect> {
    let mut sim = Sim::run(role, state.reply, &state.steps);
    assert_eq!(name_of(&sim.machine), state.name);
    let before = (sim.machine.outcome(), sim.machine.evidence.loss().is_some());
    sim.actions.clear();
    match input {
        Step::Due if sim.machine.poll_deadline().is_none() => return None,
        input => sim.step(input),
    }
    let next = name_of(&sim.machine);
    let actions: Vec<&str> = sim.actions.iter().map(words_for).collect();
    let fixed = sim.machine.evidence.loss().map(|(kind, ..)| kind).filter(|_| !before.1);
    let kind = fixed.or(sim.machine.kind().filter(|_| before.0.is_none()));
    let effect = Effect { next, actions: actions.join(", "), kind };
    let nothing = next == state.name && effect.actions.is_empty() && effect.kind.is_none();
    (!nothing).then_some(effect)
}

fn words_for(action: &Action) -> &'static str {
    match action {
        Action::SendClose { shed: false, .. } => "send Close",
        Action::SendClose { shed: true, .. } => "send Close and drop what is queued",
        Action::StopDelivery => "stop delivery",
        Action::ShutdownWrite => "FIN",
        Action::FlushThenReport => "write what is queued",
        Action::Finish { reset: false, .. } => "close TCP",
        Action::Finish { reset: true, .. } => "reset TCP",
    }
}

fn show(effect: Option<&Effect>) -> [String; 3] {
    let Some(effect) = effect else { return ["–".to_owned(), String::new(), String::new()] };
    let kind = effect.kind.map_or_else(String::new, |kind| format!("`{kind}`"));
    [effect.next.to_owned(), effect.actions.clone(), kind]
}

/// The part of the page that follows from the code.
fn generated() -> String {
    let (states, inputs) = (states(), inputs());
    let mut text = String::new();
    let mut edges: BTreeMap<(usize, usize), Vec<&str>> = BTreeMap::new();
    for (at, state) in states.iter().enumerate() {
        let mut table = String::new();
        let mut ignored = Vec::new();
        for (name, input) in &inputs {
            let [server, client] = BOTH.map(|role| effect(role, state, input));
            if let Some(effect) = &server
                && let Some(to) = states.iter().position(|state| state.name == effect.next)
                && to != at
            {
                edges.entry((at, to)).or_default().push(name);
            }
            if server.is_none() && client.is_none() {
                ignored.push(*name);
                continue;
            }
            let mut row = |role: &str, effect: Option<&Effect>| {
                let [next, actions, kind] = show(effect);
                writeln!(table, "| {name}{role} | {next} | {actions} | {kind} |").unwrap();
            };
            if server == client {
                row("", server.as_ref());
            } else {
                row(" (as server)", server.as_ref());
                row(" (as client)", client.as_ref());
            }
        }
        writeln!(text, "### {}\n", state.name).unwrap();
        if !table.is_empty() {
            text += "| input | next | actions | kind |\n| --- | --- | --- | --- |\n";
            text += &table;
            text += "\n";
        }
        if !ignored.is_empty() {
            writeln!(text, "Without a change of state: {}.\n", ignored.join("; ")).unwrap();
        }
    }
    text + "### The graph, as server\n\n" + &graph(&states, &edges)
}

/// The transitions as a graph that Mermaid draws.
fn graph(states: &[State], edges: &BTreeMap<(usize, usize), Vec<&str>>) -> String {
    let mut graph = "```mermaid\nstateDiagram-v2\n".to_owned();
    for (at, state) in states.iter().enumerate() {
        writeln!(graph, "    state \"{}\" as s{at}", state.name).unwrap();
    }
    graph += "    [*] --> s0\n";
    for ((from, to), names) in edges {
        writeln!(graph, "    s{from} --> s{to} : {}", names.join("; ")).unwrap();
    }
    graph + "```\n\n"
}

#[test]
fn the_guide_has_the_transitions_of_the_machine() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (there, after) = rest.split_once(END).unwrap();
    let generated = generated();
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, [before, BEGIN, &generated, END, after].concat()).unwrap();
        return;
    }
    assert!(there == generated, "{PAGE} is out of date: run this test with {WRITE}=1");
}

#[test]
fn every_state_ends_by_its_deadline_alone() {
    for state in states().iter().filter(|state| !["Open", "Ended"].contains(&state.name)) {
        for role in BOTH {
            let mut sim = Sim::run(role, state.reply, &state.steps);
            while !sim.machine.is_ended() {
                sim.due();
            }
            assert!(sim.elapsed() <= TIMEOUT + 2 * LINGER, "{} as {role:?}", state.name);
        }
    }
}
