//! The state of a connection that is still open.

use super::wording::{count, lasting, safe, short_id, size, utc};
use crate::contract::{ConnectionRecord, ExplanationRecord, ParagraphRecord};

/// Describes a connection.
pub(crate) fn describe(connection: &ConnectionRecord<'_>) -> ExplanationRecord {
    let id = short_id(&connection.id);
    let state = match &*connection.state {
        "open" => "it is open".to_owned(),
        "close_sent" => "this end has closed and waits for the peer's Close".to_owned(),
        "close_received" => "the peer has closed and waits for this end's Close".to_owned(),
        "closed" => "the closing handshake is complete, and TCP is about to end".to_owned(),
        other => format!("it is {other}"),
    };
    let peer = connection.origin.peer.as_deref().unwrap_or("a peer without an address");
    let subject = connection.origin.subject.as_deref();
    let subject = subject.map_or(String::new(), |subject| format!(" (subject {subject})"));
    let paragraphs = [
        (
            "Opened",
            format!(
                "{}, {} ago, with {peer}{subject}.",
                utc(connection.opened_at),
                lasting(connection.open_ms)
            ),
        ),
        ("Messages", messages(connection)),
        ("Network", network(connection)),
        (
            "What to do",
            format!(
                "`lastword show {id}` shows the details; `lastword close {id}` closes it and \
                     shows how it ended."
            ),
        ),
    ];
    let paragraphs = paragraphs.into_iter().map(|(topic, text)| ParagraphRecord {
        topic: topic.to_owned(),
        text: safe(&text).into_owned(),
    });
    ExplanationRecord {
        headline: safe(&format!("{id} has not ended: {state}")).into_owned(),
        paragraphs: paragraphs.collect(),
    }
}

fn messages(connection: &ConnectionRecord<'_>) -> String {
    let mut text = format!(
        "{} received ({}), {} sent ({}).",
        connection.messages_in,
        size(connection.bytes_in),
        connection.messages_out,
        size(connection.bytes_out)
    );
    if connection.queued_messages > 0 {
        let waits = if connection.queued_messages == 1 { "waits" } else { "wait" };
        text.push_str(&format!(
            " {} ({}) {waits} to be sent",
            count(connection.queued_messages, "message"),
            size(connection.queued_bytes)
        ));
        if let Some(age) = connection.oldest_queued_ms {
            text.push_str(&format!(", the oldest for {}", lasting(age)));
        }
        text.push('.');
    }
    text
}

fn network(connection: &ConnectionRecord<'_>) -> String {
    let ping = match connection.ping_rtt_ms {
        Some(ms) => format!("The last Ping took {ms} ms."),
        None => "No Ping has been answered so far.".to_owned(),
    };
    let activity = match connection.last_activity_ms {
        Some(ms) => format!("The last message was sent or received {} ago.", lasting(ms)),
        None => "No message has been sent or received so far.".to_owned(),
    };
    format!("{ping} {activity}")
}
