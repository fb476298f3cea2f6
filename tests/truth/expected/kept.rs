//! What is due of the connections of a dialer.

use serde_json::{Value, json};

use super::single::{Ours, answered, sent};
use super::{Due, by_api, close, code, counts, loss, outbound, outcome, transport_end, with_place};
use crate::support::frame::Side;
use crate::truth::journal::Deeds;
use crate::truth::plan::{Answer, Kept, Place, Script, Tcp};
use crate::truth::record::{Is, Wanted};

pub fn of(script: &Script, deeds: &Deeds, tls: bool, kept: &Kept) -> Vec<Due> {
    let first = match kept {
        Kept::Refused(status) => return vec![refused(script, *status), second(script, deeds, tls)],
        Kept::Rotated(answer) => {
            let ours = Ours::new("rotated", "none", sent(deeds, "peer", 1000));
            answered(deeds, "peer", Side::Server, &ours, answer)
        }
        Kept::Lost(tcp) => {
            let (kind, fault) = loss(*tcp);
            let wanted = outcome("", [kind, fault, "none", "none", "open", transport_end(*tcp)]);
            vec![with_place(wanted, &Place::Between, Side::Server, *tcp)]
        }
        Kept::Closes(words) => {
            let received = close(words);
            let wanted = outcome("", ["clean", "none", "peer", "peer", "closed", "fin"])
                .with("close_sent", sent(deeds, "peer", code(&received)))
                .with("close_received", received);
            vec![wanted]
        }
    };
    vec![due(script, deeds, "peer", tls, first), second(script, deeds, tls)]
}

/// The connection that is there when the dialer is removed.
fn second(script: &Script, deeds: &Deeds, tls: bool) -> Due {
    let ours = Ours::new("api", "operator", sent(deeds, "second", 1000));
    let answer = Answer::Echo(Tcp::Fin);
    let alternatives = answered(deeds, "second", Side::Server, &ours, &answer);
    let alternatives = alternatives.into_iter().map(|wanted| wanted.with("by", by_api()));
    due(script, deeds, "second", tls, alternatives.collect())
}

fn due(
    script: &Script,
    deeds: &Deeds,
    leg: &'static str,
    tls: bool,
    alternatives: Vec<Wanted>,
) -> Due {
    let alternatives = alternatives.into_iter().map(|wanted| {
        let wanted = counts(wanted, (0, 0), (0, 0)).with("discarded_messages", 0);
        of_dialer(outbound(wanted, script, deeds, leg, tls), script)
    });
    Due {
        leg,
        // Both have the same path.
        known_by: vec![("local_addr", deeds.fact(leg, "dialled_from"))],
        attempt: false,
        alternatives: alternatives.collect(),
    }
}

fn of_dialer(wanted: Wanted, script: &Script) -> Wanted {
    wanted
        .with("dialer", script.mark.clone())
        .with("route", Value::Null)
        .with("backend", "none")
        .with("upstream", Is::Known)
        .with("subject", Value::Null)
        .with("tags", json!({"mark": script.mark}))
        .with("relay_peer", Value::Null)
}

fn refused(script: &Script, status: u16) -> Due {
    let wanted = Wanted::new("")
        .with("kind", "open_failed")
        .with("open_failure", "upgrade_rejected")
        .with("status", status)
        .with("fault", "peer")
        .with("cause", "none")
        .with("first_close", "none")
        .with("retry", "backoff")
        .with("path", script.path());
    Due {
        leg: "attempt",
        known_by: vec![("direction", "outbound".into())],
        attempt: true,
        alternatives: vec![of_dialer(wanted, script)],
    }
}
