//! What is due of opening handshakes that fail.

use serde_json::{Value, json};

use super::single::sent;
use super::{Due, counts, died, outcome};
use crate::truth::draw::is_caught;
use crate::truth::journal::Deeds;
use crate::truth::plan::{Attempt, Script};
use crate::truth::record::{Is, Wanted};

pub fn of(script: &Script, deeds: &Deeds, attempt: Attempt) -> Vec<Due> {
    let (failure, fault, status) = word(attempt);
    let mut wanted = Wanted::new("")
        .with("kind", "open_failed")
        .with("open_failure", failure)
        .with("fault", fault)
        .with("cause", "none")
        .with("first_close", "none")
        .with("state", Value::Null)
        .with("close_code", Value::Null)
        .with("status", status)
        .with("retry", retry(attempt));
    let dialled = matches!(
        attempt,
        Attempt::DialRefused
            | Attempt::DialRejected(_)
            | Attempt::DialTls
            | Attempt::DialUnanswered
    );
    wanted = match dialled {
        true => wanted
            .with("direction", "outbound")
            .with("path", script.path())
            .with("tags", json!({"mark": script.mark}))
            .with("upstream", Is::Known),
        false => wanted.with("direction", "inbound").with("peer", deeds.fact("attempt", "address")),
    };
    if let Attempt::Gone { reset, .. } | Attempt::GoneWhileAsked { reset } = attempt {
        let end = if reset { "reset" } else { "fin" };
        wanted = wanted.with("transport_end", end);
    }
    let direction = if dialled { "outbound" } else { "inbound" };
    let mut all = vec![Due {
        leg: "attempt",
        known_by: vec![("direction", direction.into())],
        attempt: true,
        alternatives: vec![wanted],
    }];
    if attempt == Attempt::TooMany {
        let words = ["clean", "none", "peer", "peer", "closed", "fin"];
        let first = outcome("", words)
            .with("close_sent", sent(deeds, "second", 1000))
            .with("close_received", json!({"code": 1000, "reason": ""}))
            .with("peer", deeds.fact("second", "address"));
        let mut alternatives = vec![counts(first, (0, 0), (0, 0))];
        if is_caught(script.number) {
            alternatives.push(died());
        }
        all.push(Due {
            leg: "second",
            known_by: vec![("direction", "inbound".into()), ("path", script.second_path().into())],
            attempt: false,
            alternatives,
        });
    }
    all
}

/// `open_failure`, `fault` and `status`.
fn word(attempt: Attempt) -> (&'static str, Is, Is) {
    let none = || Is::Value(Value::Null);
    let peer = || Is::from("peer");
    match attempt {
        Attempt::NoRoute => ("no_route", peer(), none()),
        Attempt::NotAnUpgrade | Attempt::OtherMethod | Attempt::BadKey | Attempt::Unparsable => {
            ("bad_request", peer(), none())
        }
        Attempt::Origin => ("refused_origin", peer(), none()),
        Attempt::Unauthorized(_) => ("unauthorized", peer(), Is::Anything),
        Attempt::AuthUnavailable => ("auth_unavailable", Is::Anything, Is::Anything),
        Attempt::TooSlow(_) => ("handshake_timeout", peer(), none()),
        Attempt::Gone { .. } | Attempt::GoneWhileAsked { .. } => ("peer_gone", peer(), none()),
        Attempt::UntrustedProxy => ("untrusted_proxy", peer(), none()),
        Attempt::NotTls => ("tls", peer(), none()),
        Attempt::TooMany => ("refused_limit", Is::Anything, none()),
        Attempt::BackendUnreachable => ("backend_unreachable", "backend".into(), none()),
        // An application's 4xx is the client's fault, its 5xx is its own.
        Attempt::BackendRefuses(status) => {
            let fault = if status < 500 { "peer" } else { "backend" };
            ("backend_refused", fault.into(), status.into())
        }
        Attempt::DialRefused => ("connect_refused", peer(), none()),
        Attempt::DialRejected(status) => ("upgrade_rejected", peer(), status.into()),
        Attempt::DialTls => ("tls", Is::Anything, none()),
        Attempt::DialUnanswered => ("handshake_timeout", Is::Anything, none()),
        Attempt::Late => ("refused_draining", Is::Anything, none()),
    }
}

fn retry(attempt: Attempt) -> Is {
    match attempt {
        Attempt::NoRoute
        | Attempt::NotAnUpgrade
        | Attempt::OtherMethod
        | Attempt::BadKey
        | Attempt::Unparsable
        | Attempt::Origin => "never".into(),
        Attempt::Unauthorized(_) => "reauthenticate".into(),
        // `retry` follows the status, which the contract does not spell out.
        Attempt::BackendRefuses(_)
        | Attempt::DialRejected(_)
        | Attempt::UntrustedProxy
        | Attempt::NotTls => Is::Anything,
        _ => "backoff".into(),
    }
}
