//! Counts endings over time, in SQL.
//!
//! The rows come from an index that has all that is asked for, in the order of time, so that a slot
//! is found by comparing with where the next one begins.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Rows};

use super::super::timeline::Counting;
use super::super::{Property, Slots, Timeline};
use super::rows::text_of;

pub(super) fn count(
    connection: &Connection,
    slots: &Slots,
    by: Property,
) -> rusqlite::Result<Timeline> {
    // The expression for each table; counted attempts do not keep every property.
    let (ending, attempt, counted) = match by {
        Property::Fault => ("fault", "fault", "fault"),
        Property::Cause => ("cause", "cause", "'none'"),
        // The others have no index: `Property::OVER_TIME`.
        Property::Kind | Property::Code | Property::Route | Property::UserAgent => {
            ("kind", "'open_failed'", "'open_failed'")
        }
    };
    let queries = [
        format!(
            "SELECT ended_at, {ending}, 1 FROM endings \
             WHERE ended_at >= ?1 AND ended_at < ?2 ORDER BY ended_at"
        ),
        format!(
            "SELECT ended_at, {attempt}, 1 FROM attempts \
             WHERE ended_at >= ?1 AND ended_at < ?2 ORDER BY ended_at"
        ),
        // A minute is included if it overlaps the period.
        format!(
            "SELECT max(minute, ?1), {counted}, count FROM counted_attempts \
             WHERE minute >= substr(?1, 1, 16) AND minute < ?2 ORDER BY minute"
        ),
    ];
    let mut counting = Counting::new(slots);
    let beginnings: Vec<String> = slots.beginnings().map(text_of).collect();
    for query in queries {
        let mut query = connection.prepare_cached(&query)?;
        let rows = query.query([text_of(slots.since()), text_of(slots.until())])?;
        add(rows, &beginnings, &mut counting)?;
    }
    Ok(counting.finish())
}

/// Adds rows of a time, a value and a number, in the order of time.
fn add(mut rows: Rows<'_>, beginnings: &[String], counting: &mut Counting) -> rusqlite::Result<()> {
    let mut slot = 0;
    while let Some(row) = rows.next()? {
        let at = row.get_ref(0)?.as_str()?;
        while beginnings.get(slot + 1).is_some_and(|next| at >= next.as_str()) {
            slot += 1;
        }
        let value = match row.get_ref(1)? {
            ValueRef::Text(_) => row.get_ref(1)?.as_str()?,
            // Only a damaged file has anything else.
            _ => "unknown",
        };
        let count = row.get::<_, i64>(2)?.max(0) as u64;
        counting.add(slot, value, count);
    }
    Ok(())
}
