//! `why` and the control API explain alike, and find what an address names.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use lastword::vocabulary::{Cause, CloseState, Fault, Kind, OpenFailure, TransportEnd};
use serde_json::{Value, json};

use super::PROGRAM;
use super::daemon::{only_one, told};
use super::records;
use crate::support::SOON;
use crate::support::daemon::Daemon;
use crate::support::raw_peer::RawPeer;

/// Returns endings with every word of the contract, by their ids.
fn samples() -> BTreeMap<String, Value> {
    // Long ago enough that "3 hours ago" holds throughout the test.
    let ended_at = SystemTime::now() - Duration::from_secs(3 * 3600 + 1800);
    let ended_at = humantime::format_rfc3339_millis(ended_at).to_string();
    let mut samples = BTreeMap::new();
    let mut add = |changes: &[(&str, Value)]| {
        let id = records::id(&format!("5b8f0a6d{:04}", samples.len()));
        let mut ending: Value = serde_json::from_str(&records::ending("5b8f0a6d4c17")).unwrap();
        ending["id"] = id.clone().into();
        ending["ended_at"] = ended_at.clone().into();
        for (name, value) in changes {
            ending[name] = value.clone();
        }
        samples.insert(id, ending);
    };
    let (close, hostile) = (json!({"code": 1000, "reason": "bye"}), "\u{1b}[2J\u{202e}\n\u{9b}");
    for kind in Kind::OF_CONNECTIONS {
        add(&[("kind", kind.as_str().into())]);
    }
    for failure in OpenFailure::ALL {
        let kind = ("kind", "open_failed".into());
        add(&[kind.clone(), ("open_failure", failure.as_str().into()), ("state", Value::Null)]);
        add(&[kind, ("open_failure", failure.as_str().into()), ("direction", "outbound".into())]);
    }
    for cause in Cause::ALL {
        let sent = [("first_close", "local".into()), ("close_sent", close.clone())];
        let [first, sent] = sent;
        add(&[("kind", "clean".into()), ("cause", cause.as_str().into()), first, sent]);
    }
    for (state, end) in CloseState::ALL.iter().cycle().zip(TransportEnd::ALL) {
        add(&[("state", state.as_str().into()), ("transport_end", end.as_str().into())]);
    }
    for fault in Fault::ALL {
        add(&[("fault", fault.as_str().into()), ("by", "api:ops".into())]);
    }
    add(&[("kind", "evaporated".into()), ("cause", "tide".into()), ("new_field", 7.into())]);
    add(&[("detail", hostile.into()), ("user_agent", hostile.into()), ("path", hostile.into())]);
    samples
}

/// Writes an explanation as the command does in a pipe.
fn written(explanation: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let pairs: Vec<(String, String)> = explanation["paragraphs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|paragraph| (text(&paragraph["topic"]), text(&paragraph["text"])))
        .collect();
    let longest = pairs.iter().map(|(topic, _)| topic.len()).max().unwrap();
    let lines = pairs.iter().map(|(topic, text)| format!("{topic:longest$}  {text}\n"));
    format!("{}\n\n{}", text(&explanation["headline"]), lines.collect::<String>())
}

async fn get(daemon: &Daemon, target: &str) -> (u16, Value) {
    let answer = daemon.get(target).await;
    (answer.head.status(), serde_json::from_str(&answer.body).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_explains_every_ending_in_the_words_of_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let daemon = Daemon::start(PROGRAM, &[&format!("ledger.path={path:?}")]).await;
    let samples = samples();
    let mut ledger = rusqlite::Connection::open(&path).unwrap();
    let changes = ledger.transaction().unwrap();
    for (sequence, (id, ending)) in samples.iter().enumerate() {
        let insert = "INSERT INTO endings (sequence, id, ended_at, kind, fault, cause, record) \
                      VALUES (?, ?, ?, ?, ?, ?, ?)";
        let word = |name: &str| ending[name].as_str().unwrap();
        let words = [id, word("ended_at"), word("kind"), word("fault"), word("cause")];
        let record = ending.to_string();
        let [id, ended_at, kind, fault, cause] = words;
        let row = rusqlite::params![sequence as i64 + 1, id, ended_at, kind, fault, cause, record];
        changes.execute(insert, row).unwrap();
    }
    changes.commit().unwrap();

    for (id, stored) in &samples {
        let (status, mut answer) = get(&daemon, &format!("/v1/endings/{id}?explain=true")).await;
        assert_eq!(status, 200, "{answer}");
        let explanation = answer.as_object_mut().unwrap().remove("explanation").unwrap();
        assert_eq!(&answer, stored, "the ending itself is as it was stored");
        assert_eq!(told(&daemon, &["why", id]).await, written(&explanation), "{stored}");
    }
    let id = samples.keys().next().unwrap();
    for plain in ["", "?explain=false"] {
        assert_eq!(
            get(&daemon, &format!("/v1/endings/{id}{plain}")).await,
            (200, samples[id].clone())
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_finds_what_is_open_from_there_and_what_has_ended() {
    let daemon = Daemon::start(PROGRAM, &[r#"listeners[0].listen="[::1]:0""#]).await;
    let open = RawPeer::connect(daemon.listener(), "/echo").await;
    let id = only_one(&daemon).await;
    let open_address = open.local_addr().to_string();

    for word in ["::1", "[::1]", "0:0:0:0:0:0:0:1", "::1%lo", &open_address] {
        let told = told(&daemon, &["why", word]).await;
        assert!(told.starts_with(&format!("{id} has not ended: it is open")), "{word}: {told}");
    }
    let (_, answer) = get(&daemon, &format!("/v1/connections/{id}?explain=true")).await;
    let explained = written(&answer["explanation"]);
    assert!(explained.starts_with(&format!("{id} has not ended: it is open")), "{explained}");
    assert_eq!(answer["id"].as_str().unwrap().rsplit('-').next(), Some(&*id));

    let mut lost = RawPeer::connect(daemon.listener(), "/echo").await;
    let lost_address = lost.local_addr().to_string();
    lost.fin().await;
    daemon.await_ending(|_| true, SOON).await;
    let both = told(&daemon, &["why", "::1"]).await;
    assert!(both.contains("closed_prematurely"), "{both}");
    assert!(both.contains("1 connection of ::1 has not ended:") && both.contains(&id), "{both}");
    let ended = told(&daemon, &["why", &lost_address.to_uppercase()]).await;
    assert!(ended.contains("closed_prematurely") && !ended.contains("has not ended"), "{ended}");

    let listed = told(&daemon, &["ls", "--peer", "::1"]).await;
    assert!(listed.contains(&id), "{listed}");
    let listed = told(&daemon, &["endings", "--peer", "[0::1]"]).await;
    assert!(listed.contains(&lost_address), "{listed}");
    for none in ["::2", "127.0.0.1", "[::1]:1"] {
        let (_, page) = get(&daemon, &format!("/v1/connections?peer={none}")).await;
        assert_eq!(page["connections"], json!([]), "{none}");
    }
}
