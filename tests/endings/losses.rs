//! Transports that fail in ways which loopback cannot: each with its kind.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use lastword::transport::socket::Transport;
use lastword::vocabulary::{CloseState, Fault, FirstClose, Kind, Role, TransportEnd};
use lastword::{Adopt, Backend, Supervisor};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How it fails.
type Fails = fn() -> io::Error;

/// A transport whose first read fails like this.
struct Failing(Fails);

impl Transport for Failing {}

impl AsyncRead for Failing {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(Err((self.0)()))
    }
}

impl AsyncWrite for Failing {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn each_way_in_which_a_network_fails_has_its_kind() {
    let cases: [(Fails, Kind, TransportEnd, &str); 5] = [
        (
            || io::Error::from_raw_os_error(libc::ETIMEDOUT),
            Kind::PathLost,
            TransportEnd::Timeout,
            "timed out",
        ),
        (
            || io::Error::from_raw_os_error(libc::EHOSTUNREACH),
            Kind::PathLost,
            TransportEnd::Timeout,
            "No route to host",
        ),
        (
            || io::Error::from_raw_os_error(libc::ENETUNREACH),
            Kind::PathLost,
            TransportEnd::Timeout,
            "unreachable",
        ),
        (
            || io::ErrorKind::UnexpectedEof.into(),
            Kind::TlsTruncated,
            TransportEnd::TlsTruncated,
            "close_notify",
        ),
        (
            || io::Error::from_raw_os_error(libc::EIO),
            Kind::TransportError,
            TransportEnd::Error,
            "os error 5",
        ),
    ];
    let supervisor = Supervisor::builder().start().await.unwrap();
    for (fails, kind, end, said) in cases {
        let adopt = Adopt::new(Role::Server, Failing(fails));
        let connection = supervisor.adopt(adopt, Backend::echo()).await.unwrap();
        let ending =
            tokio::time::timeout(Duration::from_secs(10), connection.ended()).await.unwrap();
        let outcome = &ending.outcome;
        assert_eq!(outcome.kind, kind);
        assert_eq!(outcome.fault, Fault::Network);
        assert_eq!(outcome.first_close, FirstClose::None);
        assert_eq!(outcome.state, Some(CloseState::Open));
        assert_eq!(outcome.transport_end, Some(end));
        assert_eq!(outcome.close_code(), Some(1006));
        assert!(outcome.detail.contains(said), "{}", outcome.detail);
    }
    assert!(supervisor.accounting().balances());
}
