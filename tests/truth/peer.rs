//! A peer that does what a script says, and answers with an error where it cannot.

use std::io::ErrorKind;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::journal::Pen;
use super::plan::{Tcp, Words};
use crate::support::frame::{CLOSE, CONTINUATION, Frame, Masking, PONG, Side, TEXT, take_frame};
use crate::support::raw_peer::End;
use crate::support::wire::Wire;

pub type Played<T = ()> = Result<T, String>;

/// For what must come, on a machine that is busy.
pub const PATIENCE: Duration = Duration::from_secs(45);

pub struct Peer {
    wire: Wire,
    pub side: Side,
    buffer: Vec<u8>,
    pub pen: Pen,
}

enum Heard {
    Frame(Frame),
    End(End),
}

impl Peer {
    /// `buffer` holds what came behind the opening handshake.
    pub fn new(wire: Wire, side: Side, buffer: Vec<u8>, pen: Pen) -> Self {
        Self { wire, side, buffer, pen }
    }

    pub async fn send(&mut self, bytes: &[u8]) -> Played {
        let write = async {
            self.wire.write_all(bytes).await?;
            self.wire.flush().await
        };
        let sent = timeout(PATIENCE, write).await.map_err(|_| "could not send in time")?;
        sent.map_err(|error| format!("could not send {} bytes: {error}", bytes.len()))
    }

    pub async fn frames(&mut self, what: &str, frames: &[Frame]) -> Played {
        self.pen.does(&format!("sends {what}"));
        let bytes: Vec<u8> = frames.iter().flat_map(|frame| frame.encode(self.side)).collect();
        self.send(&bytes).await
    }

    pub async fn close(&mut self, words: &Words) -> Played {
        self.frames(&format!("a Close: {words:?}"), &[words.frame()]).await
    }

    /// Sends a Close and FIN, in one segment where they fit one.
    pub async fn close_and_fin(&mut self, words: &Words) -> Played {
        let socket = socket2::SockRef::from(self.wire.tcp());
        socket.set_tcp_cork(true).map_err(|error| error.to_string())?;
        self.close(words).await?;
        self.fin().await
    }

    /// Waits until the other end has read all that was sent, which its Pong proves.
    pub async fn prove(&mut self) -> Played {
        self.frames("a Ping, and awaits its Pong", &[Frame::ping("proof")]).await?;
        loop {
            match self.hear().await? {
                Heard::Frame(frame) if frame.opcode == PONG => return Ok(()),
                Heard::Frame(_) => {}
                Heard::End(end) => return Err(format!("awaited a Pong, got {end:?}")),
            }
        }
    }

    /// Reads so many whole messages.
    pub async fn messages(&mut self, mut count: usize) -> Played {
        while count > 0 {
            match self.hear().await? {
                Heard::Frame(frame) if [CONTINUATION, TEXT, 2].contains(&frame.opcode) => {
                    count -= usize::from(frame.fin);
                }
                Heard::Frame(frame) if frame.opcode == CLOSE => {
                    return Err(format!("awaited a message, got {frame:?}"));
                }
                Heard::Frame(_) => {}
                Heard::End(end) => return Err(format!("awaited a message, got {end:?}")),
            }
        }
        Ok(())
    }

    /// Reads until this text has come so often.
    pub async fn text_again(&mut self, text: &str, mut count: usize) -> Played {
        while count > 0 {
            match self.hear().await? {
                Heard::Frame(frame) => count -= usize::from(frame.payload == text.as_bytes()),
                Heard::End(end) => return Err(format!("awaited {text:?}, got {end:?}")),
            }
        }
        Ok(())
    }

    /// Reads until a Close comes, and writes down what it says.
    pub async fn hear_close(&mut self) -> Played<Frame> {
        loop {
            match self.hear().await? {
                Heard::Frame(frame) if frame.opcode == CLOSE => {
                    if frame.payload.len() == 1 {
                        return Err(format!("it sent {frame:?}"));
                    }
                    let (code, reason) = frame.close_code_and_reason();
                    self.pen.fact("read", json!({"code": code, "reason": reason}));
                    return Ok(Frame::new(CLOSE, frame.payload));
                }
                Heard::Frame(_) => {}
                Heard::End(end) => return Err(format!("awaited a Close, got {end:?}")),
            }
        }
    }

