//! The contradictions that validation reports.

use std::time::Duration;

use crate::protocol::url::UrlProblem;
use crate::settings::Algorithm;
use crate::settings::values::ByteSize;
use crate::vocabulary::{InvalidTag, ListenAddress};

/// Tells what does not go together, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// There is nothing to accept on.
    #[error("no listener is left: add one, or remove the empty array")]
    NoListener,
    /// There is nothing to accept for.
    #[error("no route is left: add one, or remove the empty array")]
    NoRoute,
    /// A name would not survive a log line or a metric's label.
    #[error("{0:?} is not a name: write 1 to 64 printable characters without spaces")]
    Name(String),
    /// Two listeners or two routes have one name.
    #[error("{other} has the name {name:?} already: choose another")]
    DuplicateName {
        /// The name.
        name: String,
        /// Who has it.
        other: String,
    },
    /// Two listening sockets cannot both be bound.
    #[error("{other} takes the address {address} already: choose another")]
    DuplicateAddress {
        /// The address.
        address: String,
        /// Who has it.
        other: String,
    },
    /// A proxy in front could name the client, and none is trusted.
    #[error(
        "counts from trusted_proxies only, and there are none: list them, such as \"10.0.0.0/8\""
    )]
    NoTrustedProxy,
    /// A route never gets a request.
    #[error("never matches, because {other} takes all of it before: move it up, or remove it")]
    Shadowed {
        /// The earlier route.
        other: String,
    },
    /// A certificate has no key, or the like.
    #[error("{0}")]
    Tls(&'static str),
    /// TLS protects nothing where bytes do not leave the machine.
    #[error(
        "is for TCP: a Unix socket does not leave this machine, so remove it, or listen on TCP"
    )]
    TlsOnUnixSocket,
    /// A label could not be selected, or is made of nothing.
    #[error("{0}")]
    Tag(InvalidTag),
    /// A label would be made of a segment that the path does not name.
    #[error("{{{0}}} is not in the route's path: name a segment so, or write {{query.{0}}}")]
    UnknownSegment(String),
    /// A subprotocol could not stand in a header.
    #[error(
        "{0:?} is not a subprotocol: write letters, digits and !#$%&'*+-.^_`|~ (RFC 6455 section 4.1)"
    )]
    Subprotocol(String),
    /// A subprotocol or an application is listed twice.
    #[error("{0:?} is listed twice: remove one")]
    ListedTwice(String),
    /// A relay would have no application.
    #[error("names no application: list at least one URL, such as \"ws://127.0.0.1:3000\"")]
    NoApplication,
    /// A key would change nothing.
    #[error("is for relay backends only, and this one takes messages anyway: remove it")]
    InjectWithoutRelay,
    /// `replace` lets a subject have one connection.
    #[error(
        "`replace` lets a subject have one connection: remove it, or limits.max_connections_per_subject"
    )]
    ReplacedAndCounted,
    /// An upstream could not be dialled.
    #[error(
        "the URL cannot be dialled: {0}; write ws://host:port/path or wss://host/path, and credentials in `headers`"
    )]
    DialerUrl(UrlProblem),
    /// A proxy could not be used.
    #[error(
        "the proxy cannot be used: {0}; write http://host:port, and credentials in `proxy_credentials`"
    )]
    ProxyUrl(UrlProblem),
    /// There is no proxy that could want credentials.
    #[error("there is no proxy to give them to: set proxy, or remove them")]
    CredentialsWithoutProxy,
    /// A header could not be sent, or belongs to the opening handshake.
    #[error(
        "{0:?} is not a header that can be set: write a token that the opening handshake does not use"
    )]
    Header(String),
    /// Tokens of this algorithm could not be checked, or be forged by anybody.
    #[error("{}", of_other_keys(*.algorithm, *.has_secret))]
    AlgorithmOfOtherKeys {
        /// The algorithm.
        algorithm: Algorithm,
        /// Whether the route has a secret, and no public keys.
        has_secret: bool,
    },
    /// No token would be found.
    #[error(
        "names no place for the token: write \"header\", \"cookie:NAME\", \"query:NAME\" or \"subprotocol\""
    )]
    NoTokenSource,
    /// A claim has no name.
    #[error("must not be empty: write the name of a claim")]
    NoClaim,
    /// A header belongs to the opening handshake.
    #[error("{0:?} belongs to the connection itself and is not passed on: remove it")]
    HeaderNotPassed(String),
    /// A clock would be too far off.
    #[error("must be at most {}", shown(most))]
    TooLong {
        /// The most that is accepted.
        most: Duration,
    },
    /// A step of the opening would do nothing.
    #[error("does nothing: set send, wait_for, or both, to a text that is not empty")]
    IdleStep,
    /// A message could not be looked for.
    #[error("must not be empty: write the whole text message to answer")]
    EmptyWhen,
    /// Too much would be looked for in each message.
    #[error("there are {found}, and {most} at most: leave some out")]
    TooManyTexts {
        /// How many there are.
        found: usize,
        /// How many there may be.
        most: usize,
    },
    /// The shortest wait would be the longest.
    #[error("min ({}) is above max ({}): lower it, or raise the other", shown(min), shown(max))]
    WaitsUpsideDown {
        /// The shortest wait.
        min: Duration,
        /// The longest.
        max: Duration,
    },
    /// No peer sends such a code.
    #[error("{0} is not a close code: write 1000 to 4999")]
    CodeOutOfRange(u16),
    /// A wait would have no end.
    #[error("must have a deadline: write a duration above zero")]
    NoDeadline,
    /// Nothing would fit.
    #[error("must be above zero: nothing would fit")]
    NoRoom,
    /// Everything would be gone at once.
    #[error("must be above zero: nothing would be kept")]
    NothingKept,
    /// There would not be room to work.
    #[error("must be at least {least}")]
    TooSmall {
        /// The least that works.
        least: ByteSize,
    },
    /// An ordinary delay would count as a failure.
    #[error("must be at least {}", shown(least))]
    TooShort {
        /// The least that works.
        least: Duration,
    },
    /// A Ping would be overdue at once.
    #[error(
        "must be above zero while keepalive.ping_interval is: set both to \"0s\" to switch Pings off"
    )]
    NoPongTimeout,
    /// A frame could be larger than its message.
    #[error(
        "max_frame_size ({frame}) is above max_message_size ({message}): lower it, or raise the other"
    )]
    FrameAboveMessage {
        /// The limit of a frame.
        frame: ByteSize,
        /// The limit of a message.
        message: ByteSize,
    },
    /// The end of a closing handshake would outlast it.
    #[error(
        "linger ({}) is above timeout ({}): lower it, or raise the other",
        shown(linger),
        shown(timeout)
    )]
    LingerAboveTimeout {
        /// The wait for the peer's FIN.
        linger: Duration,
        /// The bound of the closing handshake.
        timeout: Duration,
    },
    /// Closes would be sent after the drain's deadline.
    #[error(
        "spread ({}) is above within ({}): lower it, or raise the other",
        shown(spread),
        shown(within)
    )]
    SpreadAboveWithin {
        /// How long Closes are sent.
        spread: Duration,
        /// The bound of the drain.
        within: Duration,
    },
    /// Anybody who reaches the node could command it.
    #[error(
        "{0} is neither loopback nor a Unix socket: set control.token_file, or listen on 127.0.0.1"
    )]
    NoToken(ListenAddress),
    /// The filter of the log has no meaning.
    #[error("{why}: write directives such as \"info,lastword=debug\"")]
    LogFilter {
        /// What the parser stumbled over.
        why: String,
    },
}

