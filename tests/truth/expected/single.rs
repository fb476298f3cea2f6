//! What is due of one connection.

use serde_json::{Value, json};

use super::{
    Due, by_api, close, code, counts, died, inbound, loss, outbound, outcome, places_before_reset,
    read, sum, transport_end, with_place, words_of,
};
use crate::support::frame::Side;
use crate::truth::draw::is_caught;
use crate::truth::journal::Deeds;
use crate::truth::plan::{
    Answer, BLOCK, Breach, Curtain, Place, Plot, Role, Route, Script, Standing, Story, Tcp, Timed,
    Way, Words,
};
use crate::truth::record::{Is, Wanted};

pub fn of(script: &Script, deeds: &Deeds, role: Role, tls: bool, story: &Story) -> Vec<Due> {
    let side = role.side();
    let mut alternatives = ways(script, deeds, side, story);
    if is_caught(script.number) {
        alternatives.push(died());
    }
    let timed = match &script.plot {
        Plot::Single { route: Route::Timed(timed), .. } => Some(*timed),
        _ => None,
    };
    let alternatives = alternatives.into_iter().map(|wanted| {
        let wanted = match role {
            Role::Inbound => inbound(wanted, script, deeds, "peer", tls)
                .with("route", script.route())
                .with("backend", "echo")
                .with("upstream", Value::Null),
            Role::Dialled => outbound(wanted, script, deeds, "peer", tls)
                .with("route", Value::Null)
                .with("backend", "none")
                .with("upstream", Is::Known),
        };
        let subject = (timed == Some(Timed::Expiry)).then(|| script.mark.clone());
        wanted
            .with("subject", subject)
            .with("tags", json!({"mark": script.mark}))
            .with("relay_peer", Value::Null)
    });
    let direction = if role == Role::Inbound { "inbound" } else { "outbound" };
    let first = Due {
        leg: "peer",
        known_by: vec![("direction", direction.into()), ("path", script.path().into())],
        attempt: false,
        alternatives: alternatives.collect(),
    };
    match story.way {
        Way::Replaced(_) => vec![first, second(script, deeds)],
        _ => vec![first],
    }
}

/// The connection that replaces the first one, and leaves in order.
fn second(script: &Script, deeds: &Deeds) -> Due {
    let mut wanted = outcome("", ["clean", "none", "peer", "peer", "closed", "fin"])
        .with("close_sent", sent(deeds, "second", 1000))
        .with("close_received", json!({"code": 1000, "reason": ""}))
        .with("path", script.second_path())
        .with("peer", deeds.fact("second", "address"))
        .with("subject", script.mark.clone());
    let mut alternatives = Vec::new();
    if is_caught(script.number) {
        alternatives.push(died());
    }
    wanted = counts(wanted, (0, 0), (0, 0));
    alternatives.push(wanted);
    Due {
        leg: "second",
        known_by: vec![("direction", "inbound".into()), ("path", script.second_path().into())],
        attempt: false,
        alternatives,
    }
}

/// Our Close with the code that is due, and with the reason that the peer has read.
pub fn sent(deeds: &Deeds, leg: &str, due: u64) -> Is {
    match read(deeds, leg) {
        // It was not read, as the daemon was killed, or the peer did not look.
        Value::Null => Is::Known,
        read => {
            let code = if due == 1005 { Value::Null } else { due.into() };
            json!({"code": code, "reason": read["reason"]}).into()
        }
    }
}

