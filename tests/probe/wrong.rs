//! A server that is wrong in one way, or in all of them: it speaks bytes, and checks nothing.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::support::frame::{
    CLOSE, CONTINUATION, Frame, Masking, PING, PONG, Side, TEXT, take_any_frame,
};
use crate::support::tls::Shared;
use crate::support::wire::Wire;

/// What is wrong with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Flaw {
    /// It takes whatever comes for legal, and sends a Close back as it came.
    Careless,
    LacksUpgrade,
    WrongAccept,
    ChoosesSubprotocol,
    ChoosesExtension,
    RepeatsOffers,
    ExactHeaders,
    MasksFrames,
    NoPongs,
    DiesOnPong,
    NeverAnswersClose,
    OtherCode,
    AnswersLate,
    KeepsTcp,
    ResetsTcp,
    TalksAfterClose,
    ReadsOnAfterClose,
    TlsWithoutCloseNotify,
    GarblesMessages,
    RefusesText,
    ClosesIdleHalf,
    CutsIdle,
    IgnoresFin,
    DiesWithClient,
    /// It closes every connection with 4001 after a moment, as servers do that want credentials.
    ClosesByPolicy,
    /// It sends messages of its own, and is right in all else that a safe run looks at.
    Talkative,
}

/// Starts a server; it runs until the test ends.
pub(crate) async fn start(flaw: Flaw) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            socket.set_nodelay(true).unwrap();
            match flaw {
                // One after the other, and the listener dies with the first client that does.
                Flaw::DiesWithClient => {
                    if !Connection::new(Wire::Tcp(socket), flaw).serve().await {
                        return;
                    }
                }
                Flaw::TlsWithoutCloseNotify => {
                    tokio::spawn(async move {
                        let wire = Shared::get().accept(socket).await;
                        Connection::new(wire, flaw).serve().await;
                    });
                }
                _ => {
                    tokio::spawn(Connection::new(Wire::Tcp(socket), flaw).serve());
                }
            }
        }
    });
    address
}

struct Connection {
    wire: Wire,
    flaw: Flaw,
    buffer: Vec<u8>,
    message: Option<Frame>,
}

impl Connection {
    fn new(wire: Wire, flaw: Flaw) -> Self {
        Self { wire, flaw, buffer: Vec::new(), message: None }
    }

