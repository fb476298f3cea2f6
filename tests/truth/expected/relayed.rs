//! What is due of both legs of a relay: the contract, and `lastword::guide::relay` where that is silent.

use serde_json::json;

use super::single::{Ours, answered, breaks, fin_before, sent};
use super::{
    Due, by_api, close, code, died, inbound, loss, outbound, outcome, read, sum, transport_end,
    with_place,
};
use crate::truth::draw::is_caught;
use crate::truth::journal::Deeds;
use crate::truth::plan::{
    Answer, BLOCK, Curtain, Leg, Place, Said, Script, Standing, Tale, Tcp, Turn, Words,
};
use crate::truth::record::{Is, Wanted};

/// What is admissible on each leg.
struct Both {
    client: Vec<Wanted>,
    application: Vec<Wanted>,
}

/// `tls`: of the client and of the application.
pub fn of(script: &Script, deeds: &Deeds, fed: bool, tls: (bool, bool), tale: &Tale) -> Vec<Due> {
    let mut both = turn(script, deeds, fed, &tale.turn);
    if is_caught(script.number) {
        both.client.push(died());
        both.application.push(died());
    }
    let tags = json!({"mark": script.mark});
    let client = both.client.into_iter().map(|wanted| {
        let wanted = passed(wanted, &tale.talk);
        let wanted = match fed {
            false => inbound(wanted, script, deeds, "client", tls.0),
            true => outbound(wanted, script, deeds, "client", tls.0),
        };
        wanted
            .with("route", script.route())
            .with("backend", "relay")
            .with("tags", tags.clone())
            .with("upstream", Is::Known)
            .with("relay_peer", Is::Known)
    });
    let application = both.application.into_iter().map(|wanted| {
        let wanted = passed(wanted, &tale.talk);
        outbound(wanted, script, deeds, "application", tls.1)
            .with("path", script.application_path())
            .with("backend", "relay")
            .with("upstream", Is::Known)
            .with("relay_peer", Is::Known)
    });
    let due = |leg, direction: &str, path: String, alternatives| Due {
        leg,
        known_by: vec![("direction", direction.into()), ("path", path.into())],
        attempt: false,
        alternatives,
    };
    let direction = if fed { "outbound" } else { "inbound" };
    vec![
        due("client", direction, script.path(), client.collect()),
        due("application", "outbound", script.application_path(), application.collect()),
    ]
}

/// Each message has passed both ways, and was read on both ends.
fn passed(wanted: Wanted, talk: &[Said]) -> Wanted {
    if wanted.is("kind", "process_died") {
        return wanted;
    }
    let (messages, bytes) = sum(talk);
    wanted
        .with("messages_in", messages)
        .with("bytes_in", bytes)
        .with("messages_out", messages)
        .with("bytes_out", bytes)
}

fn pair(leg: Leg, one: Vec<Wanted>, other: Vec<Wanted>) -> Both {
    match leg {
        Leg::Client => Both { client: one, application: other },
        Leg::Application => Both { client: other, application: one },
    }
}

fn name(leg: Leg) -> &'static str {
    match leg {
        Leg::Client => "client",
        Leg::Application => "application",
    }
}

fn turn(script: &Script, deeds: &Deeds, fed: bool, turn: &Turn) -> Both {
    // The code that tells a client, or a feed, of the loss of its application.
    let on_lost = if fed { 1001 } else { 1012 };
    match turn {
        Turn::Closes(leg, words, answer, tcp) => {
            let closed = closer(deeds, *leg, words, answer, *tcp);
            // A Close passes with its code and reason.
            let passed = close(words).into();
            // A leg that closes for the application has the application's fault, if it is one.
            let fault = match (leg, code(&close(words))) {
                (Leg::Application, 1011..=1014) => "backend",
                _ => "none",
            };
            let ours = Ours { cause: "relay_peer", fault, sent: passed, place: &Place::Between };
            let other = leg.other();
            pair(*leg, closed, answered(deeds, name(other), other.side(fed), &ours, answer))
        }
        Turn::Impatient(leg, words) => {
            let received = close(words);
            let end = ["connection_reset", "peer", "peer", "peer", "close_received", "reset"];
            let reset = outcome("RST came before the answer had left", end)
                .with("close_received", received.clone());
            let end = ["clean", "none", "peer", "peer", "closed", "reset"];
            let answered_first = outcome("the answer of the other side had left before RST", end)
                .with("close_sent", received.clone())
                .with("close_received", received);
            let ours = Ours::new("relay_peer", "none", close(words).into());
            let other = leg.other();
            let answer = Answer::Echo(Tcp::Fin);
            pair(
                *leg,
                vec![reset, answered_first],
                answered(deeds, name(other), other.side(fed), &ours, &answer),
            )
        }
        Turn::Cross(by_client, by_application) => Both {
            client: crossed(deeds, Leg::Client, by_client, by_application),
            application: crossed(deeds, Leg::Application, by_application, by_client),
        },
        Turn::Lost(leg, place, tcp, answer) => {
            let (kind, fault) = loss(*tcp);
            let lost = outcome("", [kind, fault, "none", "none", "open", transport_end(*tcp)]);
            let lost = with_place(lost, place, leg.side(fed), *tcp);
            pair(*leg, vec![lost], told(deeds, leg.other(), on_lost, answer))
        }
        Turn::Breaks(leg, breach, words, tcp) => {
            let broken = breaks(deeds, name(*leg), *breach, words, *tcp);
            pair(*leg, broken, told(deeds, leg.other(), 1011, &Answer::Echo(Tcp::Fin)))
        }
        Turn::ApiCloses(leg, words, tcp) => {
            let ours = Ours::new("api", "operator", close(words).into());
            let answer = Answer::Echo(*tcp);
            let one = answered(deeds, name(*leg), leg.side(fed), &ours, &answer);
            let one = one.into_iter().map(|wanted| wanted.with("by", by_api())).collect();
            // It gets the Close of its other end, which is the same one.
            let ours = Ours::new("relay_peer", "none", close(words).into());
            let other = leg.other();
            pair(*leg, one, answered(deeds, name(other), other.side(fed), &ours, &answer))
        }
        Turn::Aborted(leg) => {
            let one = outcome("", ["aborted", "operator", "api", "none", "open", "local"]);
            let other = told(deeds, leg.other(), on_lost, &Answer::Echo(Tcp::Fin));
            pair(*leg, vec![one.with("by", by_api())], other)
        }
        Turn::Curtain(standing, answer) => curtain(script, deeds, *standing, answer),
    }
}

