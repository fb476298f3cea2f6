//! Notifications to the service manager: ready, status, stopping, keep-alives, and extensions of its
//! timeout.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;

/// Notifies the service manager of the daemon's state (`sd_notify(3)`).
///
/// Without a notify socket every call does nothing. A failure is logged once and never matters to
/// the daemon: the service manager notices by its own timeouts.
#[derive(Debug)]
pub struct Notifier {
    socket: Option<OsString>,
    failed: AtomicBool,
}

impl Notifier {
    /// Makes a notifier for the socket that the service manager named in `NOTIFY_SOCKET`.
    pub fn from_env() -> Self {
        Self::new(std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()))
    }

    /// Makes a notifier for a socket: a path, or `@name` in the abstract namespace.
    pub fn new(socket: Option<OsString>) -> Self {
        Self { socket, failed: AtomicBool::new(false) }
    }

    /// Returns whether there is a service manager to notify.
    pub fn has_manager(&self) -> bool {
        self.socket.is_some()
    }

    /// Notifies that every listener accepts.
    pub fn ready(&self) {
        self.notify(&[NotifyState::Ready]);
    }

    /// Sets the status line that `systemctl status` shows.
    pub fn status(&self, text: &str) {
        // A line break would begin another assignment.
        let line = text.replace(char::is_control, " ");
        self.notify(&[NotifyState::Status(&line)]);
    }

    /// Notifies that the configuration is being read again; [`Notifier::ready`] ends it.
    ///
    /// A unit of type `notify-reload` requires the time, which must be later than that of the signal.
    pub fn reloading(&self) {
        // The monotonic clock of Linux can always be read.
        let now = NotifyState::monotonic_usec_now().ok();
        let states: Vec<_> = [NotifyState::Reloading].into_iter().chain(now).collect();
        self.notify(&states);
    }

    /// Notifies that the daemon has begun to stop.
    pub fn stopping(&self) {
        self.notify(&[NotifyState::Stopping]);
    }

    /// Asks for this much time from now before the service manager takes starting or stopping for
    /// hung.
    pub fn extend_timeout(&self, time: Duration) {
        // ExtendTimeoutUsec holds 71 minutes at most, and drains may take longer.
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.notify(&[NotifyState::Custom(&format!("EXTEND_TIMEOUT_USEC={micros}"))]);
    }

    /// Sends a keep-alive to the watchdog of the service manager.
    pub fn keep_alive(&self) {
        self.notify(&[NotifyState::Watchdog]);
    }

    fn notify(&self, states: &[NotifyState<'_>]) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = send(socket, states)
            && !self.failed.swap(true, Ordering::Relaxed)
        {
            let socket = socket.to_string_lossy();
            tracing::warn!(%error, %socket, "the service manager cannot be notified");
        }
    }
}

/// Returns the time within which the service manager expects each keep-alive of this process
/// (`WATCHDOG_USEC`, `WATCHDOG_PID`); `None` if it expects none.
pub fn watchdog_timeout() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|timeout| !timeout.is_zero())
}

/// Sends one datagram, as `sd_notify::notify` does; that one takes no abstract sockets and looks
/// for the socket in the environment only.
fn send(socket: &OsStr, states: &[NotifyState<'_>]) -> io::Result<()> {
    let message: String = states.iter().map(|state| format!("{state}\n")).collect();
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    let datagrams = UnixDatagram::unbound()?;
    // A service manager that has stopped reading must not stop the daemon.
    datagrams.set_nonblocking(true)?;
    datagrams.send_to_addr(message.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(manager: &UnixDatagram) -> String {
        manager.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut buffer = [0; 1024];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    fn tell_all(notifier: &Notifier, manager: &UnixDatagram) {
        notifier.ready();
        assert_eq!(received(manager), "READY=1\n");
        notifier.status("draining\nREADY=1: 3 left");
        assert_eq!(received(manager), "STATUS=draining READY=1: 3 left\n");
        notifier.reloading();
        let reloading = received(manager);
        let micros = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        let micros: i128 = micros.strip_suffix('\n').unwrap().parse().unwrap();
        assert!(micros > 0, "{reloading}");
        notifier.stopping();
        assert_eq!(received(manager), "STOPPING=1\n");
        notifier.extend_timeout(Duration::from_secs(2 * 3600));
        assert_eq!(received(manager), "EXTEND_TIMEOUT_USEC=7200000000\n");
    }

    #[test]
    fn the_manager_is_told_over_a_path() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        tell_all(&Notifier::new(Some(path.into())), &manager);
    }

    #[test]
    fn the_manager_is_told_over_an_abstract_socket() {
        let name = format!("lastword-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        tell_all(&Notifier::new(Some(format!("@{name}").into())), &manager);
    }

    #[test]
    fn without_a_manager_nothing_happens() {
        Notifier::new(None).ready();
        let gone = Notifier::new(Some("/nonexistent/notify".into()));
        gone.ready();
        gone.stopping();
        assert!(gone.failed.into_inner());
    }

    #[test]
    fn a_manager_that_has_stopped_reading_stops_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let _manager = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::new(Some(path.into()));
        for _ in 0..100_000 {
            notifier.ready();
            if notifier.failed.load(Ordering::Relaxed) {
                return;
            }
        }
        panic!("the queue of a datagram socket has an end");
    }
}
