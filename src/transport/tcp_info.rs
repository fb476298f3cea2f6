//! Reads TCP_INFO of a socket, which needs `unsafe`.
#![allow(unsafe_code)]

use std::mem::{self, MaybeUninit};
use std::os::fd::{AsFd, AsRawFd};

use crate::vocabulary::TcpFacts;

/// Returns the kernel's view of a socket, or `None` if it cannot be read.
pub(super) fn read(socket: &impl AsFd) -> Option<KernelFacts> {
    let socket = socket.as_fd().as_raw_fd();
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut len = mem::size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: `info` is writable for `len` bytes, `len` is writable, and the kernel writes no more
    // than the `len` it was given.
    let answer = unsafe {
        libc::getsockopt(
            socket,
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if answer != 0 {
        return None;
    }
    // SAFETY: `tcp_info` is made of integers only, so the zeroes it began with are a valid value,
    // and so is any prefix of it that the kernel overwrote.
    let info = unsafe { info.assume_init() };

    let mut unacked: libc::c_int = 0;
    // SAFETY: TIOCOUTQ (SIOCOUTQ for sockets) writes one `int` where its argument points.
    let answer = unsafe { libc::ioctl(socket, libc::TIOCOUTQ, &raw mut unacked) };
    let unacked = if answer == 0 { u32::try_from(unacked).unwrap_or(0) } else { 0 };

    Some(KernelFacts {
        state: state(info.tcpi_state),
        retransmits: info.tcpi_total_retrans,
        unacked_bytes: unacked,
        rtt_us: info.tcpi_rtt,
    })
}

/// Maps the numbers in the kernel's `net/tcp_states.h`, which libc does not have.
fn state(number: u8) -> TcpState {
    match number {
        1 => TcpState::Established,
        4 | 5 => TcpState::FinSent,
        8 => TcpState::CloseWait,
        6 | 9 | 11 => TcpState::BothFins,
        7 => TcpState::Closed,
        other => TcpState::Other(other),
    }
}

/// The kernel's view of a TCP socket at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelFacts {
    /// The state of TCP.
    pub state: TcpState,
    /// Segments retransmitted over the socket's lifetime.
    pub retransmits: u32,
    /// Bytes written that the peer's kernel has not acknowledged; our FIN counts as one.
    pub unacked_bytes: u32,
    /// The smoothed round-trip time, in microseconds.
    pub rtt_us: u32,
}

impl From<KernelFacts> for TcpFacts {
    fn from(facts: KernelFacts) -> Self {
        Self {
            retransmits: facts.retransmits,
            unacked_bytes: facts.unacked_bytes,
            rtt_us: facts.rtt_us,
        }
    }
}

/// The state of TCP (RFC 9293 section 3.3.2), as far as an ending depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TcpState {
    /// Open both ways.
    Established,
    /// Our FIN was sent, and the peer's not received.
    FinSent,
    /// The peer's FIN was received, and ours not sent.
    CloseWait,
    /// Both FINs were sent, and the kernel has not finished yet.
    BothFins,
    /// Reset by either end, timed out, or ended in order after our FIN.
    Closed,
    /// Another state, by the kernel's number.
    Other(u8),
}

impl TcpState {
    /// Returns whether the peer's FIN was received, even if bytes before it are unread.
    pub const fn fin_received(self) -> bool {
        match self {
            Self::CloseWait | Self::BothFins => true,
            Self::Established | Self::FinSent | Self::Closed | Self::Other(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::time::Duration;

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (ours, listener.accept().unwrap().0)
    }

    #[test]
    fn a_fin_shows_before_it_is_read() {
        let (ours, mut theirs) = pair();
        assert_eq!(read(&ours).unwrap().state, TcpState::Established);
        theirs.write_all(b"unread").unwrap();
        theirs.shutdown(Shutdown::Write).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(read(&ours).unwrap().state, TcpState::CloseWait);
        assert_eq!(read(&theirs).unwrap().state, TcpState::FinSent);
    }

    #[test]
    fn a_reset_shows_as_closed() {
        let (mut ours, theirs) = pair();
        socket2::SockRef::from(&theirs).set_linger(Some(Duration::ZERO)).unwrap();
        drop(theirs);
        assert!(ours.read(&mut [0; 1]).is_err());
        assert_eq!(read(&ours).unwrap().state, TcpState::Closed);
    }

    #[test]
    fn bytes_that_the_peer_has_no_room_for_are_counted() {
        let (mut ours, theirs) = pair();
        ours.set_nonblocking(true).unwrap();
        while ours.write(&[0; 65536]).is_ok() {}
        assert!(read(&ours).unwrap().unacked_bytes > 0);
        drop(theirs);
    }
}
