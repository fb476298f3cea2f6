//! `send` and `broadcast`: messages into connections.

use std::fs::File;
use std::io;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::api::{Daemon, path};
use super::arguments::{Broadcast, Payload, Send};
use super::console::Console;
use super::exit::{DONE, FAILED};
use super::failure::Failure;
use crate::contract::BroadcastRecord;
use crate::explanation::wording::{count, short_id};
use crate::runtime::read_bounded::{NotRead, read_at_most};

/// The maximum size of a message from a file, in bytes.
const LONGEST: u64 = 16 * 1024 * 1024;

/// Sends a message into one connection.
pub(super) async fn send(send: &Send, console: &mut Console) -> Result<u8, Failure> {
    let daemon = Daemon::of(&send.control)?;
    let body = Value::Object(payload(&send.payload)?.into_iter().collect());
    let answer = daemon.post(&path("/v1/connections", &send.id, "/messages"), &body).await?;
    console.show(&answer, |_| Ok(format!("queued for {}", short_id(&send.id))))
}

/// Sends a message into many connections.
pub(super) async fn broadcast(broadcast: &Broadcast, console: &mut Console) -> Result<u8, Failure> {
    let daemon = Daemon::of(&broadcast.control)?;
    let select = ("select".to_owned(), broadcast.select.to_json());
    let body = payload(&broadcast.payload)?.into_iter().chain([select]).collect();
    let answer = daemon.post("/v1/broadcast", &Value::Object(body)).await?;
    let report: BroadcastRecord = answer.read()?;
    if console.json {
        console.print_bytes(&answer.body)?;
    }
    if report.matched == 0 {
        return Err(Failure::nothing_matches(&broadcast.select.to_string()));
    }
    if !console.json {
        console.print(&summarize(&report))?;
    }
    Ok(if report.queued == 0 { FAILED } else { DONE })
}

fn summarize(report: &BroadcastRecord) -> String {
    let queued = format!("queued for {} of {}", report.queued, count(report.matched, "connection"));
    match report.refused {
        0 => queued,
        refused => {
            format!("{queued}; {refused} refused it: their outbox was full, or they were closing")
        }
    }
}

/// Returns the key and value of the request body for the message.
fn payload(payload: &Payload) -> Result<Option<(String, Value)>, Failure> {
    let pair = match (&payload.text, &payload.binary_file) {
        (_, Some(file)) => ("binary", STANDARD.encode(bytes(file)?)),
        (Some(text), None) if text == "-" => {
            let text = String::from_utf8(bytes(Path::new("-"))?).map_err(|_| {
                let why = "standard input is not UTF-8: use --binary-file - to send it as a binary message";
                Failure::Usage(why.to_owned())
            })?;
            ("text", text)
        }
        (Some(text), None) => ("text", text.clone()),
        // Unreachable: the arguments require one of the two.
        (None, None) => return Ok(None),
    };
    Ok(Some((pair.0.to_owned(), json!(pair.1))))
}

fn bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    let wrap = |error| Failure::File { path: path.to_owned(), error };
    let read = match path == Path::new("-") {
        true => read_at_most(io::stdin().lock(), LONGEST),
        false => read_at_most(File::open(path).map_err(wrap)?, LONGEST),
    };
    read.map_err(|why| match why {
        NotRead::TooLarge(_) => {
            let path = path.display();
            Failure::Usage(format!("{path}: the message has more than {LONGEST} bytes"))
        }
        why => wrap(why.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made_of(
        text: Option<&str>,
        file: Option<&Path>,
    ) -> Result<Option<(String, Value)>, Failure> {
        payload(&Payload { text: text.map(str::to_owned), binary_file: file.map(Path::to_owned) })
    }

    #[test]
    fn a_text_goes_as_it_is_and_a_file_in_base64() {
        let text = made_of(Some("hé\"llo"), None).unwrap().unwrap();
        assert_eq!(text, ("text".to_owned(), json!("hé\"llo")));
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("frame.bin");
        std::fs::write(&file, [0, 255, 1]).unwrap();
        let binary = made_of(None, Some(&file)).unwrap().unwrap();
        assert_eq!(binary, ("binary".to_owned(), json!("AP8B")));
    }

    #[test]
    fn a_file_that_cannot_be_sent_is_bad_usage() {
        let missing = made_of(None, Some(Path::new("/nonexistent/frame"))).unwrap_err();
        assert!(matches!(missing, Failure::File { .. }));
        let directory = tempfile::tempdir().unwrap();
        let huge = directory.path().join("huge");
        File::create(&huge).unwrap().set_len(LONGEST + 1).unwrap();
        assert!(matches!(made_of(None, Some(&huge)), Err(Failure::Usage(_))));
    }

    #[test]
    fn a_broadcast_says_who_took_it() {
        let report =
            |matched, queued, refused| summarize(&BroadcastRecord { matched, queued, refused });
        assert_eq!(report(1, 1, 0), "queued for 1 of 1 connection");
        assert_eq!(
            report(9, 7, 2),
            "queued for 7 of 9 connections; 2 refused it: their outbox was full, or they were closing"
        );
    }
}
