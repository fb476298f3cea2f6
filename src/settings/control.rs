//! The `[control]` section: the control API, who may use it, and what it may hold.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::patterns::HostName;
use super::tls::TlsKeys;
use super::values::{self, ByteSize};
use crate::vocabulary::ListenAddress;

/// Places the control API, says who may use it, and bounds what its clients can make it hold.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Control {
    /// Sets the address.
    ///
    /// Unit: address (`127.0.0.1:8081`, `unix:/run/lastword/control.sock`, `systemd:NAME`); "" = off. Default:
    /// `127.0.0.1:8081`. Cost: one listening socket; beyond loopback and Unix sockets `token_file`
    /// is required.
    #[serde(deserialize_with = "values::unless_empty")]
    pub listen: Option<ListenAddress>,
    /// Serves the API over TLS, with this certificate.
    ///
    /// Unit: as `tls` of a listener. Default: none. Cost: as there; clients use `https://`.
    pub tls: Option<TlsKeys>,
    /// Names the file with the tokens: one `name:scope:token` per line, with the scope `read` or
    /// `operate`; `name:token` means `operate`. A change holds within seconds.
    ///
    /// Unit: path; "" = none. Default: none. Cost: every request has to carry a token, those of
    /// probes and scrapers included (`[health]` takes them without); one look at the file a second.
    #[serde(deserialize_with = "values::path_unless_empty")]
    pub token_file: Option<PathBuf>,
    /// Lets callers dial.
    ///
    /// Unit: true or false. Default: false. Cost: callers reach what the node reaches.
    pub allow_dial: bool,
    /// Lists the names by which clients may reach the API, besides loopback and its own address.
    ///
    /// Unit: host names or addresses, without ports. Default: none. Cost: none; a name that is not
    /// listed gets 421, so that no web page can reach the API under a name of its own.
    pub hosts: Vec<HostName>,
    /// Bounds the connections to the API; half of them may follow events, a quarter may wait for an
    /// ending.
    ///
    /// Unit: connections, above zero. Default: 256. Cost: a descriptor each, and some 20 KiB while
    /// it is idle. A newcomer takes the place of the longest idle; where none is idle, 16 more are
    /// answered `/livez` and `/readyz`, and 503 to all else.
    pub max_connections: u32,
    /// Bounds the dialers that callers may have made.
    ///
    /// Unit: dialers; 0 = none. Default: 1000. Cost: a connection each, and about 20 KiB.
    pub max_dialers: u32,
    /// Bounds the revocations that are in force.
    ///
    /// Unit: revocations; 0 = none can be made. Default: 100000. Cost: about 500 bytes of memory, and
    /// as much of the ledger, each; those in the ledger at the start are kept in any case.
    pub max_revocations: u32,
    /// Bounds the wait for a request and its headers, the next one of a connection included.
    ///
    /// Unit: duration, above zero. Default: 5s. Cost: an idle client holds its connection for as
    /// long, unless others need it.
    #[serde(deserialize_with = "values::duration")]
    pub header_timeout: Duration,
    /// Bounds the wait for a request's body.
    ///
    /// Unit: duration, above zero. Default: 30s. Cost: a slow client holds its connection, and up to
    /// `max_body`, for as long.
    #[serde(deserialize_with = "values::duration")]
    pub body_timeout: Duration,
    /// Bounds how long a client may take nothing of an answer, or of its events.
    ///
    /// Unit: duration, above zero. Default: 15s. Cost: a stalled client holds its connection for as
    /// long; then it is cut off.
    #[serde(deserialize_with = "values::duration")]
    pub write_timeout: Duration,
    /// Bounds a request's body.
    ///
    /// Unit: size, above zero. Default: 2MiB. Cost: as much memory for each request under way;
    /// beyond it 413.
    pub max_body: ByteSize,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            listen: Some(ListenAddress::Tcp(([127, 0, 0, 1], 8081).into())),
            tls: None,
            token_file: None,
            allow_dial: false,
            hosts: Vec::new(),
            max_connections: 256,
            max_dialers: 1000,
            max_revocations: 100_000,
            header_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(15),
            max_body: ByteSize::mib(2),
        }
    }
}
