//! The queries of the archive, in SQL.

use std::collections::HashMap;
use std::time::SystemTime;

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use super::super::{Count, EndingFilter, EndingPage, Property, Replay, Stored, Summary};
use super::rows::{number, text_of};
use crate::vocabulary::{ConnectionName, PeerFilter, Spelling};

/// The maximum number of rows in an answer.
const MOST: usize = 1000;

/// The memory that the values of a summary may take, in bytes; beyond it, the rarest are forgotten.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// What a value takes in memory besides its text, in bytes.
const PER_VALUE: usize = 64;

const TABLES: [&str; 2] = ["endings", "attempts"];

pub(super) fn ending(
    connection: &Connection,
    name: ConnectionName,
) -> rusqlite::Result<Option<Stored>> {
    let mut newest: Option<Stored> = None;
    for table in TABLES {
        let mut query = connection.prepare_cached(&format!(
            "SELECT sequence, record, id FROM {table} WHERE substr(id, 25) = ? \
             ORDER BY sequence DESC"
        ))?;
        let mut rows = query.query([name.short()])?;
        while let Some(row) = rows.next()? {
            let id: String = row.get(2)?;
            let named = id.parse().is_ok_and(|id| name.names(id));
            let stored = stored(row, table)?;
            let newer = newest.as_ref().is_none_or(|newest| newest.sequence < stored.sequence);
            if named && newer {
                newest = Some(stored);
                break;
            }
        }
    }
    Ok(newest)
}

pub(super) fn endings(
    connection: &Connection,
    filter: &EndingFilter,
) -> rusqlite::Result<EndingPage> {
    let limit = filter.limit.min(MOST);
    let mut found = Vec::new();
    for table in TABLES {
        let Some((conditions, values)) = conditions(filter, table) else { continue };
        let mut query = connection.prepare_cached(&format!(
            "SELECT sequence, record FROM {table} WHERE {conditions} \
             ORDER BY sequence DESC LIMIT {}",
            limit + 1
        ))?;
        let rows = query.query_and_then(params_from_iter(values), |row| stored(row, table))?;
        for row in rows {
            found.push(row?);
        }
    }
    found.sort_by_key(|stored| std::cmp::Reverse(stored.sequence));
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|last| last.sequence);
    Ok(EndingPage { endings: found, next })
}

/// Returns the WHERE clause for this table and its values; `None` if no row can match.
fn conditions(filter: &EndingFilter, table: &str) -> Option<(String, Vec<Value>)> {
    let attempts = table == "attempts";
    let EndingFilter {
        since,
        until,
        kind,
        fault,
        cause,
        code,
        route,
        subject,
        peer,
        path,
        before,
        limit: _,
    } = filter;
    let mut conditions = vec!["1".to_owned()];
    let mut values: Vec<Value> = Vec::new();
    let mut add = |condition: &str, asked: &[Value]| {
        conditions.push(condition.to_owned());
        values.extend_from_slice(asked);
    };
    match kind.as_deref() {
        Some("open_failed") if attempts => {}
        Some(_) if attempts => return None,
        Some(kind) => add("kind = ?", &[kind.to_owned().into()]),
        None => {}
    }
    match code {
        Some(_) if attempts => return None,
        Some(code) => add("close_code = ?", &[i64::from(*code).into()]),
        None => {}
    }
    // Commit order is nearly time order, so the index on time yields the range of sequence numbers.
    // The plus keeps SQLite from reading the whole period by that index and sorting it.
    if let Some(since) = since {
        let since = Value::from(text_of(*since));
        let first = first_since(table, "?");
        add(&format!("+ended_at >= ? AND sequence >= ({first})"), &[since.clone(), since]);
    }
    if let Some(until) = until {
        let until = Value::from(text_of(*until));
        let last = last_until(table, "?");
        add(&format!("+ended_at < ? AND sequence <= ({last})"), &[until.clone(), until]);
    }
    if let Some(fault) = fault {
        add("fault = ?", &[fault.as_str().to_owned().into()]);
    }
    if let Some(cause) = cause {
        add("cause = ?", &[cause.as_str().to_owned().into()]);
    }
    for (column, asked) in [("route", route), ("subject", subject), ("path", path)] {
        if let Some(asked) = asked {
            add(&format!("{column} = ?"), &[asked.clone().into()]);
        }
    }
    if let Some(peer) = peer {
        let (spellings, asked) = of_peer(peer);
        add(&spellings, &asked);
    }
    if let Some(before) = before {
        add("sequence < ?", &[number(*before).into()]);
    }
    Some((conditions.join(" AND "), values))
}

/// Returns the query for the lowest sequence number since a time.
///
/// Without the plus, SQLite would read the rows themselves from the oldest on, until the first that
/// matches.
pub(super) fn first_since(table: &str, time: &str) -> String {
    format!("SELECT min(+sequence) FROM {table} WHERE ended_at >= {time}")
}

/// Returns the query for the highest sequence number before a time.
pub(super) fn last_until(table: &str, time: &str) -> String {
    format!("SELECT max(+sequence) FROM {table} WHERE ended_at < {time}")
}

/// Returns the condition for a peer and its values. The index on peers serves each part.
fn of_peer(peer: &str) -> (String, Vec<Value>) {
    let mut parts = Vec::new();
    let mut values: Vec<Value> = Vec::new();
    for spelling in PeerFilter::parse(peer).spellings() {
        match spelling {
            Spelling::Exactly(text) => {
                parts.push("peer = ?");
                values.push(text.clone().into());
            }
            Spelling::Between(start, end) => {
                values.extend([start.clone(), after_prefix(start)].map(Value::from));
                if end.is_empty() {
                    parts.push("(peer >= ? AND peer < ?)");
                } else {
                    parts.push("(peer >= ? AND peer < ? AND substr(peer, -length(?)) = ?)");
                    values.extend([end.clone(), end.clone()].map(Value::from));
                }
            }
        }
    }
    (format!("({})", parts.join(" OR ")), values)
}