    /// Serves until TCP ends; returns whether it ended in order.
    async fn serve(mut self) -> bool {
        let Some(head) = self.head().await else { return true };
        let is_exact = head.contains("Upgrade: websocket\r\nConnection: Upgrade\r\n");
        if self.flaw == Flaw::ExactHeaders && !is_exact {
            self.send(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            return true;
        }
        let answer = self.answer(&head);
        self.send(answer.as_bytes()).await;
        match self.flaw {
            Flaw::CutsIdle => {
                tokio::time::sleep(Duration::from_millis(30)).await;
                return true;
            }
            Flaw::ClosesIdleHalf => {
                tokio::time::sleep(Duration::from_millis(30)).await;
                self.frame(Frame::close(1000, "")).await;
                return self.stay().await;
            }
            Flaw::ClosesByPolicy => {
                tokio::time::sleep(Duration::from_millis(5)).await;
                self.frame(Frame::close(4001, "sign in first")).await;
                let _ = self.wire.read_buf(&mut self.buffer).await;
                return true;
            }
            Flaw::Talkative => {
                for _ in 0..3 {
                    self.frame(Frame::text("news")).await;
                }
            }
            _ => {}
        }
        loop {
            while let Some(frame) = take_any_frame(&mut self.buffer) {
                match self.handle(frame).await {
                    Next::Read => {}
                    // Without close_notify.
                    Next::Fin if self.flaw == Flaw::TlsWithoutCloseNotify => return true,
                    Next::Fin => {
                        let _ = self.wire.shutdown().await;
                        return true;
                    }
                    Next::Stay => return self.stay().await,
                }
            }
            match self.wire.read_buf(&mut self.buffer).await {
                Ok(0) if self.flaw == Flaw::IgnoresFin => return self.stay().await,
                Ok(0) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }

    async fn head(&mut self) -> Option<String> {
        loop {
            let end = self.buffer.windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(end) = end {
                let head = self.buffer.drain(..end + 4).collect();
                return String::from_utf8(head).ok();
            }
            if self.wire.read_buf(&mut self.buffer).await.ok()? == 0 {
                return None;
            }
        }
    }

    fn answer(&self, head: &str) -> String {
        let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
        let accept = match self.flaw {
            Flaw::WrongAccept => derive_accept_key(b"another"),
            _ => derive_accept_key(key.unwrap_or_default().as_bytes()),
        };
        let upgrade = if self.flaw == Flaw::LacksUpgrade { "" } else { "Upgrade: websocket\r\n" };
        let more = match self.flaw {
            Flaw::ChoosesSubprotocol => "Sec-WebSocket-Protocol: chat\r\n".to_owned(),
            Flaw::ChoosesExtension => "Sec-WebSocket-Extensions: permessage-deflate\r\n".to_owned(),
            Flaw::RepeatsOffers => head
                .lines()
                .filter(|line| line.starts_with("Sec-WebSocket-Extensions"))
                .map(|line| format!("{line}\r\n"))
                .collect(),
            _ => String::new(),
        };
        format!(
            "HTTP/1.1 101 Switching Protocols\r\n{upgrade}Connection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n{more}\r\n"
        )
    }

    async fn handle(&mut self, frame: Frame) -> Next {
        match frame.opcode {
            CLOSE if frame.fin => self.close(frame).await,
            PING if frame.fin && self.flaw != Flaw::NoPongs => {
                self.frame(Frame::pong(frame.payload)).await;
                Next::Read
            }
            PONG if self.flaw == Flaw::DiesOnPong => Next::Fin,
            CONTINUATION => {
                if let Some(message) = &mut self.message {
                    message.payload.extend(frame.payload);
                    if frame.fin {
                        let message = self.message.take().unwrap();
                        self.echo(message).await;
                    }
                }
                Next::Read
            }
            TEXT if self.flaw == Flaw::RefusesText => {
                self.frame(Frame::close(1003, "no text")).await;
                Next::Fin
            }
            opcode if opcode < CLOSE => {
                match frame.fin {
                    true => self.echo(frame).await,
                    false => self.message = Some(frame),
                }
                Next::Read
            }
            _ => Next::Read,
        }
    }

    async fn close(&mut self, frame: Frame) -> Next {
        match self.flaw {
            Flaw::NeverAnswersClose => return Next::Read,
            Flaw::AnswersLate => tokio::time::sleep(Duration::from_millis(1100)).await,
            _ => {}
        }
        let answer = match self.flaw {
            Flaw::OtherCode => Frame::close(1001, ""),
            _ => Frame::new(CLOSE, frame.payload),
        };
        self.frame(answer).await;
        match self.flaw {
            Flaw::KeepsTcp => Next::Stay,
            Flaw::ResetsTcp => {
                // The client reads the Close first.
                tokio::time::sleep(Duration::from_millis(20)).await;
                let socket = socket2::SockRef::from(self.wire.tcp());
                socket.set_linger(Some(Duration::ZERO)).unwrap();
                Next::Stay
            }
            Flaw::TalksAfterClose => {
                self.frame(Frame::ping("still here")).await;
                Next::Fin
            }
            Flaw::ReadsOnAfterClose if !self.buffer.is_empty() => Next::Read,
            _ => Next::Fin,
        }
    }

    async fn echo(&mut self, message: Frame) {
        let mut payload = message.payload;
        if self.flaw == Flaw::GarblesMessages && payload != b"lastword probe" {
            payload.push(b'!');
        }
        self.frame(Frame::new(message.opcode, payload)).await;
    }

    async fn frame(&mut self, frame: Frame) {
        let masking = match self.flaw {
            Flaw::MasksFrames => Masking::Key([1, 2, 3, 4]),
            _ => Masking::Plain,
        };
        self.send(&frame.masking(masking).encode(Side::Server)).await;
    }

    async fn send(&mut self, bytes: &[u8]) {
        // The client may be gone, which the next read tells.
        let _ = self.wire.write_all(bytes).await;
        let _ = self.wire.flush().await;
    }

    /// Keeps TCP open, unless it is to be reset.
    async fn stay(self) -> bool {
        if self.flaw != Flaw::ResetsTcp {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        true
    }
}

/// What a connection does next.
enum Next {
    Read,
    Fin,
    Stay,
}

/// Serves one client over TLS, without a flaw that matters to a Close.
pub(crate) async fn serve_tls(socket: TcpStream) {
    // A client that does not trust the certificate goes.
    if let Some(wire) = Shared::get().try_accept(socket).await {
        Connection::new(wire, Flaw::Careless).serve().await;
    }
}