fn of_other_keys(algorithm: Algorithm, has_secret: bool) -> String {
    match has_secret {
        true => format!(
            "{algorithm} needs a public key: set key_file or a JWKS in place of secret, or write HS256"
        ),
        false => format!(
            "{algorithm} is for a shared secret, and anybody who knows the public key could sign: set secret, or \
             write RS256, ES256 or EdDSA"
        ),
    }
}

fn shown(duration: &Duration) -> humantime::FormattedDuration {
    humantime::format_duration(*duration)
}

/// A violation and the keys that take part in it, the one to change first.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::config) struct Contradiction {
    pub(in crate::config) keys: Vec<String>,
    pub(in crate::config) violation: Violation,
}

/// What was found so far, in the order of the checks.
#[derive(Default)]
pub(super) struct Findings(pub(super) Vec<Contradiction>);

impl Findings {
    /// Adds a contradiction unless something holds; returns whether it does.
    pub(super) fn ensure<K: Into<String>>(
        &mut self,
        holds: bool,
        keys: impl IntoIterator<Item = K>,
        violation: impl FnOnce() -> Violation,
    ) -> bool {
        if !holds {
            self.add(keys, violation());
        }
        holds
    }

    /// Adds a contradiction for each entry of a list that is in it before. `key` makes the key of the entry
    /// at an index.
    pub(super) fn ensure_distinct<T: PartialEq + ToString>(
        &mut self,
        listed: &[T],
        key: impl Fn(usize) -> String,
    ) {
        for (at, entry) in listed.iter().enumerate() {
            self.ensure(!listed[..at].contains(entry), [key(at)], || {
                Violation::ListedTwice(entry.to_string())
            });
        }
    }

    pub(super) fn add<K: Into<String>>(
        &mut self,
        keys: impl IntoIterator<Item = K>,
        violation: Violation,
    ) {
        self.0.push(Contradiction { keys: keys.into_iter().map(Into::into).collect(), violation });
    }
}
