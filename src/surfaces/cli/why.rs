//! `why`: how a connection ended, whose fault it was, and what to do about it.

mod closing;
mod evidence;
mod facts;
mod live_status;
mod meaning;
mod remedy;
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
use super::formatting::{count, lasting, safe, short_id};
use super::table::wrap;
use crate::contract::{ConnectionPage, ConnectionRecord, EndingPageRecord, EndingRecord};
use crate::vocabulary::ConnectionName;

use live_status::LiveStatus;
use story::Story;

/// The newest ending is explained in full; this many earlier ones get one line each.
const EARLIER: usize = 5;

/// Explains how the connections that match an id, a peer or a subject ended.
pub(super) async fn why(why: &Why, console: &mut Console) -> Result<u8, Failure> {
    let daemon = Daemon::of(&why.control)?;
    let word = why.word.as_str();
    if word.parse::<ConnectionName>().is_ok() {
        if let Some(answer) = daemon.find(&path("/v1/endings", word, "")).await? {
            return show_ending(&answer, console);
        }
        if let Some(answer) = daemon.find(&path("/v1/connections", word, "")).await? {
            return show_live(&answer, console);
        }
    }
    if is_address(word)
        && let Some((answer, page)) = newest(&daemon, "peer", word).await?
    {
        return show_newest(word, &answer, &page, &[], console);
    }
    let ended = newest(&daemon, "subject", word).await?;
    let live = live(&daemon, word).await?;
    match (ended, live) {
        (Some((answer, page)), (_, live)) => {
            show_newest(word, &answer, &page, &live.connections, console)
        }
        (None, (answer, live)) if !live.connections.is_empty() => {
            show_all_live(word, &answer, &live.connections, console)
        }
        (None, _) => Err(Failure::Undone(unknown(word))),
    }
}

/// Returns whether the text could be a recorded peer.
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

fn show_ending(answer: &Answer, console: &mut Console) -> Result<u8, Failure> {
    console.show(answer, |look| {
        let ending: EndingRecord<'static> = answer.read()?;
        Ok(Story::of(&ending, SystemTime::now()).draw(look))
    })
}

fn show_live(answer: &Answer, console: &mut Console) -> Result<u8, Failure> {
    console.show(answer, |look| {
        let connection: ConnectionRecord<'static> = answer.read()?;
        Ok(LiveStatus::of(&connection).draw(look))
    })
}

fn show_newest(
    word: &str,
    answer: &Answer,
    page: &EndingPageRecord<'_>,
    live: &[ConnectionRecord<'_>],
    console: &mut Console,
) -> Result<u8, Failure> {
    // The caller has checked that the page is not empty.
    let Some((newest, earlier)) = page.endings.split_first() else { return Ok(DONE) };
    console.show(answer, |look| {
        let now = SystemTime::now();
        let mut text = Story::of(newest, now).draw(look);
        if !earlier.is_empty() {
            text.push_str(&format!("\n\nBefore that, {} ended like this:", safe(word)));
            for ending in earlier.iter().take(EARLIER) {
                text.push_str(&format!("\n  {}", wrap(&endings::line(ending, now), look)));
            }
        }
        if !live.is_empty() {
            text.push_str(&format!("\n\n{}", open_now(word, live)));
        }
        Ok(text)
    })
}

fn show_all_live(
    word: &str,
    answer: &Answer,
    live: &[ConnectionRecord<'_>],
    console: &mut Console,
) -> Result<u8, Failure> {
    console.show(answer, |look| {
        Ok(match live {
            [connection] => LiveStatus::of(connection).draw(look),
            several => open_now(word, several),
        })
    })
}

/// Lists the connections of a subject that are still open.
fn open_now(word: &str, live: &[ConnectionRecord<'_>]) -> String {
    let number = match live.len() {
        // The request was limited to this many.
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
        "no connection is known with the id, peer or subject {word:?}: `lastword endings` lists \
         recorded endings, `lastword ls` open connections (give at least the last 12 digits of an \
         id)"
    )
}
