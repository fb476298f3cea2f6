//! Routes with `auth`: a client is admitted before it is served.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::WWW_AUTHENTICATE;
use tokio::time::timeout_at;

use super::RETRY_AFTER;
use super::shared::{Decision, Listener};
use super::under_way::{Stage, UnderWay};
use crate::auth::{Admitted, Ask, Auth, Denied};
use crate::listening::route::Refuse;
use crate::transport::any_socket::AnySocket;
use crate::transport::opening_handshake::{Agreement, Received, Refusal};
use crate::vocabulary::{OpenFailure, Secret, check_tags};

/// What precedes a token among the subprotocols.
const BEARER: &str = "bearer.";

impl Listener {
    /// Takes the tokens from among the subprotocols that a client offers, where its route looks for
    /// one there: nothing behind this records one, agrees on one, or passes one on.
    pub(super) fn take_bearers(&self, received: &mut Received<AnySocket>) -> Vec<Secret> {
        let request = received.request();
        let auth = self.route_of(request.host(), request.path()).and_then(|route| route.auth());
        if !auth.is_some_and(|auth| auth.takes_subprotocol()) {
            return Vec::new();
        }
        let taken = received.take_subprotocols(|name| token_of(name).is_some());
        taken.iter().filter_map(|name| token_of(name)).map(Secret::new).collect()
    }

    /// Asks whether a client may connect, within the timeout of the opening handshake, and serves it
    /// or refuses it.
    pub(super) async fn admit(
        &self,
        auth: &Auth,
        bearers: &[Secret],
        mut received: Received<AnySocket>,
        agreement: Agreement,
        mut under_way: UnderWay<'_>,
    ) {
        let deadline = received.deadline();
        let peer = under_way.visitor.peer.clone();
        let (request, client) = received.waiting();
        let ask = Ask {
            method: request.method().as_str(),
            target: request.target(),
            host: request.host(),
            headers: request.headers(),
            bearers,
            peer: &peer,
        };
        let admitted = tokio::select! {
            biased;
            admitted = timeout_at(deadline, auth.admit(ask)) => admitted,
            // This drops the question.
            loss = client.left() => return under_way.failed(received.peer_left(&loss)),
        };
        let refusal = match admitted {
            Ok(Ok(admitted)) => {
                let Stage::Agreed(decision) = &mut under_way.stage else { return };
                match note(admitted, decision) {
                    Ok(()) => self.check_revoked(decision).err(),
                    Err(wrong) => Some(Refuse::failed(wrong).into_refusal()),
                }
            }
            Ok(Err(denied)) => Some(refusal(denied)),
            Err(_) => Some(too_slow(self.timeout())),
        };
        if let Some(refusal) = refusal {
            return self.refuse((refusal, None), received, under_way).await;
        }
        // The time that the decision took is not charged to the client.
        received.extend_deadline(self.timeout());
        self.serve(received, agreement, under_way).await;
    }
}

/// Returns the token of an entry `bearer.TOKEN`.
fn token_of(subprotocol: &str) -> Option<&str> {
    let (start, token) = subprotocol.split_at_checked(BEARER.len())?;
    (start.eq_ignore_ascii_case(BEARER) && !token.is_empty()).then_some(token)
}

/// Applies what is said of a client.
///
/// # Errors
/// The tags of the route and those of `auth` are too many.
fn note(admitted: Admitted, decision: &mut Decision) -> Result<(), String> {
    let Admitted { subject, tags, grant, limits } = admitted;
    // Without one, that of the client's certificate stays.
    decision.subject = subject.or(decision.subject.take());
    decision.grant = grant;
    decision.tags.extend(tags);
    let all = decision.tags.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    check_tags(all).map_err(|(_, error)| format!("with the tags of auth, {error}"))?;
    if let Some(limits) = limits {
        let mut settings = (*decision.route.settings).clone();
        settings.limits = limits.over(&settings.limits);
        decision.route.settings = Arc::new(settings.bounded());
    }
    Ok(())
}

fn refusal(denied: Denied) -> Refusal {
    let Denied { status, failure, challenges, retry_after, text, detail } = denied;
    let shown = text.clone();
    let refusal = Refusal::new(status, failure, detail.unwrap_or(text)).showing(&shown);
    let challenges = challenges.into_iter().map(|challenge| (WWW_AUTHENTICATE, challenge));
    let refusal = refusal.with_lines(challenges.collect());
    match retry_after {
        Some(wait) => refusal.retry_after(wait),
        None => refusal,
    }
}

fn too_slow(within: Duration) -> Refusal {
    let text = format!("auth did not decide within {within:?}, the handshake timeout");
    let status = StatusCode::SERVICE_UNAVAILABLE;
    Refusal::new(status, OpenFailure::AuthUnavailable, text)
        .showing("the server is busy: try again in a moment")
        .retry_after(RETRY_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_among_the_subprotocols_has_its_prefix() {
        assert_eq!(token_of("bearer.a.b.c"), Some("a.b.c"));
        assert_eq!(token_of("Bearer.a"), Some("a"));
        for other in
            ["", "bearer.", "bearer", "bearera", "v1.chat", "base64.bearer.a", "bear\u{e9}r.a"]
        {
            assert_eq!(token_of(other), None, "{other}");
        }
    }
}
