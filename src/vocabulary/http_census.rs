//! Counts of the plain HTTP requests that were forwarded.

/// The outcome of a plain HTTP request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpOutcome {
    /// An application answered, whatever its status.
    Answered,
    /// No application could be reached.
    Unreachable,
    /// An application was reached, and did not answer in time.
    Unanswered,
    /// Too many clients were connected, or too many requests waited for the applications.
    RefusedLimit,
    /// Too many requests arrived within a second.
    RefusedRate,
    /// This node, or every application, is draining.
    RefusedDraining,
    /// The route's `auth` did not admit the client.
    Unauthorized,
    /// Nobody could say whether the client is admitted.
    AuthUnavailable,
    /// The request could not be passed on: its body, or what a proxy says of its client, is malformed.
    BadRequest,
}

impl HttpOutcome {
    /// Every outcome.
    pub const ALL: [Self; 9] = [
        Self::Answered,
        Self::Unreachable,
        Self::Unanswered,
        Self::RefusedLimit,
        Self::RefusedRate,
        Self::RefusedDraining,
        Self::Unauthorized,
        Self::AuthUnavailable,
        Self::BadRequest,
    ];

    /// Returns the string that metrics carry.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Unreachable => "unreachable",
            Self::Unanswered => "unanswered",
            Self::RefusedLimit => "refused_limit",
            Self::RefusedRate => "refused_rate",
            Self::RefusedDraining => "refused_draining",
            Self::Unauthorized => "unauthorized",
            Self::AuthUnavailable => "auth_unavailable",
            Self::BadRequest => "bad_request",
        }
    }
}

/// Counts of plain HTTP clients and requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpCensus {
    /// Connected clients, including idle ones.
    pub connections: u64,
    /// Requests since the process started, by outcome.
    pub outcomes: [(HttpOutcome, u64); HttpOutcome::ALL.len()],
}
