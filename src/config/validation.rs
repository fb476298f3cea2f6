//! What cannot be said by types: values that do not go together, and names that are taken.

mod dialers;

use std::time::Duration;

use tracing_subscriber::filter::{EnvFilter, LevelFilter};

use super::backend::Backend;
use super::control::Control;
use super::routing::Route;
use super::schema::{Config, Health};
use crate::settings::ConnectionSettings;
use crate::settings::Ledger;
use crate::settings::Limits;
use crate::settings::PathPattern;
use crate::settings::RelayBackend;
use crate::settings::values::{ByteSize, Spread};
use crate::settings::{Close, Keepalive};
use crate::vocabulary::{InvalidTag, ListenAddress, MAX_TAGS, check_tag_name};

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
    #[error("{0:?} is no name: write 1 to 64 printable characters without spaces")]
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
    /// A route never gets a request.
    #[error("never matches, because {other} takes all of it before: move it up, or remove it")]
    Shadowed {
        /// The earlier route.
        other: String,
    },
    /// A label could not be selected, or is made of nothing.
    #[error("{0}")]
    Tag(InvalidTag),
    /// A label would be made of a segment that the path does not name.
    #[error("{{{0}}} is not in the route's path: name a segment so, or write {{query.{0}}}")]
    UnknownSegment(String),
    /// A subprotocol could not stand in a header.
    #[error(
        "{0:?} is no subprotocol: write letters, digits and !#$%&'*+-.^_`|~ (RFC 6455 section 4.1)"
    )]
    Subprotocol(String),
    /// A subprotocol or an application is listed twice.
    #[error("{0:?} is listed twice: remove one")]
    ListedTwice(String),
    /// A relay would have nobody to pass clients on to.
    #[error("names no application: list at least one URL, such as \"ws://127.0.0.1:3000\"")]
    NoApplication,
    /// A key would change nothing.
    #[error("is for relay backends only, and this one takes messages anyway: remove it")]
    InjectWithoutRelay,
    /// An upstream could not be dialled.
    #[error("the URL cannot be dialled: {0}; write ws://host:port/path or wss://host/path")]
    DialerUrl(&'static str),
    /// A proxy could not be used.
    #[error("the proxy cannot be used: {0}; write http://host:port")]
    ProxyUrl(&'static str),
    /// There is no proxy that could want credentials.
    #[error("there is no proxy to give them to: set proxy, or remove them")]
    CredentialsWithoutProxy,
    /// A header could not be sent, or belongs to the opening handshake.
    #[error("{0:?} is no header to set: write a token that the opening handshake does not use")]
    Header(String),
    /// A step of the opening would do nothing.
    #[error("does nothing: set send, wait_for, or both, to a text that is not empty")]
    IdleStep,
    /// A message could not be looked for.
    #[error("no message is empty: write all of the text that is to be answered")]
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
    #[error("{0} is no close code: write 1000 to 4999")]
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

fn shown(duration: &Duration) -> humantime::FormattedDuration {
    humantime::format_duration(*duration)
}

/// A violation and the keys that take part in it, the one to change first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Contradiction {
    pub(super) keys: Vec<String>,
    pub(super) violation: Violation,
}

/// Finds everything that does not go together.
pub(super) fn find_contradictions(config: &Config) -> Vec<Contradiction> {
    let mut found = Findings::default();
    check(config, &mut found);
    found.0
}

/// What was found so far, in the order of the checks.
#[derive(Default)]
struct Findings(Vec<Contradiction>);

impl Findings {
    /// Adds a contradiction unless something holds; returns whether it does.
    fn ensure<K: Into<String>>(
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

    fn add<K: Into<String>>(&mut self, keys: impl IntoIterator<Item = K>, violation: Violation) {
        self.0.push(Contradiction { keys: keys.into_iter().map(Into::into).collect(), violation });
    }
}

fn check(config: &Config, found: &mut Findings) {
    if let Some(name) = &config.node.name {
        check_name("node.name", name, found);
    }
    check_listeners(config, found);
    check_routes(config, found);
    check_control(&config.control, &config.health, found);
    dialers::check_dialers(config, found);
    check_settings("", &config.settings(), found);
    check_ledger(&config.ledger, found);
    if let Spread::Over(spread) = config.drain.spread {
        let within = config.drain.within;
        found.ensure(spread <= within, ["drain.spread", "drain.within"], || {
            Violation::SpreadAboveWithin { spread, within }
        });
    }
    if let Some(why) = filter_problem(&config.log.filter) {
        found.add(["log.filter"], Violation::LogFilter { why });
    }
}

/// Tells why a filter means nothing. `tracing` takes a misspelt level for a target, and would then
/// log nothing at all.
fn filter_problem(filter: &str) -> Option<String> {
    let words: Vec<&str> = filter.split(',').map(str::trim).collect();
    let is_level = |word: &str| !word.is_empty() && word.parse::<LevelFilter>().is_ok();
    match words.iter().find(|word| !is_level(word) && !word.contains(['=', '['])) {
        Some(word) => Some(format!("{word:?} is neither a level nor target=level")),
        None => EnvFilter::builder().parse(words.join(",")).err().map(|error| error.to_string()),
    }
}

fn check_listeners(config: &Config, found: &mut Findings) {
    found.ensure(!config.listeners.is_empty(), ["listeners"], || Violation::NoListener);
    let names: Vec<_> = config.listeners.iter().map(|listener| listener.name.as_str()).collect();
    check_names("listeners", &names, found);
    let listeners = config.listeners.iter().enumerate();
    let listeners =
        listeners.map(|(index, listener)| (format!("listeners[{index}].listen"), &listener.listen));
    let control = config.control.listen.iter().map(|listen| ("control.listen".to_owned(), listen));
    let health = config.health.listen.iter().map(|listen| ("health.listen".to_owned(), listen));
    let mut taken: Vec<(String, &ListenAddress)> = Vec::new();
    for (key, address) in listeners.chain(control).chain(health) {
        if let Some((other, _)) = taken.iter().find(|(_, other)| collide(other, address)) {
            let (address, other) = (address.to_string(), other.clone());
            found.add([key], Violation::DuplicateAddress { address, other });
            continue;
        }
        taken.push((key, address));
    }
}

/// Returns whether two addresses cannot both be bound; port 0 is a new port each time.
fn collide(a: &ListenAddress, b: &ListenAddress) -> bool {
    match (a, b) {
        (ListenAddress::Tcp(a), ListenAddress::Tcp(b)) => {
            let overlap = a.ip() == b.ip()
                || a.is_ipv4() == b.is_ipv4()
                    && (a.ip().is_unspecified() || b.ip().is_unspecified());
            a.port() != 0 && a.port() == b.port() && overlap
        }
        (ListenAddress::Unix(a), ListenAddress::Unix(b)) => a == b,
        (ListenAddress::Tcp(_), ListenAddress::Unix(_))
        | (ListenAddress::Unix(_), ListenAddress::Tcp(_)) => false,
    }
}

fn check_routes(config: &Config, found: &mut Findings) {
    found.ensure(!config.routes.is_empty(), ["routes"], || Violation::NoRoute);
    let names: Vec<_> = config.routes.iter().map(|route| route.name.as_str()).collect();
    check_names("routes", &names, found);
    for (index, route) in config.routes.iter().enumerate() {
        let earlier = config.routes[..index].iter().position(|earlier| shadows(earlier, route));
        if let Some(earlier) = earlier {
            let other = format!("routes[{earlier}] ({:?})", config.routes[earlier].name);
            found.add([format!("routes[{index}].path")], Violation::Shadowed { other });
            continue;
        }
        check_tags(&format!("routes[{index}].tags"), route, found);
        check_subprotocols(&format!("routes[{index}]."), &route.subprotocols, found);
        check_settings(&format!("routes[{index}]."), &route.settings(&config.settings()), found);
        match &route.backend {
            Backend::Relay(relay) => {
                check_relay(&format!("routes[{index}].backend"), relay, found);
            }
            Backend::Echo => {
                found.ensure(!route.inject, [format!("routes[{index}].inject")], || {
                    Violation::InjectWithoutRelay
                });
            }
        }
    }
}

fn check_tags(key: &str, route: &Route, found: &mut Findings) {
    let too_many = || Violation::Tag(InvalidTag::TooMany(route.tags.len()));
    found.ensure(route.tags.len() <= MAX_TAGS, [key], too_many);
    for (name, template) in &route.tags {
        if let Err(error) = check_tag_name(name) {
            found.add([key], Violation::Tag(error));
        }
        let known = |segment: &str| match &route.path {
            PathPattern::Template(path) => path.names(segment),
            PathPattern::Exact(_) | PathPattern::Prefix(_) => false,
        };
        if let Some(unknown) = template.path_names().find(|name| !known(name)) {
            let violation = Violation::UnknownSegment(unknown.to_owned());
            found.add([format!("{key}.{name}")], violation);
        }
    }
}

fn check_relay(key: &str, relay: &RelayBackend, found: &mut Findings) {
    let urls = || [format!("{key}.urls")];
    found.ensure(!relay.urls.is_empty(), urls(), || Violation::NoApplication);
    for (index, url) in relay.urls.iter().enumerate() {
        // Its failures would be counted apart, and it would be drained by halves.
        let twice = || Violation::ListedTwice(url.to_string());
        found.ensure(!relay.urls[..index].contains(url), urls(), twice);
    }
    for (name, duration) in [
        ("connect_timeout", relay.connect_timeout),
        ("response_timeout", relay.response_timeout),
        ("http_timeout", relay.http_timeout),
        ("eject_for", relay.eject_for),
        ("health_interval", relay.health_interval),
    ] {
        found.ensure(!duration.is_zero(), [format!("{key}.{name}")], || Violation::NoDeadline);
    }
    for (name, number) in [
        ("tries", u64::from(relay.tries)),
        ("max_pending", u64::from(relay.max_pending)),
        ("max_message_size", relay.max_message_size.map_or(u64::MAX, |size| size.0)),
    ] {
        found.ensure(number > 0, [format!("{key}.{name}")], || Violation::NoRoom);
    }
}

fn check_control(control: &Control, health: &Health, found: &mut Findings) {
    if let (Some(listen), None) = (&control.listen, &control.token_file) {
        let protected = match listen {
            ListenAddress::Tcp(address) => address.ip().to_canonical().is_loopback(),
            ListenAddress::Unix(_) => true,
        };
        let keys = ["control.token_file", "control.listen"];
        found.ensure(protected, keys, || Violation::NoToken(listen.clone()));
    }
    for (key, duration) in [
        ("health.header_timeout", health.header_timeout),
        ("control.header_timeout", control.header_timeout),
        ("control.body_timeout", control.body_timeout),
        ("control.write_timeout", control.write_timeout),
    ] {
        found.ensure(!duration.is_zero(), [key], || Violation::NoDeadline);
    }
    let fits = control.max_body > ByteSize(0);
    found.ensure(fits, ["control.max_body"], || Violation::NoRoom);
    found.ensure(control.max_connections > 0, ["control.max_connections"], || Violation::NoRoom);
}

fn check_subprotocols(prefix: &str, subprotocols: &[String], found: &mut Findings) {
    for (at, subprotocol) in subprotocols.iter().enumerate() {
        let key = [format!("{prefix}subprotocols[{at}]")];
        found.ensure(is_token(subprotocol), key.clone(), || {
            Violation::Subprotocol(subprotocol.clone())
        });
        found.ensure(!subprotocols[..at].contains(subprotocol), key, || {
            Violation::ListedTwice(subprotocol.clone())
        });
    }
}

fn shadows(earlier: &Route, later: &Route) -> bool {
    // Hosts are in lower case since they were read.
    let host_covers = earlier.host.is_none() || earlier.host == later.host;
    host_covers && earlier.path.covers(&later.path)
}

/// Checks what holds for one connection: the sections, or those of a route.
fn check_settings(prefix: &str, settings: &ConnectionSettings, found: &mut Findings) {
    // A route may inherit one half of a contradiction.
    let keys = |keys: &[&str]| -> Vec<String> {
        let own = keys.iter().map(|key| format!("{prefix}{key}"));
        own.chain(keys.iter().map(|key| (*key).to_owned())).collect()
    };
    let ConnectionSettings { limits, keepalive, close, records: _ } = settings;
    let Limits { max_message_size, max_frame_size, inbox_bytes, outbox_bytes, .. } = limits;
    for (key, duration) in [
        ("limits.handshake_timeout", limits.handshake_timeout),
        ("limits.inbox_timeout", limits.inbox_timeout),
        ("limits.write_timeout", limits.write_timeout),
        ("close.timeout", close.timeout),
    ] {
        found.ensure(!duration.is_zero(), keys(&[key]), || Violation::NoDeadline);
    }
    for (key, size) in [
        ("limits.max_message_size", max_message_size),
        ("limits.max_frame_size", max_frame_size),
        ("limits.inbox_bytes", inbox_bytes),
        ("limits.outbox_bytes", outbox_bytes),
    ] {
        found.ensure(*size > ByteSize(0), keys(&[key]), || Violation::NoRoom);
    }
    let sizes = keys(&["limits.max_frame_size", "limits.max_message_size"]);
    found.ensure(max_frame_size <= max_message_size, sizes, || Violation::FrameAboveMessage {
        frame: *max_frame_size,
        message: *max_message_size,
    });
    let Keepalive { ping_interval, pong_timeout, .. } = keepalive;
    let pings = keys(&["keepalive.pong_timeout", "keepalive.ping_interval"]);
    found.ensure(ping_interval.is_zero() || !pong_timeout.is_zero(), pings, || {
        Violation::NoPongTimeout
    });
    let Close { timeout, linger, reason_id: _ } = *close;
    found.ensure(linger <= timeout, keys(&["close.linger", "close.timeout"]), || {
        Violation::LingerAboveTimeout { linger, timeout }
    });
}

fn check_ledger(ledger: &Ledger, found: &mut Findings) {
    found.ensure(!ledger.retention.is_zero(), ["ledger.retention"], || Violation::NothingKept);
    for (key, size, least) in [
        ("ledger.max_size", ledger.max_size, ByteSize::mib(4)),
        ("ledger.queue_bytes", ledger.queue_bytes, ByteSize::mib(1)),
    ] {
        found.ensure(size >= least, [key], || Violation::TooSmall { least });
    }
    let least = Duration::from_millis(100);
    found.ensure(ledger.stall_timeout >= least, ["ledger.stall_timeout"], || Violation::TooShort {
        least,
    });
}

fn check_names(array: &str, names: &[&str], found: &mut Findings) {
    for (index, name) in names.iter().enumerate() {
        let key = format!("{array}[{index}].name");
        check_name(&key, name, found);
        if let Some(earlier) = names[..index].iter().position(|earlier| earlier == name) {
            let (name, other) = ((*name).to_owned(), format!("{array}[{earlier}]"));
            found.add([key], Violation::DuplicateName { name, other });
            continue;
        }
    }
}

fn check_name(key: &str, name: &str, found: &mut Findings) {
    let printable = !name.contains(|c: char| c.is_whitespace() || c.is_control());
    let fits = (1..=64).contains(&name.chars().count());
    found.ensure(printable && fits, [key], || Violation::Name(name.to_owned()));
}

/// Returns whether `text` is a token of HTTP (RFC 9110 section 5.6.2).
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{PathPattern, RouteLimits};

    /// Returns the key and violation of a default configuration after `change`.
    fn found(change: impl FnOnce(&mut Config)) -> Option<(String, Violation)> {
        let mut config = Config::default();
        change(&mut config);
        let first = find_contradictions(&config).into_iter().next()?;
        Some((first.keys[0].clone(), first.violation))
    }

    fn route(name: &str, host: Option<&str>, path: &str) -> Route {
        let path: PathPattern = path.parse().unwrap();
        Route { name: name.to_owned(), host: host.map(str::to_owned), path, ..Route::default() }
    }

    #[test]
    fn the_defaults_go_together() {
        assert_eq!(found(|_| ()), None);
        assert_eq!(found(|config| config.limits.max_message_size = ByteSize::mib(64)), None);
    }

    #[test]
    fn something_must_be_left_to_do() {
        let no_listener = found(|config| config.listeners.clear());
        assert_eq!(no_listener, Some(("listeners".to_owned(), Violation::NoListener)));
        let no_route = found(|config| config.routes.clear());
        assert_eq!(no_route, Some(("routes".to_owned(), Violation::NoRoute)));
    }

    #[test]
    fn names_are_unique_and_printable() {
        let (key, violation) =
            found(|config| config.listeners.push(config.listeners[0].clone())).unwrap();
        assert_eq!(key, "listeners[1].name");
        assert!(matches!(violation, Violation::DuplicateName { .. }));
        for name in ["", "a b", "a\n", &"x".repeat(65)] {
            let (_, violation) = found(|config| config.routes[0].name = name.to_owned()).unwrap();
            assert_eq!(violation, Violation::Name(name.to_owned()));
            let (_, violation) = found(|config| config.node.name = Some(name.to_owned())).unwrap();
            assert_eq!(violation, Violation::Name(name.to_owned()));
        }
    }

    #[test]
    fn addresses_are_taken_once() {
        let collides = |a: &str, b: &str| collide(&a.parse().unwrap(), &b.parse().unwrap());
        assert!(collides("127.0.0.1:80", "127.0.0.1:80"));
        assert!(collides("127.0.0.1:80", "0.0.0.0:80"));
        assert!(collides("unix:/a", "unix:/a"));
        assert!(!collides("127.0.0.1:0", "127.0.0.1:0"));
        assert!(!collides("127.0.0.1:80", "127.0.0.2:80"));
        assert!(!collides("127.0.0.1:80", "[::]:80"));
        assert!(!collides("127.0.0.1:80", "unix:/a"));
        let (key, violation) =
            found(|config| config.health.listen = Some(config.listeners[0].listen.clone()))
                .unwrap();
        assert_eq!(key, "health.listen");
        assert!(matches!(violation, Violation::DuplicateAddress { .. }));
    }

    #[test]
    fn a_route_that_never_matches_is_refused() {
        let shadowed = |routes: [Route; 2]| {
            let found = found(|config| config.routes = routes.to_vec());
            found.is_some_and(|(key, violation)| {
                key == "routes[1].path" && matches!(violation, Violation::Shadowed { .. })
            })
        };
        assert!(shadowed([route("a", None, "/*"), route("b", Some("x"), "/b")]));
        assert!(shadowed([route("a", Some("x"), "/*"), route("b", Some("x"), "/b/*")]));
        assert!(!shadowed([route("a", Some("x"), "/*"), route("b", None, "/b")]));
        assert!(!shadowed([route("a", Some("x"), "/*"), route("b", Some("y"), "/b")]));
        assert!(!shadowed([route("a", None, "/b"), route("b", None, "/*")]));
    }

    #[test]
    fn subprotocols_are_tokens() {
        let with = |subprotocols: &[&str]| {
            let subprotocols = subprotocols.iter().map(|text| (*text).to_owned()).collect();
            found(|config| config.routes[0].subprotocols = subprotocols)
        };
        assert_eq!(with(&["v1.chat", "v2.chat"]), None);
        for text in ["", "a b", "a,b", "ü"] {
            let key = "routes[0].subprotocols[0]".to_owned();
            assert_eq!(with(&[text]), Some((key, Violation::Subprotocol(text.to_owned()))));
        }
        assert!(matches!(with(&["a", "a"]), Some((_, Violation::ListedTwice(_)))));
    }

    #[test]
    fn a_ledger_has_room_and_time_to_work() {
        let zero = found(|config| config.ledger.retention = Duration::ZERO);
        assert_eq!(zero, Some(("ledger.retention".to_owned(), Violation::NothingKept)));
        let small = found(|config| config.ledger.max_size = ByteSize(ByteSize::mib(4).0 - 1));
        let least = ByteSize::mib(4);
        assert_eq!(small, Some(("ledger.max_size".to_owned(), Violation::TooSmall { least })));
        assert_eq!(found(|config| config.ledger.max_size = least), None);
        let small = found(|config| config.ledger.queue_bytes = ByteSize::kib(1023));
        let least = ByteSize::mib(1);
        assert_eq!(small, Some(("ledger.queue_bytes".to_owned(), Violation::TooSmall { least })));
        let short = found(|config| config.ledger.stall_timeout = Duration::from_millis(99));
        let least = Duration::from_millis(100);
        assert_eq!(short, Some(("ledger.stall_timeout".to_owned(), Violation::TooShort { least })));
    }

    #[test]
    fn every_wait_has_a_deadline_and_every_queue_has_room() {
        let zero = Duration::ZERO;
        for found in [
            found(|config| config.limits.handshake_timeout = zero),
            found(|config| config.limits.inbox_timeout = zero),
            found(|config| config.limits.write_timeout = zero),
            found(|config| config.close.timeout = zero),
        ] {
            assert!(matches!(found, Some((_, Violation::NoDeadline))), "{found:?}");
        }
        for found in [
            found(|config| config.limits.max_message_size = ByteSize(0)),
            found(|config| config.limits.max_frame_size = ByteSize(0)),
            found(|config| config.limits.inbox_bytes = ByteSize(0)),
            found(|config| config.limits.outbox_bytes = ByteSize(0)),
        ] {
            assert!(matches!(found, Some((_, Violation::NoRoom))), "{found:?}");
        }
    }

    #[test]
    fn limits_that_contradict_each_other_are_refused() {
        let violation = found(|config| config.limits.max_frame_size = ByteSize::mib(2)).unwrap().1;
        assert!(matches!(violation, Violation::FrameAboveMessage { .. }));
        let violation = found(|config| config.keepalive.pong_timeout = Duration::ZERO).unwrap().1;
        assert_eq!(violation, Violation::NoPongTimeout);
        let violation = found(|config| config.close.linger = Duration::from_secs(11)).unwrap().1;
        assert!(matches!(violation, Violation::LingerAboveTimeout { .. }));
        let spread = Spread::Over(Duration::from_secs(61));
        let violation = found(|config| config.drain.spread = spread).unwrap().1;
        assert!(matches!(violation, Violation::SpreadAboveWithin { .. }));
        for filter in ["a=b=c", "inof", "info,wran", ""] {
            let (key, violation) = found(|config| config.log.filter = filter.to_owned()).unwrap();
            assert_eq!(key, "log.filter");
            assert!(matches!(violation, Violation::LogFilter { .. }), "{filter}");
        }
    }

    #[test]
    fn a_control_api_that_others_reach_needs_a_token() {
        let listen = |address: &str| {
            let address = address.parse().unwrap();
            found(|config| config.control.listen = Some(address))
        };
        for open in ["0.0.0.0:8081", "[::]:8081", "10.0.0.5:8081", "[2001:db8::1]:8081"] {
            let (key, violation) = listen(open).unwrap();
            assert_eq!(key, "control.token_file");
            assert!(matches!(violation, Violation::NoToken(_)), "{open}");
        }
        for closed in ["127.0.0.2:8081", "[::1]:8081", "[::ffff:127.0.0.1]:8081", "unix:/x.sock"] {
            assert_eq!(listen(closed), None, "{closed}");
        }
        let guarded = found(|config| {
            config.control.listen = Some("0.0.0.0:8081".parse().unwrap());
            config.control.token_file = Some("tokens".into());
        });
        assert_eq!(guarded, None);
        assert_eq!(found(|config| config.control.listen = None), None);
    }

    #[test]
    fn the_control_api_is_bounded_and_has_an_address_of_its_own() {
        let key = |change: fn(&mut Control)| found(|config| change(&mut config.control)).unwrap().0;
        assert_eq!(key(|c| c.write_timeout = Duration::ZERO), "control.write_timeout");
        assert_eq!(key(|c| c.max_body = ByteSize(0)), "control.max_body");
        assert_eq!(key(|c| c.max_connections = 0), "control.max_connections");
        let taken = key(|c| c.listen = Some("127.0.0.1:8080".parse().unwrap()));
        assert_eq!(taken, "control.listen");
    }

    #[test]
    fn a_route_is_checked_with_what_it_inherits() {
        let max_frame_size = Some(ByteSize::mib(2));
        let limits = RouteLimits { max_frame_size, ..RouteLimits::default() };
        let (key, violation) = found(|config| config.routes[0].limits = limits).unwrap();
        assert_eq!(key, "routes[0].limits.max_frame_size");
        assert!(matches!(violation, Violation::FrameAboveMessage { .. }));
    }

    #[test]
    fn only_relayed_connections_have_to_let_messages_in() {
        let (key, violation) = found(|config| config.routes[0].inject = true).unwrap();
        assert_eq!((&*key, violation), ("routes[0].inject", Violation::InjectWithoutRelay));
        let relay = RelayBackend::new("ws://a".parse().unwrap());
        let relayed = found(|config| {
            config.routes[0].inject = true;
            config.routes[0].backend = Backend::Relay(Box::new(relay));
        });
        assert_eq!(relayed, None);
    }
}
