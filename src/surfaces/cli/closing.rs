//! `close`, `abort` and `dial`: ends or opens one connection.

use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::api::{Answer, Daemon, path};
use super::arguments::{Abort, Close, Dial};
use super::console::Console;
use super::endings;
use super::exit::DONE;
use super::failure::Failure;
use crate::contract::{ConnectionRecord, DialerRecord, EndingRecord};
use crate::explanation::wording::{safe, safe_or, short_id};

/// How long to wait for a close: longer than any sensible `close.timeout`.
const CLOSE_WITHIN: Duration = Duration::from_secs(5 * 60);

/// Closes a connection, and waits for its ending.
pub(super) async fn close(close: &Close, console: &mut Console) -> Result<u8, Failure> {
    let daemon = Daemon::of(&close.control)?;
    let reason = close.reason.as_ref().map_or("", |reason| reason.as_str());
    let body = json!({"code": close.code.get(), "reason": reason, "wait": !close.no_wait});
    let target = path("/v1/connections", &close.id, "/close");
    let answer = daemon.call(Method::POST, &target, Some(&body), CLOSE_WITHIN).await;
    let answer = match answer {
        // The daemon is closing it; only the wait timed out.
        Err(Failure::Slow { .. }) if !close.no_wait => {
            return Err(Failure::Undone(format!(
                "{id} is still closing after the time to wait; `lastword why {id}` will show how \
                 it ended",
                id = safe(&close.id)
            )));
        }
        answer => answer?,
    };
    show_ending(&close.id, &answer, console)
}

/// Aborts a connection.
pub(super) async fn abort(abort: &Abort, console: &mut Console) -> Result<u8, Failure> {
    let daemon = Daemon::of(&abort.control)?;
    let answer = daemon.delete(&path("/v1/connections", &abort.id, "")).await?;
    show_ending(&abort.id, &answer, console)
}

fn show_ending(id: &str, answer: &Answer, console: &mut Console) -> Result<u8, Failure> {
    console.show(answer, |_| {
        if answer.status == StatusCode::ACCEPTED {
            let id = short_id(id);
            return Ok(format!("{id}  closing; `lastword why {id}` will show how it ended"));
        }
        let ending: EndingRecord<'static> = answer.read()?;
        Ok(endings::line(&ending, SystemTime::now()))
    })
}

/// Opens a connection from the daemon to a server.
pub(super) async fn dial(dial: &Dial, console: &mut Console) -> Result<u8, Failure> {
    let daemon = Daemon::of(&dial.control)?;
    let answer = daemon.post("/v1/connections", &body(dial)).await;
    if console.json {
        console.print_bytes(&answer?.body)?;
        return Ok(DONE);
    }
    match answer {
        Ok(answer) if dial.reconnect => {
            let dialer: DialerRecord<'static> = answer.read()?;
            let (name, url) = (safe(&dialer.name), safe(&dialer.url));
            console.print(&format!("dialer {name}  {} to {url}", safe(&dialer.state)))?;
            Ok(DONE)
        }
        Ok(answer) => {
            let connection: ConnectionRecord<'static> = answer.read()?;
            let id = short_id(&connection.id);
            let peer = safe_or(&connection.origin.peer, "a peer without an address");
            console.print(&format!("{id}  {} to {peer}", safe(&connection.state)))?;
            Ok(DONE)
        }
        Err(failure) => {
            let attempt = match &failure {
                Failure::Refused { problem, .. } => problem.ending.as_ref(),
                _ => None,
            };
            let id = attempt.map(|ending| short_id(&ending.id).into_owned());
            let code = console.print_failure(&failure);
            if let Some(id) = id {
                console.print_note(&format!("`lastword why {id}` explains it"));
            }
            Ok(code)
        }
    }
}

fn body(dial: &Dial) -> Value {
    let headers: Map<String, Value> =
        dial.header.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let tags: Map<String, Value> =
        dial.tag.iter().map(|tag| (tag.name.clone(), json!(tag.value))).collect();
    let mut body = json!({"url": dial.url});
    if !headers.is_empty() {
        body["headers"] = Value::Object(headers);
    }
    if !dial.subprotocol.is_empty() {
        body["subprotocols"] = json!(dial.subprotocol);
    }
    if !tags.is_empty() {
        body["tags"] = Value::Object(tags);
    }
    if let Some(backend) = dial.backend {
        body["backend"] = json!(backend.as_str());
    }
    if dial.reconnect {
        body["reconnect"] = json!(true);
    }
    if let Some(name) = &dial.name {
        body["name"] = json!(name);
    }
    body
}