/// The leg whose peer closes first: it gets the answer of the other side, or one in kind.
fn closer(deeds: &Deeds, leg: Leg, words: &Words, answer: &Answer, tcp: Tcp) -> Vec<Wanted> {
    let due = match answer {
        Answer::Other(words, _) => close(words),
        // The same one, or what is due to a peer whose other side did not answer.
        _ => close(words),
    };
    let end = transport_end(tcp);
    let wanted = outcome("", ["clean", "none", "peer", "peer", "closed", end])
        .with("close_sent", sent(deeds, name(leg), code(&due)))
        .with("close_received", close(words));
    vec![wanted]
}

fn crossed(deeds: &Deeds, leg: Leg, own: &Words, others: &Words) -> Vec<Wanted> {
    let whole = |wanted: Wanted| {
        wanted
            .with("close_sent", sent(deeds, name(leg), code(&close(others))))
            .with("close_received", close(own))
            .with("fault", Is::OneOf(vec!["none".into(), "backend".into()]))
    };
    let ours = "the other side's passed before its own was read";
    vec![
        whole(outcome(
            "its own was read first",
            ["clean", "none", "peer", "peer", "closed", "fin"],
        )),
        whole(outcome(ours, ["clean", "none", "relay_peer", "local", "closed", "fin"])),
        whole(outcome(
            "its own was read while the other side's was queued",
            ["clean", "none", "relay_peer", "peer", "closed", "fin"],
        )),
    ]
}

/// An application whose client was lost is reset; the record has no fault.
fn dropped() -> Wanted {
    outcome("", ["aborted", "none", "relay_peer", "none", "open", "local"])
}

/// The leg of the side that is left over.
fn told(deeds: &Deeds, leg: Leg, due: u64, answer: &Answer) -> Vec<Wanted> {
    if leg == Leg::Application {
        return vec![dropped()];
    }
    // The trigger fixes the kind: the loss of the application, whatever the client does then.
    let backend = |state, end| {
        outcome("", ["backend_failed", "backend", "relay_peer", "local", state, end])
            .with("close_sent", sent(deeds, "client", due))
    };
    match answer {
        Answer::Echo(tcp) => {
            let received = read(deeds, "client");
            vec![backend("closed", transport_end(*tcp)).with("close_received", received)]
        }
        Answer::Lost(tcp) => vec![backend("close_sent", transport_end(*tcp))],
        other => unreachable!("{other:?} is not drawn"),
    }
}

fn curtain(script: &Script, deeds: &Deeds, standing: Standing, answer: &Answer) -> Both {
    let curtain = Curtain::of(script.number / BLOCK);
    let kind = match curtain {
        Curtain::Killed => return Both { client: vec![died()], application: vec![died()] },
        Curtain::Drained => "drain_deadline",
        Curtain::Forced => "aborted",
    };
    assert_eq!(standing, Standing::Open, "drawn for kills only");
    let by_signal = "signal:TERM";
    let leg = |leg: Leg| -> Vec<Wanted> {
        let name = name(leg);
        let close_sent = sent(deeds, name, 1012);
        match answer {
            Answer::Echo(_) => {
                let whole = |wanted: Wanted| {
                    wanted
                        .with("transport_end", fin_before(curtain))
                        .with("close_sent", close_sent.clone())
                        .with("close_received", read(deeds, name))
                };
                let passed = "the other side's answer came before this leg was asked";
                vec![
                    whole(outcome("", ["clean", "operator", "drain", "local", "closed", "fin"]))
                        .with("by", by_signal),
                    whole(outcome(
                        passed,
                        ["clean", "none", "relay_peer", "local", "closed", "fin"],
                    )),
                ]
            }
            _ => {
                let wanted =
                    outcome("", [kind, "operator", "drain", "local", "close_sent", "local"]);
                let wanted = wanted.with("close_sent", close_sent);
                vec![wanted.with("by", by_signal).with("limit", Is::Anything)]
            }
        }
    };
    Both { client: leg(Leg::Client), application: leg(Leg::Application) }
}
