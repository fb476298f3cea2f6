//! `probe --listen`: serves cases to clients, and prints what each does.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::TcpListener;

use super::painting::paint;
use crate::probe::{CLIENT_CASES, Results, ServeOptions, Tested, serve};
use crate::surfaces::cli::arguments::Probe;
use crate::surfaces::cli::console::Console;
use crate::surfaces::cli::exit::{DONE, FAILED};
use crate::surfaces::cli::failure::Failure;

/// Serves until it is interrupted, then prints a summary.
pub(super) async fn listen(
    address: SocketAddr,
    probe: &Probe,
    console: &mut Console,
) -> Result<u8, Failure> {
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|error| Failure::Listen { address, error })?;
    let address = listener.local_addr().map_err(|error| Failure::Listen { address, error })?;
    console.print_note(&format!(
        "open http://{address}/ in a browser, or let a client open ws://{address}/case/ID, where ID is one of the \
         {} in http://{address}/cases.json; Ctrl-C ends this with a summary",
        CLIENT_CASES.len()
    ));
    let results = Arc::new(Mutex::new(Results::default()));
    let (json, look) = (probe.json, console.look);
    let (lines, mut printed) = tokio::sync::mpsc::channel(64);
    let told = move |tested: &Tested| {
        let line = match json {
            true => tested.to_record().to_json(),
            false => {
                let verdict = paint(tested.judgement.verdict, look);
                let agent = &tested.agent[..tested.agent.floor_char_boundary(LONGEST_AGENT)];
                format!("{verdict}  {}  [{agent}]", tested.details())
            }
        };
        // A terminal that is too slow misses a line; the report has all.
        let _ = lines.try_send(line);
    };
    let options = ServeOptions { wait: probe.timeout };
    let mut serving = std::pin::pin!(serve(listener, options, Arc::clone(&results), told));
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        tokio::select! {
            () = &mut serving => break,
            _ = &mut interrupted => break,
            Some(line) = printed.recv() => console.print(&line)?,
        }
    }
    let results = results.lock();
    if !json {
        console.print(&format!("\n{}", results.to_text().trim_end()))?;
    }
    Ok(if results.has_failure() { FAILED } else { DONE })
}

/// How much of a User-Agent stands behind each result, in bytes; the summary has all of it.
const LONGEST_AGENT: usize = 60;
