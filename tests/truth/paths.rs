//! The paths by which the connections of a script are known.

use super::plan::{Attempt, Plot, Role, Route, Script, Timed, Way};

impl Script {
    /// Of the request of its first connection, both legs of a relay having the same.
    pub fn path(&self) -> String {
        let mark = &self.mark;
        match &self.plot {
            Plot::Single { role: Role::Dialled, .. } => self.dialled_path(),
            Plot::Single { route: Route::Of(pace), .. } => format!("/echo-{}/{mark}", pace.word()),
            Plot::Single { route: Route::Timed(timed), story, .. } => match (timed, &story.way) {
                (Timed::Expiry, Way::Replaced(_)) => format!("/single/{mark}/first"),
                (Timed::Expiry, Way::Revoked(_)) => format!("/expiry/{mark}/lasting"),
                (Timed::Expiry, _) => format!("/expiry/{mark}/expiry"),
                (timed, _) => format!("/{}/{mark}", timed.word()),
            },
            Plot::Relayed { fed: true, .. } => self.dialled_path(),
            Plot::Relayed { application_tls, pace, .. } => {
                format!("/relay-{}-{}/{mark}", pace.word(), scheme(*application_tls))
            }
            Plot::Kept { .. } => self.dialled_path(),
            Plot::Attempt(attempt) => self.path_of(*attempt),
        }
    }

    /// Of the application's leg.
    pub fn application_path(&self) -> String {
        match &self.plot {
            Plot::Relayed { fed: true, .. } => format!("/fed/{}", self.application_mark()),
            _ => self.path(),
        }
    }

    /// The mark of an application that is asked by its own path.
    pub fn application_mark(&self) -> String {
        format!("{}a", self.mark)
    }

    /// Of its second connection, where it has one.
    pub fn second_path(&self) -> String {
        let mark = &self.mark;
        match &self.plot {
            Plot::Single { story, .. } if matches!(story.way, Way::Replaced(_)) => {
                format!("/single/{mark}/second")
            }
            _ => format!("/echo-patient/{mark}"),
        }
    }

    fn path_of(&self, attempt: Attempt) -> String {
        let mark = &self.mark;
        match attempt {
            Attempt::NoRoute => format!("/nowhere/{mark}"),
            Attempt::Origin => format!("/origin/{mark}"),
            Attempt::Unauthorized(status) => format!("/expiry/{mark}/{status}"),
            Attempt::AuthUnavailable => format!("/expiry/{mark}/500"),
            Attempt::BackendUnreachable => format!("/unreachable/{mark}"),
            Attempt::BackendRefuses(_) | Attempt::GoneWhileAsked { .. } => {
                format!("/relay-patient-ws/{mark}")
            }
            Attempt::DialRefused
            | Attempt::DialRejected(_)
            | Attempt::DialTls
            | Attempt::DialUnanswered => self.dialled_path(),
            Attempt::NotAnUpgrade
            | Attempt::OtherMethod
            | Attempt::BadKey
            | Attempt::Unparsable
            | Attempt::TooSlow(_)
            | Attempt::Gone { .. }
            | Attempt::UntrustedProxy
            | Attempt::NotTls
            | Attempt::TooMany
            | Attempt::Late => format!("/echo-patient/{mark}"),
        }
    }

    fn dialled_path(&self) -> String {
        format!("/dialled/{}", self.mark)
    }

    /// The route that its inbound connection takes.
    pub fn route(&self) -> Option<String> {
        match &self.plot {
            Plot::Single { role: Role::Dialled, .. }
            | Plot::Relayed { fed: true, .. }
            | Plot::Kept { .. } => None,
            _ => self.path().split('/').nth(1).map(str::to_owned),
        }
    }
}

pub fn scheme(tls: bool) -> &'static str {
    if tls { "wss" } else { "ws" }
}
