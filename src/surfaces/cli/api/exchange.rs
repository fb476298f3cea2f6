//! HTTP over one connection per request, with hyper.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::address::Address;
use crate::surfaces::cli::failure::Failure;
use crate::transport::connect::{self, ConnectFacts, ConnectOptions, FailedConnect};
use crate::transport::socket::Transport;
use crate::transport::tls::Trust;
use crate::vocabulary::OpenFailure;

/// How long connecting may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// The maximum size of an answer, in bytes; a page of endings has a few hundred KiB.
const LONGEST_ANSWER: usize = 32 * 1024 * 1024;

/// The maximum length of a line of an event stream, in bytes.
const LONGEST_LINE: usize = 1024 * 1024;

/// Sends a request and reads its whole answer.
pub(super) async fn answer(
    address: &Address,
    request: Request<Full<Bytes>>,
    within: Duration,
) -> Result<(StatusCode, Bytes), Failure> {
    // The task of the HTTP connection is aborted with the set, after the answer was read.
    let mut tasks = JoinSet::new();
    let response = begin(address, request, within, &mut tasks).await?;
    let status = response.status();
    let body = read(address, response.into_body(), within).await?;
    Ok((status, body))
}

/// Sends a request and returns its answer as a stream, unless it is a refusal.
pub(super) async fn stream(
    address: &Address,
    request: Request<Full<Bytes>>,
    within: Duration,
) -> Result<Result<Lines, (StatusCode, Bytes)>, Failure> {
    let mut tasks = JoinSet::new();
    let response = begin(address, request, within, &mut tasks).await?;
    if !response.status().is_success() {
        let status = response.status();
        return Ok(Err((status, read(address, response.into_body(), within).await?)));
    }
    let address = address.to_string();
    let body = response.into_body();
    Ok(Ok(Lines { body, unread: BytesMut::new(), address, _connection: tasks }))
}

/// The lines of an endless answer.
#[derive(Debug)]
pub(in crate::surfaces::cli) struct Lines {
    body: Incoming,
    unread: BytesMut,
    address: String,
    _connection: JoinSet<()>,
}

impl Lines {
    /// Returns the next line without its end.
    ///
    /// # Errors
    /// [`Failure::Lost`] if nothing came for `within`, or the stream failed or ended.
    pub(in crate::surfaces::cli) async fn next(
        &mut self,
        within: Duration,
    ) -> Result<String, Failure> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line = self.unread.split_to(end + 1);
                let line = line[..end].strip_suffix(b"\r").unwrap_or(&line[..end]);
                return Ok(String::from_utf8_lossy(line).into_owned());
            }
            if self.unread.len() > LONGEST_LINE {
                return Err(self.lost("sent a line that is too long".to_owned()));
            }
            let frame = timeout(within, self.body.frame()).await;
            match frame {
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.unread.extend_from_slice(&data);
                    }
                }
                Ok(Some(Err(error))) => {
                    return Err(self.lost(format!("closed the connection ({error})")));
                }
                Ok(None) => return Err(self.lost("ended the stream: it is stopping".to_owned())),
                Err(_) => return Err(self.lost(format!("has been silent for {within:?}"))),
            }
        }
    }

    fn lost(&self, what: String) -> Failure {
        Failure::Lost { address: self.address.clone(), what }
    }
}

/// Connects, and sends the request.
async fn begin(
    address: &Address,
    request: Request<Full<Bytes>>,
    within: Duration,
    tasks: &mut JoinSet<()>,
) -> Result<Response<Incoming>, Failure> {
    let stream = connect(address).await?;
    let asked = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tasks.spawn(async move {
            // The reader of the answer sees the same error.
            let _ = connection.await;
        });
        sender.send_request(request).await
    };
    match timeout(within, asked).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) if error.is_parse() => {
            let why = format!("it does not speak HTTP ({error})");
            Err(Failure::NotOurs { address: address.to_string(), why })
        }
        Ok(Err(error)) => {
            let what = format!("closed the connection without an answer ({error})");
            Err(Failure::Lost { address: address.to_string(), what })
        }
        Err(_) => Err(Failure::Slow { address: address.to_string(), within }),
    }
}

async fn connect(address: &Address) -> Result<Box<dyn Transport>, Failure> {
    let unreachable = |why| Failure::Unreachable { address: address.to_string(), why };
    match address {
        Address::Tcp { url, ca_file } => {
            let options = ConnectOptions {
                url,
                trust: &Trust::of(ca_file.as_deref()),
                proxy: None,
                source: None,
                connect_timeout: CONNECT_WITHIN,
                handshake_timeout: CONNECT_WITHIN,
            };
            let connected = connect::connect(options, &mut ConnectFacts::default()).await;
            connected.map_err(|FailedConnect { failure, detail, .. }| {
                let is_tls = matches!(failure, OpenFailure::Tls | OpenFailure::HandshakeTimeout);
                match is_tls {
                    true => Failure::Tls { address: address.to_string(), why: as_typed(&detail) },
                    false => unreachable(detail),
                }
            })
        }
        Address::Unix(path) => match timeout(CONNECT_WITHIN, UnixStream::connect(path)).await {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(error)) => Err(unreachable(error.to_string())),
            Err(_) => Err(unreachable(format!("no connection within {CONNECT_WITHIN:?}"))),
        },
    }
}

/// Names the argument where a sentence names the key of the configuration.
fn as_typed(detail: &str) -> String {
    match detail.strip_prefix("ca_file ") {
        Some(rest) => format!("--ca-file {rest}"),
        None => detail.replace(" as ca_file", " as --ca-file"),
    }
}

async fn read(address: &Address, body: Incoming, within: Duration) -> Result<Bytes, Failure> {
    match timeout(within, Limited::new(body, LONGEST_ANSWER).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let why = format!("its answer has more than {LONGEST_ANSWER} bytes");
            Err(Failure::NotOurs { address: address.to_string(), why })
        }
        Ok(Err(error)) => {
            let what = format!("closed the connection in the middle of its answer ({error})");
            Err(Failure::Lost { address: address.to_string(), what })
        }
        Err(_) => Err(Failure::Slow { address: address.to_string(), within }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_name_what_was_typed() {
        for (said, typed) in [
            ("ca_file /a/ca_file cannot be read", "--ca-file /a/ca_file cannot be read"),
            ("ca_file ca_file cannot be read", "--ca-file ca_file cannot be read"),
            ("name its PEM file as ca_file; else not", "name its PEM file as --ca-file; else not"),
            ("name the PEM file as ca_file", "name the PEM file as --ca-file"),
            ("ca_files", "ca_files"),
        ] {
            assert_eq!(as_typed(said), typed);
        }
    }
}
