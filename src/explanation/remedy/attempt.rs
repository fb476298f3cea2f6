//! What to do about an attempt that never became a connection.

use crate::explanation::facts::{Facts, limit_name};
use crate::vocabulary::OpenFailure;

pub(super) fn remedy(facts: &Facts<'_>, failure: OpenFailure) -> String {
    let origin = &facts.record.origin;
    match failure {
        OpenFailure::RefusedLimit => refused_limit(facts),
        OpenFailure::RefusedRate => {
            let limit = limit_name(facts, "handshakes_per_second");
            format!(
                "Nothing, if it was a burst and clients retry later. If this many are meant to \
                 connect at once, raise limits.{limit}."
            )
        }
        OpenFailure::RefusedDraining if facts.outbound => {
            "Nothing: a paused dialer dials again once it is resumed (`lastword dialer resume \
             NAME`), the others after the drain."
                .to_owned()
        }
        OpenFailure::RefusedDraining => {
            "Nothing: clients should reconnect later, or be sent to another node.".to_owned()
        }
        OpenFailure::RefusedOrigin => {
            "If that page may connect, add its origin to `origins` of the route. If it is a page of \
             this very host, a proxy in front changes the Host header: have it keep the client's."
                .to_owned()
        }
        OpenFailure::UntrustedProxy => {
            "If it is one of your balancers, add its address to `trusted_proxies` of the listener. \
             Otherwise it went round them: let a firewall keep others from this port."
                .to_owned()
        }
        OpenFailure::Unauthorized => {
            "Nothing, unless many fail at once: then compare the route's `auth` with what the issuer \
             signs, and the clocks of both machines. `lastword revocations` lists what is revoked."
                .to_owned()
        }
        OpenFailure::AuthUnavailable => {
            "Check what the route's `auth` asks, the server of its url or jwks_url, which is down, slow \
             or overloaded."
                .to_owned()
        }
        OpenFailure::NoRoute => {
            let path = origin.path.as_deref().unwrap_or("that path");
            let path = path.split('?').next().unwrap_or(path);
            format!(
                "If {path} should be served, add a route for it: a path is exact unless it ends in \
                 /*, and the first match wins. Otherwise the client uses a wrong URL."
            )
        }
        OpenFailure::BadRequest => {
            "Find out what the client is: a browser's address bar, an HTTP library, or a proxy that \
             drops the Upgrade header can cause this."
                .to_owned()
        }
        OpenFailure::HandshakeTimeout if facts.outbound => {
            "Check the server: it hangs, or is not a WebSocket server.".to_owned()
        }
        OpenFailure::HandshakeTimeout => {
            "Nothing, if there are few: port scans and TCP health checks do this. If slow clients \
             are affected, raise limits.handshake_timeout."
                .to_owned()
        }
        OpenFailure::PeerGone if facts.outbound => {
            "Check the server's log: it accepted the connection and dropped it.".to_owned()
        }
        OpenFailure::PeerGone => {
            "Nothing, if there are few: health checks, port scans and impatient users do this."
                .to_owned()
        }
        OpenFailure::Dns => {
            "Check the host name in the URL, and the name servers of this machine.".to_owned()
        }
        OpenFailure::ConnectRefused => {
            format!("Check that the server runs and listens at {}.", address(facts))
        }
        OpenFailure::ConnectTimeout => {
            format!("Check the network path to {}: address, firewalls, routing.", address(facts))
        }
        OpenFailure::PortsExhausted => {
            "Dial less often, or more addresses, or widen net.ipv4.ip_local_port_range.".to_owned()
        }
        OpenFailure::Tls if !facts.outbound => {
            "Check what the sentence above names: the URL of the client (wss:// to a port with TLS), \
             its version of TLS, or the certificate and its chain."
                .to_owned()
        }
        OpenFailure::Tls => {
            "Check the server's certificate (names, expiry), and the certificate authorities \
             trusted here."
                .to_owned()
        }
        OpenFailure::UpgradeRejected { status } => upgrade_rejected(status).to_owned(),
        OpenFailure::BackendRefused => "Check the backend's log for the reason.".to_owned(),
        OpenFailure::BackendUnreachable => {
            "Check that the backend runs, and the URL in the route.".to_owned()
        }
    }
}

fn refused_limit(facts: &Facts<'_>) -> String {
    match limit_name(facts, "max_connections") {
        "ledger.on_failure" => {
            "Make the ledger writable again (is its disk full?); `lastword status` shows the \
             problem."
                .to_owned()
        }
        "max_connections" => {
            "If this many are meant to be open, raise limits.max_connections and the descriptor \
             limit (LimitNOFILE= of the unit)."
                .to_owned()
        }
        other => match other.strip_prefix("routes.") {
            Some(key) => format!("If this many are meant to be open, raise {key} of the route."),
            None => format!("If this many are meant to be open, raise limits.{other}."),
        },
    }
}

fn upgrade_rejected(status: u16) -> &'static str {
    match status {
        0 => "Check that the URL is that of a WebSocket server.",
        300..=399 => "Dial the URL that the server redirects to: redirects are not followed.",
        401 | 403 => "Give credentials that the server accepts.",
        404 => "Check the path in the URL.",
        426 => "Check the server: it requires another version of WebSocket or HTTP.",
        429 | 503 => "Nothing here: the server is overloaded or restarting.",
        500..=599 => "Check the logs of the server and of what it depends on: one of them failed.",
        _ => "Check that the URL is that of a WebSocket server, and what it requires in a request.",
    }
}

/// Returns the most precise known address that was dialled.
fn address(facts: &Facts<'_>) -> String {
    let upstream = facts.record.upstream.as_ref();
    let addr = upstream.and_then(|upstream| upstream.addr.as_deref());
    let url = upstream.map(|upstream| &*upstream.url);
    addr.or(facts.record.origin.peer.as_deref()).or(url).unwrap_or("that address").to_owned()
}
