//! `why`: how a connection ended, whose fault it was, and what to do about it.

use std::time::SystemTime;

use super::api::{Answer, Daemon, path, query};
use super::arguments::Why;
use super::console::{Console, Look};
use super::endings;
use super::exit::DONE;
use super::failure::Failure;
use super::table::{draw_pairs, wrap};
use crate::contract::{
    ConnectionPage, ConnectionRecord, EndingPageRecord, EndingRecord, ExplanationRecord,
};
use crate::explanation;
use crate::explanation::wording::{count, lasting, safe, short_id};
use crate::vocabulary::{ConnectionName, PeerFilter};

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
    let by: &[&'static str] =
        if PeerFilter::parse(word).is_address() { &["peer", "subject"] } else { &["subject"] };
    for by in by {
        let ended = newest(&daemon, by, word).await?;
        let (live_answer, live) = live(&daemon, by, word).await?;
        match ended {
            Some((answer, page)) => {
                return show_newest(word, &answer, &page, &live.connections, console);
            }
            None if !live.connections.is_empty() => {
                return show_all_live(word, &live_answer, &live.connections, console);
            }
            None => {}
        }
    }
    Err(Failure::Undone(unknown(word)))
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
    by: &'static str,
    word: &str,
) -> Result<(Answer, ConnectionPage<'static>), Failure> {
    let pairs = [(by, Some(word.to_owned())), ("limit", Some(EARLIER.to_string()))];
    let answer = daemon.get(&format!("/v1/connections{}", query(pairs))).await?;
    let page = answer.read()?;
    Ok((answer, page))
}

fn show_ending(answer: &Answer, console: &mut Console) -> Result<u8, Failure> {
    console.show(answer, |look| {
        let ending: EndingRecord<'static> = answer.read()?;
        Ok(draw(&explanation::of_ending(&ending, SystemTime::now()), look))
    })
}

fn show_live(answer: &Answer, console: &mut Console) -> Result<u8, Failure> {
    console.show(answer, |look| {
        let connection: ConnectionRecord<'static> = answer.read()?;
        Ok(draw(&explanation::of_connection(&connection), look))
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
        let mut text = draw(&explanation::of_ending(newest, now), look);
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
            [connection] => draw(&explanation::of_connection(connection), look),
            several => open_now(word, several),
        })
    })
}

/// Formats an explanation for the terminal or pipe.
pub(super) fn draw(explanation: &ExplanationRecord, look: Look) -> String {
    let pairs: Vec<(String, String)> = explanation
        .paragraphs
        .iter()
        .map(|paragraph| (paragraph.topic.clone(), paragraph.text.clone()))
        .collect();
    format!("{}\n\n{}", wrap(&explanation.headline, look), draw_pairs(&pairs, look))
}

/// Lists the connections of a subject or peer that are still open.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explanation::tests::{all, explained};

    #[test]
    fn an_explanation_fits_any_terminal() {
        for (title, ending) in all() {
            let story = explained(&ending);
            for width in [40, 80, 200] {
                let look = Look { width: Some(width), colours: false, unicode: true };
                let drawn = draw(&story, look);
                let widest = drawn.lines().map(|line| line.chars().count()).max().unwrap();
                assert!(widest <= width.min(100), "{title} at {width}:\n{drawn}");
            }
        }
    }
}
