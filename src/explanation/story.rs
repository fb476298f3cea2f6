//! The explanation of one ending.

use std::time::SystemTime;

use super::facts::{Facts, kind_name};
use super::wording::{ago, lasting, safe, short_id, utc};
use super::{closing, evidence, meaning, remedy};
use crate::contract::{EndingRecord, ExplanationRecord, ParagraphRecord};
use crate::vocabulary::Kind;

/// Explains an ending as of `now`.
pub(crate) fn explain(ending: &EndingRecord<'_>, now: SystemTime) -> ExplanationRecord {
    let facts = Facts::of(ending);
    let id = short_id(&ending.id);
    let ago = ago(ending.ended_at, now);
    let kind = kind_name(ending);
    let headline = if facts.is_attempt() {
        format!("{id} never opened ({ago}), {kind}: {}", ending.detail)
    } else {
        format!("{id} ended {ago}, {kind}: {}", ending.detail)
    };
    let paragraphs = [
        ("Meaning", Some(meaning::of(&facts))),
        (if facts.is_attempt() { "Tried" } else { "Opened" }, Some(opened(&facts))),
        ("Ended", Some(ended(&facts, now))),
        ("Closed", closing::who_closed(&facts)),
        ("TCP", closing::transport(&facts)),
        ("Requested by", evidence::requested_by(&facts)),
        ("Limit", evidence::limit(&facts)),
        ("Messages", evidence::messages(&facts)),
        ("Network", evidence::network(&facts)),
        ("Relay", relay(&facts)),
        ("Fault", Some(meaning::fault(&facts))),
        ("What to do", Some(remedy::of(&facts))),
        ("Reconnect", remedy::retry(&facts)),
    ];
    // Any paragraph may contain text from a peer, so all are escaped here.
    let known = paragraphs.into_iter().filter_map(|(topic, text)| {
        Some(ParagraphRecord { topic: topic.to_owned(), text: safe(&text?).into_owned() })
    });
    ExplanationRecord { headline: safe(&headline).into_owned(), paragraphs: known.collect() }
}

/// Says when it opened, between whom, and where its messages went.
fn opened(facts: &Facts<'_>) -> String {
    let record = facts.record;
    let mut text = utc(record.opened_at);
    text.push_str(&if facts.outbound { dialled(facts) } else { accepted(facts) });
    let origin = &record.origin;
    if let Some(subprotocol) = &origin.subprotocol {
        text.push_str(&format!(" They agreed on the subprotocol {subprotocol}."));
    }
    if let Some(agent) = &origin.user_agent {
        text.push_str(&format!(" The client's User-Agent is {agent}."));
    }
    if !origin.tags.is_empty() {
        let tags: Vec<String> =
            origin.tags.iter().map(|(name, value)| format!("{name}:{value}")).collect();
        text.push_str(&format!(" Tags: {}.", tags.join(", ")));
    }
    text
}

fn accepted(facts: &Facts<'_>) -> String {
    let origin = &facts.record.origin;
    let mut text = String::new();
    if let Some(peer) = &origin.peer {
        text.push_str(&format!(", by {peer}"));
    }
    if let Some(via) = &origin.via {
        text.push_str(&format!(" through the proxy {via}"));
    }
    if let Some(subject) = &origin.subject {
        text.push_str(&format!(" (subject {subject})"));
    }
    match (&origin.listener, &origin.local_addr) {
        (Some(listener), Some(addr)) => {
            text.push_str(&format!(", on listener {listener} ({addr})"))
        }
        (Some(listener), None) => text.push_str(&format!(", on listener {listener}")),
        (None, Some(addr)) => text.push_str(&format!(", on {addr}")),
        (None, None) => {}
    }
    if let Some(tls) = &origin.tls {
        text.push_str(&format!(", over {tls}"));
    }
    text.push('.');
    if let Some(path) = &origin.path {
        text.push_str(&format!(" It requested {path}"));
        if let Some(host) = &origin.host {
            text.push_str(&format!(" at {host}"));
        }
        match (&origin.route, &origin.backend) {
            (Some(route), Some(backend)) => {
                text.push_str(&format!(": route {route}, backend {backend}"));
            }
            (Some(route), None) => text.push_str(&format!(": route {route}")),
            (None, Some(backend)) => text.push_str(&format!(": backend {backend}")),
            (None, None) => {}
        }
        text.push('.');
    } else if let Some(route) = &origin.route {
        text.push_str(&format!(" It used route {route}."));
    }
    text
}

fn dialled(facts: &Facts<'_>) -> String {
    let record = facts.record;
    let origin = &record.origin;
    let mut text = ", dialled from here".to_owned();
    let peer = origin.peer.as_deref();
    match &record.upstream {
        Some(upstream) => {
            text.push_str(&format!(" to {}", upstream.url));
            if let Some(addr) = upstream.addr.as_deref().or(peer) {
                text.push_str(&format!(" ({addr})"));
            }
        }
        None => {
            if let Some(peer) = peer {
                text.push_str(&format!(" to {peer}"));
            }
        }
    }
    if let Some(dialer) = &origin.dialer {
        text.push_str(&format!(", by dialer {dialer}"));
    }
    if let Some(tls) = &origin.tls {
        text.push_str(&format!(", over {tls}"));
    }
    if let Some(backend) = &origin.backend {
        text.push_str(&format!(", for backend {backend}"));
    }
    text.push('.');
    if let Some(upstream) = &record.upstream {
        // For an attempt, the headline already names the status.
        let status = upstream.status.filter(|_| !facts.is_attempt());
        text.push_str(&reached(upstream.connect_ms, status));
    }
    text
}

fn reached(connect_ms: Option<u64>, status: Option<u16>) -> String {
    match (connect_ms, status) {
        (Some(ms), Some(status)) => {
            format!(" Connecting took {}; the server answered with HTTP {status}.", lasting(ms))
        }
        (Some(ms), None) => format!(" Connecting took {}.", lasting(ms)),
        (None, Some(status)) => format!(" The server answered with HTTP {status}."),
        (None, None) => String::new(),
    }
}

fn ended(facts: &Facts<'_>, now: SystemTime) -> String {
    let record = facts.record;
    let (at, ago) = (utc(record.ended_at), ago(record.ended_at, now));
    let lived = lasting(record.open_ms);
    match facts.kind {
        Some(Kind::ProcessDied) => format!(
            "The exact time is unknown. It was last known to be alive at {at}, {ago}, when it had \
             been open for {lived}."
        ),
        Some(Kind::OpenFailed(_)) => format!("{at}, {ago}, {lived} after it began."),
        Some(_) | None => format!("{at}, {ago}. It had been open for {lived}."),
    }
}

/// Names the other leg of a relay and the application behind it.
fn relay(facts: &Facts<'_>) -> Option<String> {
    let record = facts.record;
    let mut text = Vec::new();
    if let Some(other) = &record.relay_peer {
        text.push(format!(
            "This was one leg of a relay. `lastword why {}` explains how the other one ended.",
            short_id(other)
        ));
    }
    if let (false, Some(upstream)) = (facts.outbound, &record.upstream) {
        let addr = upstream.addr.as_deref().map_or(String::new(), |addr| format!(" ({addr})"));
        let reached = reached(upstream.connect_ms, upstream.status);
        text.push(format!("The application was {}{addr}.{reached}", upstream.url));
    }
    (!text.is_empty()).then(|| text.join(" "))
}
