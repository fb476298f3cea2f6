//! A case that is served to a client.

use super::super::case::Judgement;
use super::super::script::Step;
use super::super::seen::Seen;

/// What the server does, and what is due from the client.
#[derive(Debug)]
pub struct ClientCase {
    /// Words in lower case with hyphens; stable.
    pub id: &'static str,
    /// What the server does.
    pub does: &'static str,
    /// The section of RFC 6455.
    pub rfc: &'static str,
    /// What the client has to do.
    pub due: &'static str,
    /// What a browser's page has to be told: the code of the close event.
    pub code: u16,
    /// Whether the close event has to be clean.
    pub clean: bool,
    /// Whether the client has to close, with 1000.
    pub client_closes: bool,
    pub(super) upgrade: Upgrade,
    pub(super) steps: &'static [Step],
    pub(super) judge: fn(&Seen) -> Judgement,
}

/// The answer to the opening handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upgrade {
    /// The right one.
    Right,
    /// With the `Sec-WebSocket-Accept` of another key.
    WrongAccept,
    /// With a subprotocol that was not offered.
    Subprotocol,
    /// With an extension that was not offered.
    Extension,
}

impl ClientCase {
    pub(super) const fn new(
        id: &'static str,
        does: &'static str,
        rfc: &'static str,
        steps: &'static [Step],
    ) -> Self {
        Self {
            id,
            does,
            rfc,
            due: "",
            code: 1006,
            clean: false,
            client_closes: false,
            upgrade: Upgrade::Right,
            steps,
            judge: |_| Judgement::pass(),
        }
    }

    pub(super) const fn due(self, due: &'static str, judge: fn(&Seen) -> Judgement) -> Self {
        Self { due, judge, ..self }
    }

    /// A browser has to report a clean close with this code.
    pub(super) const fn clean(self, code: u16) -> Self {
        Self { code, clean: true, ..self }
    }

    pub(super) const fn closed_by_client(self) -> Self {
        Self { client_closes: true, ..self }
    }

    pub(super) const fn answering(self, upgrade: Upgrade) -> Self {
        Self { upgrade, ..self }
    }

    /// Judges what was seen of a client.
    pub(super) fn judge(&self, seen: &Seen) -> Judgement {
        if self.upgrade == Upgrade::Right && !self.client_closes && seen.is_early() {
            return Judgement::skipped(
                "the client ended the connection before the case could begin",
            );
        }
        (self.judge)(seen)
    }
}