fn ways(script: &Script, deeds: &Deeds, side: Side, story: &Story) -> Vec<Wanted> {
    let exact = |wanted: Wanted, more: u64| {
        let (messages, bytes) = sum(&story.talk);
        let pushed = (story.pushed as u64, 6 * story.pushed as u64);
        let (out, out_bytes) = match side {
            Side::Client => (messages + pushed.0, bytes + pushed.1),
            Side::Server => pushed,
        };
        let wanted = counts(wanted, (messages + more, bytes + 4 * more), (out, out_bytes))
            .with("discarded_messages", 0);
        match more == 0 && (story.awaited || side == Side::Server) {
            true => wanted,
            // Echoes may come too late behind a Close, or for a peer that has gone.
            false => wanted
                .with("messages_out", Is::Within(pushed.0, out))
                .with("bytes_out", Is::Within(pushed.1, out_bytes))
                .with("undelivered_messages", Is::Within(0, out))
                .with("undelivered_bytes", Is::Within(0, out_bytes))
                .with("discarded_messages", Is::Within(0, messages + more)),
        }
    };
    let all = |them: Vec<Wanted>, more: u64| -> Vec<Wanted> {
        them.into_iter().map(|wanted| exact(wanted, more)).collect()
    };
    match &story.way {
        Way::Closes(words, tcp) => all(vec![closes(deeds, words, transport_end(*tcp))], 0),
        Way::ClosesAndLeaves(words, Tcp::Fin) => all(vec![closes(deeds, words, "fin")], 0),
        Way::ClosesAndLeaves(words, _) => all(closes_and_resets(deeds, words, story, side), 0),
        Way::Lost(tcp) => {
            let (kind, fault) = loss(*tcp);
            let wanted = outcome("", [kind, fault, "none", "none", "open", transport_end(*tcp)]);
            all(vec![with_place(wanted, &story.place, side, *tcp)], 0)
        }
        Way::Garbage => all(
            vec![outcome("", ["transport_error", "network", "none", "none", "open", "error"])],
            0,
        ),
        Way::Breaks(breach, words, tcp) => all(breaks(deeds, "peer", *breach, words, *tcp), 0),
        Way::ApiCloses(words, answer) => {
            let late = if let Answer::Late(count, _) = answer { *count as u64 } else { 0 };
            let sent = close(words).into();
            let ours = Ours { cause: "api", fault: "operator", sent, place: &story.place };
            let by_api = by_api();
            let wanted = answered(deeds, "peer", side, &ours, answer);
            all(wanted.into_iter().map(|it| it.with("by", by_api.as_str())).collect(), late)
        }
        Way::Cross(ours, theirs) => all(cross(deeds, ours, theirs), 0),
        Way::Aborted(behind_close) => {
            let wanted = match behind_close {
                false => outcome("", ["aborted", "operator", "api", "none", "open", "local"]),
                true => outcome("", ["aborted", "operator", "api", "local", "close_sent", "local"])
                    .with("close_sent", json!({"code": 1000, "reason": "bye"})),
            };
            all(vec![wanted.with("by", by_api())], 0)
        }
        Way::Drained(answer) => {
            let drain = format!("drain:{}", deeds.fact("api", "drain").as_str().unwrap_or("?"));
            let ours = Ours::new("drain", "operator", sent(deeds, "peer", 1012));
            let wanted = answered(deeds, "peer", side, &ours, answer);
            all(wanted.into_iter().map(|it| it.with("by", drain.as_str())).collect(), 0)
        }
        Way::Revoked(answer) => {
            let ours = Ours::new("revoked", "operator", sent(deeds, "peer", 3000));
            let wanted = answered(deeds, "peer", side, &ours, answer);
            all(wanted.into_iter().map(|it| it.with("by", by_api())).collect(), 0)
        }
        Way::Replaced(answer) => {
            let ours = Ours::new("replaced", "none", sent(deeds, "peer", 4409));
            all(answered(deeds, "peer", side, &ours, answer), 0)
        }
        Way::RunsOut(answer) => runs_out(script, deeds, side, answer),
        Way::Curtain(standing, answer) => {
            let wanted = curtain(script, deeds, *standing, answer);
            match Curtain::of(script.number / BLOCK) {
                Curtain::Killed => vec![wanted],
                Curtain::Drained | Curtain::Forced => all(vec![wanted], 0),
            }
        }
    }
}

/// The peer closes first, and stays for the answer.
fn closes(deeds: &Deeds, words: &Words, end: &'static str) -> Wanted {
    let received = close(words);
    let (kind, fault, cause, due) = match words {
        Words::Empty => ("clean", "none", "peer", 1005),
        Words::Code(..) if is_legal(words) => ("clean", "none", "peer", code(&received)),
        Words::Code(..) | Words::OneByte(_) => ("protocol_violation", "peer", "violation", 1002),
        Words::Garbled(_) => ("invalid_payload", "peer", "violation", 1007),
    };
    outcome("", [kind, fault, cause, "peer", "closed", end])
        .with("close_sent", sent(deeds, "peer", due))
        .with("close_received", received)
}

/// 1000–1003, 1007–1014 and 3000–4999 pass.
pub fn is_legal(words: &Words) -> bool {
    match words {
        Words::Empty => true,
        Words::Code(code, _) => matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999),
        Words::OneByte(_) | Words::Garbled(_) => false,
    }
}

