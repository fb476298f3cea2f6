//! HTTP over one connection per request, with hyper.

use std::future::Future;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::address::{Address, Authorities};
use crate::surfaces::cli::failure::Failure;
use crate::transport::tls::{TlsSocket, Trust};

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
    match address {
        Address::Tcp { tls, host, port, .. } => {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let stream = connect(address, TcpStream::connect((host, *port))).await?;
            // Without it small requests are only slower.
            let _ = stream.set_nodelay(true);
            match tls {
                None => send(address, stream, request, within, tasks).await,
                Some(authorities) => {
                    let stream = open_tls(address, authorities, host, stream).await?;
                    send(address, stream, request, within, tasks).await
                }
            }
        }
        Address::Unix(path) => {
            let stream = connect(address, UnixStream::connect(path)).await?;
            send(address, stream, request, within, tasks).await
        }
    }
}

async fn open_tls(
    address: &Address,
    Authorities(ca_file): &Authorities,
    host: &str,
    stream: TcpStream,
) -> Result<TlsSocket, Failure> {
    let fail = |why| Failure::Tls { address: address.to_string(), why };
    let trust = Trust::of(ca_file.as_deref());
    let tls = trust.tls().await.map_err(|error| fail(error.to_string()))?;
    match timeout(CONNECT_WITHIN, tls.connect(host, stream)).await {
        Ok(opened) => opened.map_err(|failed| fail(failed.detail)),
        Err(_) => Err(fail(format!("no TLS within {CONNECT_WITHIN:?}"))),
    }
}

async fn connect<S>(
    address: &Address,
    connecting: impl Future<Output = io::Result<S>>,
) -> Result<S, Failure> {
    let unreachable = |why| Failure::Unreachable { address: address.to_string(), why };
    match timeout(CONNECT_WITHIN, connecting).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(unreachable(error.to_string())),
        Err(_) => Err(unreachable(format!("no connection within {CONNECT_WITHIN:?}"))),
    }
}

async fn send<S>(
    address: &Address,
    stream: S,
    request: Request<Full<Bytes>>,
    within: Duration,
    tasks: &mut JoinSet<()>,
) -> Result<Response<Incoming>, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + std::marker::Send + 'static,
{
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
