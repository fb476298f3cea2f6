//! What the scripts have to produce: every word of the contract, or a reason why not.

use std::collections::BTreeMap;

/// The words of the contract by field, without those that no script can produce.
const WORDS: [(&str, &[&str]); 6] = [
    (
        "kind",
        &[
            "clean",
            "closed_prematurely",
            "connection_reset",
            "tls_truncated",
            "transport_error",
            "close_timeout",
            "pong_timeout",
            "protocol_violation",
            "invalid_payload",
            "message_too_big",
            "slow_consumer",
            "backend_failed",
            "aborted",
            "drain_deadline",
            "process_died",
            "open_failed",
            // Not `path_lost`: it needs a network that loses packets (tests/endings).
            // Not `actor_failed`: nothing outside of the process can kill an actor (src/actor).
        ],
    ),
    (
        "open_failure",
        &[
            "refused_limit",
            "refused_draining",
            "refused_origin",
            "untrusted_proxy",
            "unauthorized",
            "auth_unavailable",
            "no_route",
            "bad_request",
            "handshake_timeout",
            "peer_gone",
            "connect_refused",
            "tls",
            "upgrade_rejected",
            "backend_refused",
            "backend_unreachable",
            // Not `refused_rate`: which of many attempts is refused is for the clock to say.
            // Not `dns`, `connect_timeout`, `ports_exhausted`: they need another network.
        ],
    ),
    (
        "cause",
        &[
            "peer",
            "api",
            "drain",
            "idle_timeout",
            "max_age",
            "relay_peer",
            "rate_limited",
            "auth_expired",
            "replaced",
            "revoked",
            "slow_consumer",
            "keepalive",
            "violation",
            "rotated",
            "none",
            // Not `embedder` and `backend`: they are the library's.
            // Not `stale`: only a dialer of the configuration has `stale_after` (tests/dialers).
        ],
    ),
    ("state", &["open", "close_sent", "close_received", "closed"]),
    ("first_close", &["local", "peer", "none"]),
    ("transport_end", &["fin", "reset", "tls_truncated", "timeout", "error", "local", "unknown"]),
];

/// The words that never came.
pub fn never_seen(seen: &BTreeMap<String, u64>) -> Vec<String> {
    let all = WORDS
        .iter()
        .flat_map(|(field, words)| words.iter().map(move |word| format!("{field}: {word}")));
    all.filter(|word| !seen.contains_key(word)).collect()
}
