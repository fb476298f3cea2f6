//! `why`: how a connection ended, whose deed it was, and what to do about it.

mod closing;
mod evidence;
mod facts;
mod meaning;
mod remedy;
mod standing;
mod story;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use super::api::{Answer, Daemon, path, query};
use super::arguments::Why;
use super::console::Console;
use super::endings;
use super::exit::DONE;
use super::failure::Failure;
use super::table::wrap;
use super::words::{count, lasting, safe, short_id};
use crate::contract::{ConnectionPage, ConnectionRecord, EndingPageRecord, EndingRecord};
use crate::vocabulary::ConnectionName;

use standing::Standing;
use story::Story;

/// The newest ending is told whole, and so many before it in one line each.
const EARLIER: usize = 5;

/// Tells how the connection, or the connections, that a word means came to their end.
pub(super) async fn why(why: &Why, console: &mut Console) -> Result<u8, Failure> {
    let daemon = Daemon::of(&why.control)?;
    let word = why.word.as_str();
    if word.parse::<ConnectionName>().is_ok() {
        if let Some(answer) = daemon.find(&path("/v1/endings", word, "")).await? {
            return tell_one(&answer, console);
        }
        if let Some(answer) = daemon.find(&path("/v1/connections", word, "")).await? {
            return tell_live(&answer, console);
        }
    }
    if is_address(word)
        && let Some((answer, page)) = newest(&daemon, "peer", word).await?
    {
        return tell_newest(word, &answer, &page, &[], console);
    }
    let ended = newest(&daemon, "subject", word).await?;
    let live = live(&daemon, word).await?;
    match (ended, live) {
        (Some((answer, page)), (_, live)) => {
            tell_newest(word, &answer, &page, &live.connections, console)
        }
        (None, (answer, live)) if !live.connections.is_empty() => {
            tell_all_live(word, &answer, &live.connections, console)
        }
        (None, _) => Err(Failure::Undone(unknown(word))),
    }
}

/// Tells whether a word can be what a record has as its peer.
fn is_address(word: &str) -> bool {
    let unbracketed = word.strip_prefix('[').and_then(|word| word.strip_suffix(']'));
    word.parse::<SocketAddr>().is_ok()
        || unbracketed.unwrap_or(word).parse::<IpAddr>().is_ok()
        || word.starts_with("unix:")
}

async fn newest(
    daemon: &Daemon,
    by: &'static str,
    word: &str,
) -> Result<Option<(Answer, EndingPageRecord<'static>)>, Failure> {
    let pairs = [(by, Some(word.to_owned())), ("limit", Some((EARLIER + 1).to_string()))];
    let answer = daemon.get(&format!("/v1/endings{}", query(pairs))).await?;
    let page: EndingPageRecord<'static> = answer.read()?;
    Ok((!page.endings.is_empty()).then_some((answer, page)))
}

async fn live(
    daemon: &Daemon,
    subject: &str,
) -> Result<(Answer, ConnectionPage<'static>), Failure> {
    let pairs = [("subject", Some(subject.to_owned())), ("limit", Some(EARLIER.to_string()))];
    let answer = daemon.get(&format!("/v1/connections{}", query(pairs))).await?;
    let page = answer.read()?;
    Ok((answer, page))
}

fn tell_one(answer: &Answer, console: &mut Console) -> Result<u8, Failure> {
    console.show(answer, |look| {
        let ending: EndingRecord<'static> = answer.read()?;
        Ok(Story::of(&ending, SystemTime::now()).draw(look))
    })
}

fn tell_live(answer: &Answer, console: &mut Console) -> Result<u8, Failure> {
    console.show(answer, |look| {
        let connection: ConnectionRecord<'static> = answer.read()?;
        Ok(Standing::of(&connection).draw(look))
    })
}

fn tell_newest(
    word: &str,
    answer: &Answer,
    page: &EndingPageRecord<'_>,
    live: &[ConnectionRecord<'_>],
    console: &mut Console,
) -> Result<u8, Failure> {
    // A page that is handed over is not empty.
    let Some((newest, earlier)) = page.endings.split_first() else { return Ok(DONE) };
    console.show(answer, |look| {
        let now = SystemTime::now();
        let mut said = Story::of(newest, now).draw(look);
        if !earlier.is_empty() {
            said.push_str(&format!("\n\nBefore that, {} ended like this:", safe(word)));
            for ending in earlier.iter().take(EARLIER) {
                said.push_str(&format!("\n  {}", wrap(&endings::line(ending, now), look)));
            }
        }
        if !live.is_empty() {
            said.push_str(&format!("\n\n{}", open_now(word, live)));
        }
        Ok(said)
    })
}

fn tell_all_live(
    word: &str,
    answer: &Answer,
    live: &[ConnectionRecord<'_>],
    console: &mut Console,
) -> Result<u8, Failure> {
    console.show(answer, |look| {
        Ok(match live {
            [connection] => Standing::of(connection).draw(look),
            several => open_now(word, several),
        })
    })
}

/// Names the connections of a subject that have not ended.
fn open_now(word: &str, live: &[ConnectionRecord<'_>]) -> String {
    let number = match live.len() {
        // There may be more than were asked for.
        EARLIER => format!("at least {EARLIER} connections"),
        number => count(number as u64, "connection"),
    };
    let each = live.iter().map(|connection| {
        let open = lasting(connection.open_ms);
        format!("\n  {}  {} for {open}", short_id(&connection.id), safe(&connection.state))
    });
    let is = if live.len() == 1 { "has not ended" } else { "have not ended" };
    format!("{number} of {} {is}:{}", safe(word), each.collect::<String>())
}

fn unknown(word: &str) -> String {
    format!(
        "nothing is known of {word:?}: no connection has this id, and none is recorded of such a \
         peer or subject; `lastword endings` lists what is recorded, `lastword ls` what is open \
         (an id has at least its last 12 digits)"
    )
}
