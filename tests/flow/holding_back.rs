//! A transport that holds back what is written until it is flushed, as TLS may.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use lastword::transport::socket::Transport;
use lastword::vocabulary::Role;
use lastword::{Adopt, Backend};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};

use super::stage::{settings, soon, supervisor};
use crate::support::frame::{Frame, PONG, Side, take_frame};

struct HoldsBack {
    pipe: DuplexStream,
    held: Vec<u8>,
}

impl Transport for HoldsBack {}

impl AsyncRead for HoldsBack {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_read(cx, buf)
    }
}

impl AsyncWrite for HoldsBack {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.held.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while !this.held.is_empty() {
            let written = ready!(Pin::new(&mut this.pipe).poll_write(cx, &this.held))?;
            this.held.drain(..written);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}

#[tokio::test(start_paused = true)]
async fn a_lone_pong_is_flushed() {
    let supervisor = supervisor().await;
    let (mut peer, pipe) = tokio::io::duplex(1024);
    let transport = HoldsBack { pipe, held: Vec::new() };
    let adopt = Adopt { settings: settings(|_| {}), ..Adopt::new(Role::Server, transport) };
    let _connection = supervisor.adopt(adopt, Backend::echo()).await.unwrap();
    peer.write_all(&Frame::ping("there?").encode(Side::Client)).await.unwrap();
    let mut bytes = Vec::new();
    let pong = soon("a Pong", async {
        loop {
            peer.read_buf(&mut bytes).await.unwrap();
            if let Some(frame) = take_frame(&mut bytes) {
                return frame;
            }
        }
    })
    .await;
    assert_eq!((pong.opcode, pong.payload.as_slice()), (PONG, &b"there?"[..]));
}
