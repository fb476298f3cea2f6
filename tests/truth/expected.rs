//! The admissible endings of a script. They are derived from the contract (the tables of
//! `lastword::guide::endings`) and from what the peers saw, and from nothing that lastword computes.

mod attempts;
mod kept;
mod relayed;
mod single;

use serde_json::{Value, json};

use super::journal::Deeds;
use super::plan::{Begun, Place, Plot, Said, Script, Tcp, Words};
use super::player::uses_tls_12;
use super::record::{Is, Wanted};
use super::stage::TOKEN_NAME;
use crate::support::frame::Side;

/// One record that is due.
#[derive(Debug, Clone)]
pub struct Due {
    /// The leg, as the journal names it.
    pub leg: &'static str,
    /// By these fields it is told from the other records of the script.
    pub known_by: Vec<(&'static str, Value)>,
    pub attempt: bool,
    pub alternatives: Vec<Wanted>,
}

impl Due {
    pub fn fits(&self, record: &Value) -> bool {
        let attempt = record["kind"] == "open_failed";
        attempt == self.attempt && self.known_by.iter().all(|(name, value)| record[*name] == *value)
    }
}

/// The records that are due.
pub fn of(script: &Script, deeds: &Deeds) -> Vec<Due> {
    match &script.plot {
        Plot::Single { role, tls, story, .. } => single::of(script, deeds, *role, *tls, story),
        Plot::Relayed { fed, client_tls, application_tls, tale, .. } => {
            relayed::of(script, deeds, *fed, (*client_tls, *application_tls), tale)
        }
        Plot::Kept { tls, kept } => kept::of(script, deeds, *tls, kept),
        Plot::Attempt(attempt) => attempts::of(script, deeds, *attempt),
    }
}

/// The outcome: kind, fault, cause, first_close, state, transport_end.
fn outcome(why: &'static str, words: [&str; 6]) -> Wanted {
    let [kind, fault, cause, first_close, state, transport_end] = words;
    Wanted::new(why)
        .with("kind", kind)
        .with("fault", fault)
        .with("cause", cause)
        .with("first_close", first_close)
        .with("state", state)
        .with("transport_end", transport_end)
        .with("close_sent", Value::Null)
        .with("close_received", Value::Null)
        .with("by", Value::Null)
        .with("limit", Value::Null)
}

/// A Close as it is recorded.
fn close(words: &Words) -> Value {
    match words {
        Words::Empty | Words::OneByte(_) => json!({"code": null, "reason": ""}),
        Words::Code(code, reason) => json!({"code": code, "reason": reason}),
        Words::Garbled(code) => json!({"code": code, "reason": "b\u{fffd}d"}),
    }
}

/// The Close that a leg has read: that one is recorded as sent.
fn read(deeds: &Deeds, leg: &str) -> Value {
    deeds.fact(leg, "read")
}

/// The code of a Close; 1005 if it has none.
fn code(close: &Value) -> u64 {
    close["code"].as_u64().unwrap_or(1005)
}

fn transport_end(tcp: Tcp) -> &'static str {
    match tcp {
        Tcp::Fin => "fin",
        Tcp::Reset => "reset",
        Tcp::Cut => "tls_truncated",
        Tcp::Stays => "timeout",
    }
}

/// Kind and fault of TCP that ends before the closing handshake is complete.
fn loss(tcp: Tcp) -> (&'static str, &'static str) {
    match tcp {
        Tcp::Fin => ("closed_prematurely", "peer"),
        Tcp::Reset => ("connection_reset", "peer"),
        Tcp::Cut => ("tls_truncated", "network"),
        Tcp::Stays => unreachable!("it does not end"),
    }
}

/// Where in its stream a peer stood, in the words of the contract.
fn words_of(place: &Place, side: Side) -> String {
    match place {
        Place::Between => "between messages".to_owned(),
        Place::Fragments(_) => "between fragments".to_owned(),
        Place::Inside { begun, length, sent } => {
            match sent.checked_sub(begun.header_length(*length, side)) {
                None => "inside a header".to_owned(),
                Some(payload) => format!("inside a payload ({payload} of {length} bytes)"),
            }
        }
    }
}

