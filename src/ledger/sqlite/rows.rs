//! The rows that are written, with the names and the JSON of the contract.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Statement, params};

use super::attempts::Group;
use super::networks::Sizes;
use crate::contract::{EndingRecord, OpenedRecord, OriginRecord};
use crate::protocol::classification;
use crate::vocabulary::timestamp;
use crate::vocabulary::{
    ConnectionId, ConnectionOpened, Direction, Ending, Fault, Kind, Network, Origin, Outcome,
    RevocationChange, TransportEnd,
};

/// The contents of one transaction.
#[derive(Default)]
pub(super) struct Plan {
    /// The last sequence number assigned.
    pub(super) sequence: u64,
    pub(super) opened: Vec<OpenRow>,
    /// Rows of connections that are no longer open.
    pub(super) closed: Vec<u64>,
    pub(super) endings: Vec<EndingRow>,
    pub(super) attempts: Vec<EndingRow>,
    pub(super) counts: Vec<(Group, u64)>,
    /// In the order in which they were made.
    pub(super) revocations: Vec<RevocationChange>,
}

/// An opened connection and its sequence number.
pub(super) struct OpenRow {
    pub(super) sequence: u64,
    pub(super) opened: Arc<ConnectionOpened>,
}

/// An ending and its sequence number.
pub(super) struct EndingRow {
    pub(super) sequence: u64,
    pub(super) ending: Arc<Ending>,
}

impl OpenRow {
    pub(super) const INSERT: &str = "INSERT INTO open_connections \
         (sequence, run, id, opened_at, record, network) VALUES (?, ?, ?, ?, ?, ?)";

    pub(super) fn insert(&self, statement: &mut Statement<'_>, run: i64) -> rusqlite::Result<()> {
        let record = OpenedRecord::from(&*self.opened);
        let opened_at = text_of(self.opened.opened_at);
        statement.execute(params![
            number(self.sequence),
            run,
            record.id,
            opened_at,
            record.to_json(),
            Network::of(&self.opened.origin).to_string(),
        ])?;
        Ok(())
    }
}

impl EndingRow {
    pub(super) const INSERT_ENDING: &str = "INSERT INTO endings \
         (sequence, id, ended_at, kind, fault, cause, close_code, route, subject, peer, path, \
         user_agent, record, network, size) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

    pub(super) const INSERT_ATTEMPT: &str = "INSERT INTO attempts \
         (sequence, id, ended_at, open_failure, fault, cause, route, subject, peer, path, \
         user_agent, size, record) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

    /// Inserts the ending, and counts it for its network.
    pub(super) fn insert_ending(
        &self,
        statement: &mut Statement<'_>,
        sizes: &mut Sizes,
    ) -> rusqlite::Result<()> {
        let network = Network::of(&self.ending.origin).to_string();
        let record = EndingRecord::from(&*self.ending);
        insert_ending(statement, self.sequence, &record, Some(network), sizes)
    }

    /// Inserts the attempt; returns an upper bound of the row's size, including indexes and its
    /// share of the pages.
    pub(super) fn insert_attempt(&self, statement: &mut Statement<'_>) -> rusqlite::Result<u64> {
        let record = EndingRecord::from(&*self.ending);
        let json = record.to_json();
        let origin = &record.origin;
        // At worst a third of each page is empty: two rows of 1.4 KiB in 4 KiB.
        let size = size_of_row(&record, &json) * 3 / 2;
        statement.execute(params![
            number(self.sequence),
            record.id,
            text_of(record.ended_at),
            record.open_failure,
            record.fault,
            record.cause,
            origin.route,
            origin.subject,
            origin.peer,
            origin.path,
            origin.user_agent,
            size as i64,
            json,
        ])?;
        Ok(size as u64)
    }
}

