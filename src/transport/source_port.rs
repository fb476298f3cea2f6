//! Defers the choice of the source port to connect(2), for sockets that are bound to an address.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd};

/// Sets `IP_BIND_ADDRESS_NO_PORT`, for which our crates have no safe wrapper. A port chosen by bind(2)
/// would be reserved for all destinations, and there are only some 28,000.
pub(super) fn choose_at_connect(socket: &impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option's value is the one `int` that is pointed to, of the length that is given,
    // and the descriptor is open while it is borrowed.
    let answer = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            mem::size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