/// RST right behind a Close may overtake it, or our reply.
fn closes_and_resets(deeds: &Deeds, words: &Words, story: &Story, side: Side) -> Vec<Wanted> {
    let received = close(words);
    let places = places_before_reset(&story.place, side);
    vec![
        closes(deeds, words, "reset").with("close_sent", Is::Known),
        outcome(
            "RST came before our reply had left",
            ["connection_reset", "peer", "peer", "peer", "close_received", "reset"],
        )
        .with("close_received", received),
        outcome(
            "RST overtook the Close",
            ["connection_reset", "peer", "none", "none", "open", "reset"],
        )
        .with("detail", Is::Contains(places)),
    ]
}

/// The peer breaks the protocol, and then may answer our Close.
pub fn breaks(
    deeds: &Deeds,
    leg: &str,
    breach: Breach,
    words: &Option<Words>,
    tcp: Tcp,
) -> Vec<Wanted> {
    let (kind, limit) = breach_kind(breach);
    let end = transport_end(tcp);
    let close_sent = sent(deeds, leg, breach.code().into());
    let unanswered = outcome("", [kind, "peer", "violation", "local", "close_sent", end])
        .with("close_sent", close_sent.clone())
        .with("limit", limit.clone());
    let Some(words) = words else { return vec![unanswered] };
    let answered = outcome("", [kind, "peer", "violation", "local", "closed", end])
        .with("close_sent", close_sent)
        .with("close_received", close(words))
        .with("limit", limit);
    match tcp {
        // Nothing proves that its Close was read before RST came.
        Tcp::Reset => vec![answered, unanswered],
        _ => vec![answered],
    }
}

/// The kind, and the limit that was hit.
fn breach_kind(breach: Breach) -> (&'static str, Is) {
    match breach.code() {
        1007 => ("invalid_payload", Value::Null.into()),
        1009 => ("message_too_big", Is::Known),
        _ => ("protocol_violation", Value::Null.into()),
    }
}

/// A Close of this end.
pub struct Ours<'a> {
    pub cause: &'static str,
    /// If it comes to a clean end.
    pub fault: &'static str,
    pub sent: Is,
    pub place: &'a Place,
}

impl Ours<'static> {
    pub fn new(cause: &'static str, fault: &'static str, sent: Is) -> Self {
        Self { cause, fault, sent, place: &Place::Between }
    }
}

/// What a peer's answer makes of our Close, which it has read.
pub fn answered(
    deeds: &Deeds,
    leg: &str,
    side: Side,
    ours: &Ours<'_>,
    answer: &Answer,
) -> Vec<Wanted> {
    let Ours { cause, fault, sent, place } = ours;
    let with_sent = |wanted: Wanted| wanted.with("close_sent", sent.clone());
    let clean = |received: Value, tcp: Tcp| {
        let end = transport_end(tcp);
        let wanted = outcome("", ["clean", fault, cause, "local", "closed", end])
            .with("close_received", received);
        let mut all = vec![with_sent(wanted)];
        if side == Side::Server && tcp == Tcp::Reset {
            // We leave it to the server to end TCP: nothing proves that its Close was read.
            all.push(with_sent(outcome(
                "RST overtook the answer",
                ["connection_reset", "peer", cause, "local", "close_sent", "reset"],
            )));
        }
        all
    };
    match answer {
        Answer::Echo(tcp) | Answer::Late(_, tcp) => clean(read(deeds, leg), *tcp),
        Answer::Other(words, tcp) => clean(close(words), *tcp),
        Answer::Silent => vec![with_sent(
            outcome("", ["close_timeout", "peer", cause, "local", "close_sent", "timeout"])
                .with("limit", Is::Anything),
        )],
        Answer::Lost(tcp) => {
            let (kind, fault) = loss(*tcp);
            let end = transport_end(*tcp);
            let wanted = outcome("", [kind, fault, cause, "local", "close_sent", end]);
            let wanted = with_sent(wanted);
            vec![match tcp {
                Tcp::Fin if !matches!(place, Place::Between) => {
                    wanted.with("detail", Is::Contains(vec![words_of(place, side)]))
                }
                Tcp::Fin => wanted.with(
                    "detail",
                    Is::Contains(vec!["instead of answering our Close".to_owned()]),
                ),
                _ => wanted,
            }]
        }
        Answer::Breach(breach, tcp) => {
            let (kind, limit) = breach_kind(*breach);
            let end = transport_end(*tcp);
            let wanted = outcome("", [kind, "peer", cause, "local", "close_sent", end]);
            vec![with_sent(wanted.with("limit", limit))]
        }
        Answer::Illegal(words, tcp) => {
            let kind = match words {
                Words::Garbled(_) => "invalid_payload",
                _ => "protocol_violation",
            };
            let end = transport_end(*tcp);
            let wanted = outcome("", [kind, "peer", cause, "local", "closed", end]);
            vec![with_sent(wanted.with("close_received", close(words)))]
        }
    }
}

