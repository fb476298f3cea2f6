//! What `top` asks of the daemon.

use std::time::{Duration, Instant, SystemTime};

use http::StatusCode;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::figures::Figures;
use super::filter::Wanted;
use super::input::{Input, News};
use super::sheet::Sheet;
use crate::contract::{ConnectionRecord, EndingPageRecord, EndingRecord, EventRecord};
use crate::explanation;
use crate::explanation::wording::short_id;
use crate::surfaces::cli::api::{Daemon, path};
use crate::surfaces::cli::endings;
use crate::surfaces::cli::events::{Reader, SILENCE};
use crate::surfaces::cli::failure::Failure;

/// Endings are shown this often, however many come.
const GATHER: Duration = Duration::from_millis(250);

/// Of the endings of one such time only the newest are shown.
const GATHERED: usize = 200;

/// The number of endings that are shown before any comes.
const EARLIER: usize = 50;

/// How long to wait before a stream is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Asks for the status, the figures and the list.
pub(super) async fn news(daemon: &Daemon, wanted: Wanted) -> Result<News, Failure> {
    let target = wanted.target();
    let (status, metrics, page) =
        tokio::try_join!(daemon.get("/v1/status"), daemon.get("/metrics"), async {
            Ok(daemon.get(&target).await)
        })?;
    let page = match page {
        Ok(answer) => Ok(answer.read()?),
        // The filter means nothing to the daemon.
        Err(Failure::Refused { problem, .. })
            if problem.status == StatusCode::BAD_REQUEST.as_u16() =>
        {
            Err(problem.detail.into_owned())
        }
        Err(failure) => return Err(failure),
    };
    let figures = Figures::read(&String::from_utf8_lossy(&metrics.body));
    Ok(News { status: status.read()?, figures, page, wanted, at: Instant::now() })
}

/// Returns all of a connection, or how it ended meanwhile.
pub(super) async fn show(daemon: &Daemon, id: &str) -> Input {
    look_up(daemon, id, |connection| Sheet::Details(Box::new(connection))).await
}

/// Returns the state of a connection, or how it ended meanwhile.
pub(super) async fn why(daemon: &Daemon, id: &str) -> Input {
    look_up(daemon, id, |connection| Sheet::Explanation(explanation::of_connection(&connection)))
        .await
}

/// Returns a sheet of a connection, or how it ended meanwhile.
async fn look_up(
    daemon: &Daemon,
    id: &str,
    sheet: fn(ConnectionRecord<'static>) -> Sheet,
) -> Input {
    told(async {
        if let Some(answer) = daemon.find(&path("/v1/connections", id, "")).await? {
            return Ok(Input::Opened(sheet(answer.read()?)));
        }
        let answer = daemon.get(&path("/v1/endings", id, "")).await?;
        Ok(Input::Opened(Sheet::of_ending(&answer.read()?, SystemTime::now())))
    })
    .await
}

/// Asks for a Close, without waiting for the ending.
pub(super) async fn close(daemon: &Daemon, id: &str) -> Input {
    told(async {
        let body = json!({"code": 1000, "reason": "", "wait": false});
        let target = path("/v1/connections", id, "/close");
        let answer = daemon.post(&target, &body).await?;
        Ok(Input::Told(match answer.status {
            StatusCode::ACCEPTED => format!("{} is closing", short_id(id)),
            _ => endings::line(&answer.read()?, SystemTime::now()),
        }))
    })
    .await
}

async fn told(asked: impl Future<Output = Result<Input, Failure>>) -> Input {
    asked.await.unwrap_or_else(|failure| Input::Told(failure.to_string()))
}

/// Passes endings on as they come, after those that came before; tries again when the stream breaks,
/// until it is dropped.
pub(super) async fn follow(daemon: &Daemon, inputs: mpsc::Sender<Input>) {
    loop {
        if let Err(failure) = follow_once(daemon, &inputs).await {
            let _ = inputs.send(Input::Told(failure.to_string())).await;
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

async fn follow_once(daemon: &Daemon, inputs: &mpsc::Sender<Input>) -> Result<(), Failure> {
    let mut lines = daemon.stream("/v1/events?types=ended,open_failed", None).await?;
    let earlier = daemon.get(&format!("/v1/endings?limit={EARLIER}")).await?;
    let earlier: EndingPageRecord<'static> = earlier.read()?;
    let mut gathered: Vec<EndingRecord<'static>> = earlier.endings.into_iter().rev().collect();
    let mut reader = Reader::default();
    loop {
        if inputs.send(Input::Ended(std::mem::take(&mut gathered))).await.is_err() {
            return Ok(());
        }
        let first = lines.next(SILENCE).await?;
        gathered.extend(reader.read(&first).and_then(|event| ending(&event.data)));
        let end = tokio::time::Instant::now() + GATHER;
        let gathering = async {
            loop {
                let line = lines.next(SILENCE).await?;
                gathered.extend(reader.read(&line).and_then(|event| ending(&event.data)));
                if gathered.len() > 2 * GATHERED {
                    gathered.drain(..GATHERED);
                }
            }
        };
        tokio::select! {
            broken = gathering => return broken,
            () = sleep_until(end) => {}
        }
    }
}

fn ending(data: &str) -> Option<EndingRecord<'static>> {
    match serde_json::from_str::<EventRecord<'static>>(data) {
        Ok(EventRecord::Ended { ending } | EventRecord::OpenFailed { ending }) => Some(*ending),
        _ => None,
    }
}
