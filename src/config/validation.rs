//! Checks beyond types: values that contradict each other, and duplicate names.

mod auth;
mod dialers;
mod findings;
mod shared;

use std::time::Duration;

use tracing_subscriber::filter::{EnvFilter, LevelFilter};

use super::backend::BackendChoice;
use super::routing::Route;
use super::schema::{Config, Health};
use crate::settings::values::{ByteSize, Spread};
use crate::settings::{ConnectionSettings, Control, Forwarded, Ledger, PathPattern, Replace, Tls};
use crate::vocabulary::{InvalidTag, ListenAddress, MAX_TAGS, check_tag_name};

pub(super) use findings::Contradiction;
pub use findings::Violation;

use findings::Findings;
use shared::{check_name, check_names, check_relay, check_settings, check_subprotocols};

/// Finds everything that does not go together.
pub(super) fn find_contradictions(config: &Config) -> Vec<Contradiction> {
    let mut found = Findings::default();
    check(config, &mut found);
    found.0
}

fn check(config: &Config, found: &mut Findings) {
    if let Some(name) = &config.node.name {
        check_name("node.name", name, found);
    }
    check_listeners(config, found);
    check_tls(config, found);
    let sections = config.settings();
    check_routes(config, &sections, found);
    check_control(&config.control, &config.health, found);
    dialers::check_dialers(config, &sections, found);
    check_settings("", &sections, found);
    check_ledger(&config.ledger, found);
    if let Spread::Over(spread) = config.drain.spread {
        let within = config.drain.within;
        found.ensure(spread <= within, ["drain.spread", "drain.within"], || {
            Violation::SpreadAboveWithin { spread, within }
        });
    }
    if let Err(why) = parse_filter(&config.log.filter) {
        found.add(["log.filter"], Violation::LogFilter { why });
    }
}

/// Reads a filter of the log such as `info,ractor=off`.
///
/// A word that is not a level is refused, though `tracing` would take it for a target, because a
/// misspelt level would silence everything.
///
/// # Errors
/// What is wrong with it.
pub fn parse_filter(filter: &str) -> Result<EnvFilter, String> {
    let words: Vec<&str> = filter.split(',').map(str::trim).collect();
    let is_level = |word: &str| !word.is_empty() && word.parse::<LevelFilter>().is_ok();
    match words.iter().find(|word| !is_level(word) && !word.contains(['=', '['])) {
        Some(word) => Err(format!("{word:?} is neither a level nor target=level")),
        None => EnvFilter::builder().parse(words.join(",")).map_err(|error| error.to_string()),
    }
}

/// Checks that certificates have keys, and that their sockets leave this machine.
fn check_tls(config: &Config, found: &mut Findings) {
    let control = config.control.listen.as_ref();
    let health = config.health.listen.as_ref();
    let listeners = config.listeners.iter().enumerate().map(|(index, listener)| {
        (format!("listeners[{index}]"), &listener.tls, Some(&listener.listen))
    });
    let others = [
        ("control".to_owned(), &config.control.tls, control),
        ("health".to_owned(), &config.health.tls, health),
    ];
    for (section, tls, listen) in listeners.chain(others) {
        let Some(keys) = tls else { continue };
        let key = format!("{section}.tls");
        if let Err(why) = Tls::try_from(keys) {
            found.add([key], Violation::Tls(why));
        } else if let Some(ListenAddress::Unix(_)) = listen {
            found.add([key], Violation::TlsOnUnixSocket);
        }
    }
}