fn insert_ending(
    statement: &mut Statement<'_>,
    sequence: u64,
    record: &EndingRecord<'_>,
    network: Option<String>,
    sizes: &mut Sizes,
) -> rusqlite::Result<()> {
    let origin = &record.origin;
    let json = record.to_json();
    let (sequence, size) = (number(sequence), size_of_row(record, &json) as i64);
    statement.execute(params![
        sequence,
        record.id,
        text_of(record.ended_at),
        record.kind,
        record.fault,
        record.cause,
        record.close_code,
        origin.route,
        origin.subject,
        origin.peer,
        origin.path,
        origin.user_agent,
        json,
        network,
        size,
    ])?;
    if let Some(network) = network {
        sizes.add(network, sequence, size);
    }
    Ok(())
}

/// Estimates the size of a row, including its indexes.
fn size_of_row(record: &EndingRecord<'_>, json: &str) -> usize {
    let OriginRecord { route, subject, peer, path, user_agent, .. } = &record.origin;
    let texts = [route, subject, peer, path, user_agent];
    json.len() + texts.into_iter().flatten().map(|text| text.len()).sum::<usize>() + 300
}

/// The row of a connection that was open when its process died.
pub(super) struct Leftover {
    pub(super) id: String,
    pub(super) opened_at: String,
    pub(super) record: String,
    /// `None` in a row of an older version.
    pub(super) network: Option<String>,
}

impl Leftover {
    /// Writes its ending, which lies somewhere between `alive_at` and `now`, and counts it for its
    /// network.
    pub(super) fn insert_ending(
        &self,
        statement: &mut Statement<'_>,
        sequence: u64,
        (alive_at, now): (SystemTime, SystemTime),
        sizes: &mut Sizes,
    ) -> rusqlite::Result<()> {
        let opened = OpenedRecord::from_json(&self.record).ok();
        let opened_at =
            opened.as_ref().map_or_else(|| time_of(&self.opened_at), |opened| opened.opened_at);
        // `opened_at` is the later one only if the clock was set back.
        let ended_at = alive_at.max(opened_at);
        let outbound =
            opened.as_ref().is_some_and(|it| it.origin.direction == Direction::Outbound.as_str());
        let direction = if outbound { Direction::Outbound } else { Direction::Inbound };
        let template = died(direction, opened_at, ended_at, now);
        let mut ending = EndingRecord::from(&template);
        if let Some(OpenedRecord { node, version, origin, relay_peer, upstream, .. }) = opened {
            ending = EndingRecord { node, version, origin, relay_peer, upstream, ..ending };
        }
        ending.id = self.id.as_str().into();
        insert_ending(statement, sequence, &ending, self.network.clone(), sizes)
    }
}

/// Returns a template for the ending of a connection whose process died, without what its own
/// record supplies.
///
/// The state of its closing handshake is unknown, so `state` and `close_code` are null.
fn died(
    direction: Direction,
    opened_at: SystemTime,
    ended_at: SystemTime,
    now: SystemTime,
) -> Ending {
    let mut outcome = Outcome {
        fault: Fault::Local,
        transport_end: Some(TransportEnd::Unknown),
        detail: format!(
            "the process died between {}, when it was last known to be alive, and {}, when lastword \
             started again",
            text_of(ended_at),
            text_of(now)
        ),
        ..Outcome::of(Kind::ProcessDied)
    };
    classification::judge(&mut outcome, direction);
    Ending {
        id: ConnectionId::new(),
        node: "".into(),
        origin: Arc::new(Origin::new(direction)),
        relay_peer: None,
        opened_at,
        ended_at,
        open_for: ended_at.duration_since(opened_at).unwrap_or_default(),
        outcome,
        traffic: None,
        tcp: None,
    }
}

/// Formats a time as in the contract, clamped to the years 1970 to 9999.
pub(super) fn text_of(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time.clamp(UNIX_EPOCH, timestamp::last())).to_string()
}

/// Formats a minute since 1970 in the same way.
pub(super) fn text_of_minute(minute: u64) -> String {
    let seconds = Duration::from_secs(minute.saturating_mul(60));
    text_of(UNIX_EPOCH.checked_add(seconds).unwrap_or(UNIX_EPOCH))
}

pub(super) fn time_of(text: &str) -> SystemTime {
    humantime::parse_rfc3339(text).unwrap_or(UNIX_EPOCH)
}

/// Converts to SQLite's signed integers; the numbers here stay far below its largest.
pub(super) fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