/// Both Closes are on their way.
fn cross(deeds: &Deeds, ours: &Words, theirs: &Words) -> Vec<Wanted> {
    let received = close(theirs);
    let whole = |wanted: Wanted, due: &Words| {
        wanted
            .with("close_sent", sent(deeds, "peer", code(&close(due))))
            .with("close_received", received.clone())
            .with("by", Is::OneOf(vec![Value::Null, by_api().into()]))
    };
    let operator = Is::OneOf(vec!["operator".into(), "none".into()]);
    vec![
        whole(
            outcome("ours left first", ["clean", "operator", "api", "local", "closed", "fin"]),
            ours,
        ),
        whole(
            outcome(
                "ours was still queued when the peer's was read",
                ["clean", "operator", "api", "peer", "closed", "fin"],
            ),
            ours,
        )
        .with("fault", operator),
        whole(
            outcome(
                "the API asked between the peer's Close and the answer, and so chose the answer",
                ["clean", "none", "peer", "peer", "closed", "fin"],
            ),
            ours,
        ),
        whole(
            outcome(
                "the peer's was read before the API asked",
                ["clean", "none", "peer", "peer", "closed", "fin"],
            ),
            theirs,
        ),
    ]
}

fn runs_out(script: &Script, deeds: &Deeds, side: Side, answer: &Answer) -> Vec<Wanted> {
    let Plot::Single { route: Route::Timed(timed), .. } = &script.plot else {
        unreachable!("only there something runs out");
    };
    let ours = |cause, due| Ours::new(cause, "none", sent(deeds, "peer", due));
    let wanted = match timed {
        Timed::Pong => {
            vec![
                outcome(
                    "",
                    ["pong_timeout", "network", "keepalive", "local", "close_sent", "local"],
                )
                .with("close_sent", sent(deeds, "peer", 1011)),
            ]
        }
        Timed::Stall => {
            let words = ["slow_consumer", "peer", "slow_consumer", "none", "open", "local"];
            return vec![outcome("", words).with("limit", Is::Known)];
        }
        Timed::Idle => answered(deeds, "peer", side, &ours("idle_timeout", 3008), answer),
        Timed::Age => answered(deeds, "peer", side, &ours("max_age", 1001), answer),
        Timed::Rate => answered(deeds, "peer", side, &ours("rate_limited", 1013), answer),
        Timed::Expiry => answered(deeds, "peer", side, &ours("auth_expired", 3000), answer),
    };
    let wanted = wanted.into_iter().map(|wanted| match timed {
        Timed::Rate => wanted.with("messages_in", Is::Within(1, 60)),
        _ => counts(wanted, (0, 0), (0, 0)),
    });
    wanted.map(|wanted| wanted.with("limit", Is::Anything)).collect()
}

fn curtain(script: &Script, deeds: &Deeds, standing: Standing, answer: &Answer) -> Wanted {
    let curtain = Curtain::of(script.number / BLOCK);
    let kind = match curtain {
        Curtain::Killed => return died(),
        Curtain::Drained => "drain_deadline",
        Curtain::Forced => "aborted",
    };
    let by_signal = "signal:TERM";
    match (standing, answer) {
        (Standing::Open, Answer::Echo(_)) => {
            outcome("", ["clean", "operator", "drain", "local", "closed", "fin"])
                .with("transport_end", fin_before(curtain))
                .with("close_sent", sent(deeds, "peer", 1012))
                .with("close_received", read(deeds, "peer"))
                .with("by", by_signal)
        }
        (Standing::Open, _) => {
            outcome("", [kind, "operator", "drain", "local", "close_sent", "local"])
                .with("close_sent", sent(deeds, "peer", 1012))
                .with("by", by_signal)
                .with("limit", Is::Anything)
        }
        _ => outcome("", [kind, "operator", "api", "local", "close_sent", "local"])
            .with("close_sent", json!({"code": 1000, "reason": "bye"}))
            .with("by", Is::OneOf(vec![by_api().into(), by_signal.into()]))
            .with("limit", Is::Anything),
    }
}

/// FIN behind both Closes: where the daemon is forced, that may come between the last Close and FIN.
pub fn fin_before(curtain: Curtain) -> Is {
    match curtain {
        Curtain::Forced => Is::OneOf(vec!["fin".into(), "local".into()]),
        Curtain::Drained | Curtain::Killed => "fin".into(),
    }
}