fn check_listeners(config: &Config, found: &mut Findings) {
    found.ensure(!config.listeners.is_empty(), ["listeners"], || Violation::NoListener);
    let names: Vec<_> = config.listeners.iter().map(|listener| listener.name.as_str()).collect();
    check_names("listeners", &names, found);
    check_proxies(config, found);
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

/// Checks that somebody is trusted where proxies in front may name the client.
fn check_proxies(config: &Config, found: &mut Findings) {
    for (index, listener) in config.listeners.iter().enumerate() {
        let key = match (listener.proxy_protocol, listener.forwarded) {
            _ if !listener.trusted_proxies.is_empty() => continue,
            (true, _) => "proxy_protocol",
            (false, Forwarded::Trust) => "forwarded",
            (false, _) => continue,
        };
        let trusted = format!("listeners[{index}].trusted_proxies");
        found.add([format!("listeners[{index}].{key}"), trusted], Violation::NoTrustedProxy);
    }
}

/// Returns whether two addresses cannot both be bound; port 0 is a new port each time.
pub(crate) fn collide(a: &ListenAddress, b: &ListenAddress) -> bool {
    match (a, b) {
        (ListenAddress::Tcp(a), ListenAddress::Tcp(b)) => {
            let overlap = a.ip() == b.ip()
                || a.is_ipv4() == b.is_ipv4()
                    && (a.ip().is_unspecified() || b.ip().is_unspecified());
            a.port() != 0 && a.port() == b.port() && overlap
        }
        (ListenAddress::Unix(a), ListenAddress::Unix(b)) => a == b,
        (ListenAddress::Systemd(a), ListenAddress::Systemd(b)) => a == b,
        (ListenAddress::Tcp(_) | ListenAddress::Unix(_) | ListenAddress::Systemd(_), _) => false,
    }
}

fn check_routes(config: &Config, sections: &ConnectionSettings, found: &mut Findings) {
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
        if let Some(auth) = &route.auth {
            auth::check_auth(&format!("routes[{index}].auth"), auth, found);
        }
        let is_counted = route.limits.max_connections_per_subject.is_some_and(|most| most > 0);
        found.ensure(
            !is_counted || route.replace == Replace::None,
            ["replace", "limits.max_connections_per_subject"]
                .map(|key| format!("routes[{index}].{key}")),
            || Violation::ReplacedAndCounted,
        );
        check_subprotocols(&format!("routes[{index}]."), &route.subprotocols, found);
        check_settings(&format!("routes[{index}]."), &route.settings(sections), found);
        match &route.backend {
            BackendChoice::Relay(relay) => {
                check_relay(&format!("routes[{index}].backend"), relay, found);
            }
            BackendChoice::Echo => {
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

fn check_control(control: &Control, health: &Health, found: &mut Findings) {
    if let (Some(listen), None) = (&control.listen, &control.token_file) {
        // The daemon checks the address of a socket that it is passed.
        let protected = matches!(listen, ListenAddress::Systemd(_)) || listen.is_local();
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

fn shadows(earlier: &Route, later: &Route) -> bool {
    // Hosts are in lower case since they were read.
    let host_covers = earlier.host.is_none() || earlier.host == later.host;
    host_covers && earlier.path.covers(&later.path)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{PathPattern, Replace, RouteLimits};

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
    fn connections_are_counted_by_routes_and_not_beside_replace() {
        let limits = RouteLimits { max_connections_per_subject: Some(2), ..RouteLimits::default() };
        assert_eq!(found(|config| config.routes[0].limits = limits.clone()), None);
        let (key, violation) = found(|config| {
            config.routes[0].limits = limits.clone();
            config.routes[0].replace = Replace::Oldest;
        })
        .unwrap();
        assert_eq!((&*key, violation), ("routes[0].replace", Violation::ReplacedAndCounted));
    }

    #[test]
    fn only_relayed_connections_have_to_let_messages_in() {
        let (key, violation) = found(|config| config.routes[0].inject = true).unwrap();
        assert_eq!((&*key, violation), ("routes[0].inject", Violation::InjectWithoutRelay));
        let relay = crate::settings::RelayBackend::new("ws://a".parse().unwrap());
        let relayed = found(|config| {
            config.routes[0].inject = true;
            config.routes[0].backend = BackendChoice::Relay(Box::new(relay));
        });
        assert_eq!(relayed, None);
    }
}