    /// Reads until the other end ends the stream.
    pub async fn hear_end(&mut self) -> Played<End> {
        loop {
            match self.hear().await? {
                Heard::Frame(frame) if frame.opcode == CLOSE => {
                    let (code, reason) = frame.close_code_and_reason();
                    self.pen.fact("read", json!({"code": code, "reason": reason}));
                }
                Heard::Frame(_) => {}
                Heard::End(end) => return Ok(end),
            }
        }
    }

    /// Reads whatever comes until the other end is gone.
    pub async fn any_end(&mut self) -> Played {
        let mut read = vec![0; 4096];
        let ended = timeout(PATIENCE, async {
            while self.wire.read(&mut read).await.is_ok_and(|count| count > 0) {}
        });
        ended.await.map_err(|_| "awaited the end".to_owned())
    }

    async fn hear(&mut self) -> Played<Heard> {
        loop {
            if let Some(frame) = take_frame(&mut self.buffer) {
                // RFC 6455 section 5.1.
                let due = matches!(
                    (self.side, frame.masking),
                    (Side::Client, Masking::Plain) | (Side::Server, Masking::Key(_))
                );
                return match due {
                    true => Ok(Heard::Frame(frame)),
                    false => Err(format!("it was masked as its sender may not: {frame:?}")),
                };
            }
            let read = timeout(PATIENCE, self.wire.read_buf(&mut self.buffer)).await;
            match read.map_err(|_| format!("awaited something for {PATIENCE:?}"))? {
                Ok(0) => return Ok(Heard::End(End::Fin)),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    return Ok(Heard::End(End::Truncated));
                }
                // A write of ours may have met the RST first.
                Err(error)
                    if [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe]
                        .contains(&error.kind()) =>
                {
                    return Ok(Heard::End(End::Reset));
                }
                Err(error) => return Err(format!("could not read: {error}")),
            }
        }
    }

    pub async fn fin(&mut self) -> Played {
        self.pen.does("ends TCP (FIN)");
        self.wire.shutdown().await.map_err(|error| format!("could not send FIN: {error}"))
    }

    /// Ends TCP in this way, and sees the other end off.
    pub async fn end(mut self, tcp: Tcp) -> Played {
        match tcp {
            Tcp::Fin => {
                // The other end may be gone before ours is.
                let _ = self.fin().await;
                self.hear_end().await?;
            }
            Tcp::Reset => self.reset(),
            Tcp::Cut => {
                self.pen.does("ends TCP (FIN) without close_notify");
                let _ = self.wire.tcp_mut().shutdown().await;
                self.hear_end().await?;
            }
            Tcp::Stays => {
                self.pen.does("leaves it to the other end to go");
                self.hear_end().await?;
                // The other end has only ended its side: it is to see no FIN until it is gone.
                tokio::time::sleep(Duration::from_secs(1)).await;
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_secs(10)).await;
                    drop(self);
                });
            }
        }
        Ok(())
    }

    /// The same, once the other end has ended its side, which proves that it has read all.
    pub async fn end_behind_fin(mut self, tcp: Tcp) -> Played {
        if tcp == Tcp::Reset {
            self.hear_end().await?;
        }
        self.end(tcp).await
    }

    pub fn reset(self) {
        self.pen.does("resets TCP (RST)");
        let socket = socket2::SockRef::from(self.wire.tcp());
        let _ = socket.set_linger(Some(Duration::ZERO));
    }

    /// Sends what is not TLS, under TLS.
    pub async fn garbage(mut self) -> Played {
        self.pen.does("sends bytes that are no TLS");
        let record = [&[23, 3, 3, 0, 32][..], &[0x5A; 32]].concat();
        let sent = self.wire.tcp_mut().write_all(&record).await;
        sent.map_err(|error| error.to_string())?;
        self.any_end().await
    }
}
