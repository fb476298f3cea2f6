//! Counts endings over time, in SQL.
//!
//! The rows come in the order of time, so that a slot is found by comparing with where the next one
//! begins. For `Property::OVER_TIME` they come from an index that has all that is asked for.

use rusqlite::{Connection, Rows};

use super::super::timeline::Counting;
use super::super::{Property, Slots, Timeline};
use super::queries::columns;
use super::rows::text_of;

pub(super) fn count(
    connection: &Connection,
    slots: &Slots,
    by: Property,
) -> rusqlite::Result<Timeline> {
    let (ending, attempt, counted) = columns(by);
    let mut queries = vec![
        format!(
            "SELECT ended_at, CAST({ending} AS TEXT), 1 FROM endings \
             WHERE ended_at >= ?1 AND ended_at < ?2 ORDER BY ended_at"
        ),
        format!(
            "SELECT ended_at, CAST({attempt} AS TEXT), 1 FROM attempts \
             WHERE ended_at >= ?1 AND ended_at < ?2 ORDER BY ended_at"
        ),
    ];
    if let Some(counted) = counted {
        // A minute is included if it overlaps the period.
        queries.push(format!(
            "SELECT max(minute, ?1), {counted}, count FROM counted_attempts \
             WHERE minute >= substr(?1, 1, 16) AND minute < ?2 ORDER BY minute"
        ));
    }
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
        let Some(value) = row.get_ref(1)?.as_str_or_null()? else { continue };
        let count = row.get::<_, i64>(2)?.max(0) as u64;
        counting.add(slot, value, count);
    }
    Ok(())
}
