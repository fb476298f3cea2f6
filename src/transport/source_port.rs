//! Leaves the choice of a port to connect(2), for sockets that are bound to an address.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd};

/// Sets `IP_BIND_ADDRESS_NO_PORT`, which no safe wrapper we have knows: a port that bind(2) chose
/// would be taken for every destination, and there are only some 28,000 of them.
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