/// Where it may be thought to have stood when RST overtakes what has not been read: there, or
/// before that.
fn places_before_reset(place: &Place, side: Side) -> Vec<String> {
    let mut places = vec![words_of(place, side), words_of(&Place::Between, side)];
    if let Place::Inside { begun: Begun::Continuation, .. } | Place::Fragments(_) = place {
        places.push(words_of(&Place::Fragments(1), side));
    }
    places
}

/// `detail` of FIN, RST or a cut: FIN comes in its place in the stream, and the place is recorded.
fn with_place(wanted: Wanted, place: &Place, side: Side, tcp: Tcp) -> Wanted {
    match tcp {
        Tcp::Fin => wanted.with("detail", Is::Contains(vec![words_of(place, side)])),
        // The contract promises the place of FIN only; of RST it has to be true if it is named, as it is.
        Tcp::Reset => wanted.with("detail", Is::Contains(places_before_reset(place, side))),
        _ => wanted,
    }
}

/// Messages and bytes: both known.
fn counts(wanted: Wanted, messages: (u64, u64), out: (u64, u64)) -> Wanted {
    wanted
        .with("messages_in", messages.0)
        .with("bytes_in", messages.1)
        .with("messages_out", out.0)
        .with("bytes_out", out.1)
        .with("undelivered_messages", 0)
        .with("undelivered_bytes", 0)
}

fn sum(talk: &[Said]) -> (u64, u64) {
    (talk.len() as u64, talk.iter().map(|said| said.length as u64).sum())
}

/// What is on every record of an inbound connection.
fn inbound(wanted: Wanted, script: &Script, deeds: &Deeds, leg: &str, tls: bool) -> Wanted {
    let version = match (tls, uses_tls_12(script.number)) {
        (false, _) => Value::Null,
        (true, false) => "TLSv1.3".into(),
        (true, true) => "TLSv1.2".into(),
    };
    everywhere(wanted)
        .with("direction", "inbound")
        .with("listener", if tls { "tls" } else { "plain" })
        .with("peer", deeds.fact(leg, "address"))
        .with("tls", version)
        .with("host", "localhost")
        .with("user_agent", script.mark.clone())
}

/// What is on every record of a connection that was dialled.
fn outbound(wanted: Wanted, script: &Script, deeds: &Deeds, leg: &str, tls: bool) -> Wanted {
    everywhere(wanted)
        .with("direction", "outbound")
        .with("listener", Value::Null)
        .with("peer", deeds.fact(leg, "address"))
        .with("local_addr", deeds.fact(leg, "dialled_from"))
        .with("tls", if tls { "TLSv1.3".into() } else { Value::Null })
        .with("path", script.path())
}

fn everywhere(wanted: Wanted) -> Wanted {
    wanted
        .with("node", "truth")
        .with("version", env!("CARGO_PKG_VERSION"))
        .with("dialer", Value::Null)
        .with("via", Value::Null)
        .with("subprotocol", Value::Null)
        .with("traceparent", Value::Null)
}

/// Who asks over the control API.
fn by_api() -> String {
    format!("api:{TOKEN_NAME}")
}

/// The connection of a daemon that was killed.
fn died() -> Wanted {
    Wanted::new("the daemon was killed while it was open")
        .with("kind", "process_died")
        .with("fault", "local")
        .with("cause", "none")
        .with("first_close", "none")
        .with("state", Value::Null)
        .with("close_code", Value::Null)
        .with("close_sent", Value::Null)
        .with("close_received", Value::Null)
        .with("transport_end", "unknown")
        .with("messages_in", Value::Null)
        .with("messages_out", Value::Null)
        .with("bytes_in", Value::Null)
        .with("bytes_out", Value::Null)
        .with("undelivered_messages", Value::Null)
        .with("discarded_messages", Value::Null)
}