/// Returns the end of the range of texts that begin like this, which is itself outside of it.
fn after_prefix(start: &str) -> String {
    let mut end = start.to_owned();
    // A prefix ends with ':' or '%'.
    if let Some(last) = end.pop() {
        end.push(char::from_u32(u32::from(last) + 1).unwrap_or(char::MAX));
    }
    end
}

/// Returns the expressions of a property in `endings`, `attempts` and `counted_attempts`; counted
/// attempts do not keep every property.
pub(super) const fn columns(by: Property) -> (&'static str, &'static str, Option<&'static str>) {
    match by {
        Property::Kind => ("kind", "'open_failed'", Some("'open_failed'")),
        Property::Fault => ("fault", "fault", Some("fault")),
        Property::Cause => ("cause", "cause", Some("'none'")),
        Property::Code => ("close_code", "NULL", Some("NULL")),
        Property::Route => ("route", "route", Some("NULL")),
        Property::UserAgent => ("user_agent", "user_agent", None),
    }
}

pub(super) fn summary(
    connection: &Connection,
    since: Option<SystemTime>,
    until: Option<SystemTime>,
    by: Property,
) -> rusqlite::Result<Summary> {
    let (ending, attempt, counted) = columns(by);
    let is_indexed = Property::OVER_TIME.contains(&by);
    let period = |table: &str| {
        if is_indexed {
            return "ended_at >= ?1 AND ended_at < ?2".to_owned();
        }
        // See `conditions` for the plus and the bound on the sequence.
        format!(
            "+ended_at >= ?1 AND +ended_at < ?2 \
             AND sequence >= ({})",
            first_since(table, "?1")
        )
    };
    let mut queries = vec![
        format!("SELECT CAST({ending} AS TEXT), 1 FROM endings WHERE {}", period("endings")),
        format!("SELECT CAST({attempt} AS TEXT), 1 FROM attempts WHERE {}", period("attempts")),
    ];
    if let Some(counted) = counted {
        // A minute is included if it overlaps the period.
        queries.push(format!(
            "SELECT {counted}, count FROM counted_attempts \
             WHERE minute >= substr(?1, 1, 16) AND minute < ?2"
        ));
    }
    let since = since.map_or_else(String::new, text_of);
    let until = until.map_or_else(|| "9999-12-31T24".to_owned(), text_of);
    let mut tally = Tally::default();
    for query in queries {
        let mut query = connection.prepare_cached(&query)?;
        let mut rows = query.query([&since, &until])?;
        while let Some(row) = rows.next()? {
            let count = row.get::<_, i64>(1)?.max(0) as u64;
            tally.add(row.get_ref(0)?.as_str_or_null()?, count);
        }
    }
    Ok(tally.finish())
}

/// Counts values as they are read. `GROUP BY` would sort all rows first, in a temporary file or in
/// memory.
#[derive(Default)]
struct Tally {
    values: HashMap<String, u64>,
    bytes: usize,
    without: u64,
    total: u64,
}

impl Tally {
    fn add(&mut self, value: Option<&str>, count: u64) {
        self.total += count;
        let Some(value) = value else {
            self.without += count;
            return;
        };
        if let Some(known) = self.values.get_mut(value) {
            *known += count;
            return;
        }
        self.values.insert(value.to_owned(), count);
        self.bytes += value.len() + PER_VALUE;
        // Clients choose their user agents, so there may be any number of values.
        let mut rare = 1;
        while self.bytes > MOST_BYTES {
            let mut bytes = 0;
            self.values.retain(|value, count| {
                let is_kept = *count > rare;
                bytes += if is_kept { value.len() + PER_VALUE } else { 0 };
                is_kept
            });
            self.bytes = bytes;
            rare *= 2;
        }
    }

    fn finish(self) -> Summary {
        let values = self.values.into_iter().map(|(value, count)| (Some(value), count));
        let without = (self.without > 0).then_some((None, self.without));
        let counts = values.chain(without).map(|(value, count)| Count { value, count });
        let mut counts: Vec<Count> = counts.collect();
        counts.sort_unstable_by(|a, b| b.count.cmp(&a.count).then_with(|| a.value.cmp(&b.value)));
        counts.truncate(MOST);
        Summary { counts, total: self.total }
    }
}

pub(super) fn after(
    connection: &Connection,
    sequence: u64,
    limit: usize,
) -> rusqlite::Result<Replay> {
    let (last, removed): (i64, i64) =
        connection.query_row("SELECT sequence, removed FROM ledger", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    let asked = number(sequence);
    let limit = limit.min(MOST);
    let mut endings = Vec::new();
    for table in TABLES {
        let mut query = connection.prepare_cached(&format!(
            "SELECT sequence, record FROM {table} WHERE sequence > ? ORDER BY sequence LIMIT ?"
        ))?;
        let rows = query.query_and_then([asked, limit as i64], |row| stored(row, table))?;
        for row in rows {
            endings.push(row?);
        }
    }
    endings.sort_by_key(|stored| stored.sequence);
    endings.truncate(limit);
    Ok(Replay { endings, gap: asked < removed || asked > last })
}

fn stored(row: &Row<'_>, table: &str) -> rusqlite::Result<Stored> {
    Ok(Stored {
        sequence: row.get::<_, i64>(0)?.max(0) as u64,
        attempt: table == "attempts",
        json: row.get(1)?,
    })
}
