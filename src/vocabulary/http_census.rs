//! Plain HTTP that was passed on, counted.

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpOutcome {
    /// An application answered, whatever its status.
    Answered,
    /// No application could be reached.
    Unreachable,
    /// One was reached and did not answer, or not in time.
    Unanswered,
    /// Too many clients were there, or too many requests waited for the applications.
    RefusedLimit,
    /// Too many came in a second.
    RefusedRate,
    /// This node, or every application, drains.
    RefusedDraining,
}

impl HttpOutcome {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Answered,
        Self::Unreachable,
        Self::Unanswered,
        Self::RefusedLimit,
        Self::RefusedRate,
        Self::RefusedDraining,
    ];

    /// Returns its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Unreachable => "unreachable",
            Self::Unanswered => "unanswered",
            Self::RefusedLimit => "refused_limit",
            Self::RefusedRate => "refused_rate",
            Self::RefusedDraining => "refused_draining",
        }
    }
}

/// Plain HTTP that was passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpCensus {
    /// Clients that are there, with a request under way or without.
    pub connections: u64,
    /// What became of all requests so far.
    pub outcomes: [(HttpOutcome, u64); HttpOutcome::ALL.len()],
}
