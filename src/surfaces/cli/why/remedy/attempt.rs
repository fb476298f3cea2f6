//! What to do about an attempt that never became a connection.

use crate::surfaces::cli::why::facts::{Facts, limit_name};
use crate::vocabulary::OpenFailure;

pub(super) fn remedy(facts: &Facts<'_>, failure: OpenFailure) -> String {
    let origin = &facts.record.origin;
    match failure {
        OpenFailure::RefusedLimit => refused_limit(facts),
        OpenFailure::RefusedRate => {
            let limit = limit_name(facts, "handshakes_per_second");
            format!(
                "Nothing, if it was a rush that clients spread by waiting. If this many are meant \
                 to come at once, raise limits.{limit}."
            )
        }
        OpenFailure::RefusedDraining if facts.outbound => {
            "Nothing: a dialer that is paused dials again once it is resumed (`lastword dialer resume \
             NAME`), and others when the drain is over."
                .to_owned()
        }
        OpenFailure::RefusedDraining => {
            "Nothing: clients should come back later, or be sent to another node.".to_owned()
        }
        OpenFailure::RefusedOrigin => {
            "If that page may connect, add its origin to `origins` of the route.".to_owned()
        }
        OpenFailure::Unauthorized => {
            "Nothing here, unless many fail at once: then check the route's `auth`.".to_owned()
        }
        OpenFailure::NoRoute => {
            let path = origin.path.as_deref().unwrap_or("that path");
            let path = path.split('?').next().unwrap_or(path);
            format!(
                "If {path} should be served, add a route for it: a path is exact unless it ends in \
                 /*, and the first match wins. Else the client has a wrong URL."
            )
        }
        OpenFailure::BadRequest => {
            "Find out what the client is: a browser's address bar, an HTTP library, or a proxy that \
             drops the Upgrade header does this."
                .to_owned()
        }
        OpenFailure::HandshakeTimeout if facts.outbound => {
            "Look at the server: it hangs, or is something else than a WebSocket server.".to_owned()
        }
        OpenFailure::HandshakeTimeout => {
            "Nothing about a few: port scans and TCP health checks do this. If slow clients are \
             hit, raise limits.handshake_timeout."
                .to_owned()
        }
        OpenFailure::PeerGone if facts.outbound => {
            "Look at the server's log: it took the connection and dropped it.".to_owned()
        }
        OpenFailure::PeerGone => {
            "Nothing about a few: health checks, port scans and impatient users do this.".to_owned()
        }
        OpenFailure::Dns => {
            "Check the host name in the URL, and the name servers of this machine.".to_owned()
        }
        OpenFailure::ConnectRefused => {
            format!("Check that the server runs and listens at {}.", address(facts))
        }
        OpenFailure::ConnectTimeout => {
            format!("Check the way to {}: the address, firewalls, routing.", address(facts))
        }
        OpenFailure::PortsExhausted => {
            "Dial less, or to more addresses, or widen net.ipv4.ip_local_port_range.".to_owned()
        }
        OpenFailure::Tls => {
            "Check the server's certificate (its names, its expiry), and who is trusted here to \
             sign it."
                .to_owned()
        }
        OpenFailure::UpgradeRejected { status } => upgrade_rejected(status).to_owned(),
        OpenFailure::BackendRefused => "Look at the backend's log for its reason.".to_owned(),
        OpenFailure::BackendUnreachable => {
            "Check that the backend runs, and its URL in the route.".to_owned()
        }
    }
}

fn refused_limit(facts: &Facts<'_>) -> String {
    match limit_name(facts, "max_connections") {
        "ledger.on_failure" => {
            "Make the ledger writable again (room on its disk?); `lastword status` tells what is \
             wrong with it."
                .to_owned()
        }
        "max_connections" => {
            "If this many are meant to be open, raise limits.max_connections and the limit of \
             descriptors (LimitNOFILE= of the unit)."
                .to_owned()
        }
        other => format!("If this many are meant to be open, raise limits.{other}."),
    }
}

fn upgrade_rejected(status: u16) -> &'static str {
    match status {
        0 => "Check that the URL leads to a WebSocket server.",
        300..=399 => "Dial the URL that the server points to: redirects are not followed.",
        401 | 403 => "Give credentials that the server accepts.",
        404 => "Check the path in the URL.",
        426 => "Check the server: it wants another version of WebSocket or HTTP.",
        429 | 503 => "Nothing here: the server has too much to do, or is restarting.",
        500..=599 => "Look at the server's log: it failed, or what stands behind it.",
        _ => "Check that the URL leads to a WebSocket server, and what it wants in a request.",
    }
}

/// Names what was dialled as exactly as it is known.
fn address(facts: &Facts<'_>) -> String {
    let upstream = facts.record.upstream.as_ref();
    let addr = upstream.and_then(|upstream| upstream.addr.as_deref());
    let url = upstream.map(|upstream| &*upstream.url);
    addr.or(facts.record.origin.peer.as_deref()).or(url).unwrap_or("that address").to_owned()
}
