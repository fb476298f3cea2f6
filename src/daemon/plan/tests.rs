//! Which steps a change of the configuration takes, and what needs a restart.

use super::*;
use crate::config::{BackendChoice, Listener, Route, Sources, keys_of, load};
use crate::settings::{Dialer, RelayBackend};

fn listener(name: &str, listen: &str) -> Listener {
    Listener { name: name.to_owned(), listen: listen.parse().unwrap(), ..Listener::default() }
}

fn route(name: &str, path: &str) -> Route {
    Route { name: name.to_owned(), path: path.parse().unwrap(), ..Route::default() }
}

/// Plans a change of a configuration with two listeners, three routes and two dialers.
fn plan(change: impl FnOnce(&mut Config)) -> (Plan, Config) {
    let old = Config {
        listeners: vec![listener("a", "127.0.0.1:8001"), listener("b", "127.0.0.1:8002")],
        routes: vec![route("x", "/x"), route("y", "/y"), route("z", "/z/*")],
        dialers: vec![Dialer::new("in", "ws://one"), Dialer::new("out", "ws://two")],
        ..Config::default()
    };
    let mut new = old.clone();
    change(&mut new);
    Plan::new(&old, new)
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn without_a_change_nothing_is_done() {
    assert_eq!(plan(|_| ()).0, Plan::default());
}

/// Every key of a section: its name, and values of which at least one is not its default.
const KEYS: &[(&str, &[&str])] = &[
    ("node.name", &["\"other\""]),
    ("limits.max_connections", &["7"]),
    ("limits.max_connections_per_ip", &["7"]),
    ("limits.half_open_per_ip", &["7"]),
    ("limits.handshakes_per_second", &["7"]),
    ("limits.dials_per_second", &["7"]),
    ("limits.accept_rate_per_ip", &["7"]),
    ("limits.max_http_connections", &["7"]),
    ("limits.http_requests_per_second", &["7"]),
    ("limits.handshake_timeout", &["\"7s\""]),
    ("limits.message_timeout", &["\"7s\""]),
    ("limits.max_message_size", &["\"7MiB\""]),
    ("limits.max_frame_size", &["\"7KiB\""]),
    ("limits.inbox_bytes", &["\"7KiB\""]),
    ("limits.inbox_timeout", &["\"7s\""]),
    ("limits.outbox_bytes", &["\"7KiB\""]),
    ("limits.write_timeout", &["\"7s\""]),
    ("limits.on_full", &["\"close\""]),
    ("limits.memory", &["\"7%\""]),
    ("limits.messages_per_second", &["7"]),
    ("limits.bytes_per_second", &["\"7KiB\""]),
    ("limits.on_rate", &["\"slow\""]),
    ("keepalive.ping_interval", &["\"7s\""]),
    ("keepalive.pong_timeout", &["\"7s\""]),
    ("keepalive.idle_timeout", &["\"7s\""]),
    ("keepalive.max_age", &["\"7s\""]),
    ("close.timeout", &["\"7s\""]),
    ("close.linger", &["\"1s\""]),
    ("close.reason_id", &["true"]),
    ("drain.delay", &["\"7s\""]),
    ("drain.within", &["\"7s\""]),
    ("drain.spread", &["\"7s\""]),
    ("drain.code", &["1001"]),
    ("drain.reason", &["\"bye\""]),
    ("control.listen", &["\"127.0.0.1:9\""]),
    ("control.tls", &["{ cert = \"c\", key = \"k\" }"]),
    ("control.token_file", &["\"tokens\""]),
    ("control.allow_dial", &["true"]),
    ("control.hosts", &["[\"a.example\"]"]),
    ("control.max_connections", &["7"]),
    ("control.max_dialers", &["7"]),
    ("control.max_revocations", &["7"]),
    ("control.header_timeout", &["\"7s\""]),
    ("control.body_timeout", &["\"7s\""]),
    ("control.write_timeout", &["\"7s\""]),
    ("control.max_body", &["\"7KiB\""]),
    ("health.listen", &["\"127.0.0.1:9\""]),
    ("health.tls", &["{ cert = \"c\", key = \"k\" }"]),
    ("health.header_timeout", &["\"7s\""]),
    ("ledger.path", &["\"other.db\""]),
    ("ledger.retention", &["\"7h\""]),
    ("ledger.max_size", &["\"7MiB\""]),
    ("ledger.synchronous", &["\"full\""]),
    ("ledger.on_failure", &["\"refuse\""]),
    ("ledger.open_failed_per_second", &["7"]),
    ("ledger.queue_bytes", &["\"7MiB\""]),
    ("ledger.stall_timeout", &["\"7s\""]),
    ("records.query", &["\"keep\""]),
    ("records.query_keep", &["[\"room\"]"]),
    ("log.format", &["\"json\""]),
    ("log.filter", &["\"debug\""]),
];

/// What needs a restart, as the guide and `config/lastword.toml` say.
const RESTARTS: &[&str] = &[
    "node.name",
    "ledger.path",
    "ledger.synchronous",
    "ledger.on_failure",
    "ledger.open_failed_per_second",
    "ledger.queue_bytes",
    "ledger.stall_timeout",
    "log.format",
];

#[test]
fn each_key_takes_effect_or_needs_a_restart() {
    for (key, values) in KEYS {
        for value in *values {
            let set = vec![format!("{key}={value}")];
            let old = load(&Sources::default()).unwrap();
            let new = load(&Sources { set, ..Sources::default() }).unwrap();
            let (plan, used) = Plan::new(&old, new.clone());
            let all: Vec<&String> = plan.changed.iter().chain(&plan.needs_restart).collect();
            assert!(all.contains(&&(*key).to_owned()), "{key}: {all:?}");
            if RESTARTS.contains(key) {
                assert_eq!(plan, Plan { needs_restart: names(&[key]), ..Plan::default() });
                assert_eq!(used, old, "{key} stays as it was");
            } else {
                assert_eq!(plan.needs_restart, names(&[]), "{key}");
                assert_eq!(used, new, "{key} takes effect");
            }
        }
    }
}

#[test]
fn each_key_of_the_schema_is_in_the_list() {
    let sections: &[(&str, &[&str])] = &[
        ("node", keys_of::<Node>()),
        ("limits", keys_of::<Limits>()),
        ("keepalive", keys_of::<Keepalive>()),
        ("close", keys_of::<Close>()),
        ("drain", keys_of::<Drain>()),
        ("control", keys_of::<Control>()),
        ("health", keys_of::<Health>()),
        ("ledger", keys_of::<Ledger>()),
        ("records", keys_of::<Records>()),
        ("log", keys_of::<Log>()),
    ];
    let mut all = BTreeSet::new();
    for (section, keys) in sections {
        all.extend(keys.iter().map(|key| format!("{section}.{key}")));
    }
    assert_eq!(all, KEYS.iter().map(|(key, _)| (*key).to_owned()).collect());
    let tables: BTreeSet<&str> = keys_of::<Config>().iter().copied().collect();
    let lists = ["listeners", "routes", "dialers"];
    assert_eq!(tables, sections.iter().map(|(name, _)| *name).chain(lists).collect());
}

#[test]
fn a_difference_that_needs_a_restart_is_told_until_it_is_gone() {
    let (first, used) = plan(|config| config.node.name = Some("other".to_owned()));
    let again =
        Plan::new(&used, Config { node: Node { name: Some("other".into()) }, ..used.clone() });
    assert_eq!(first.needs_restart, names(&["node.name"]));
    assert_eq!(again.0, first);
    assert_eq!(Plan::new(&used, used.clone()).0, Plan::default());
}

#[test]
fn listeners_come_and_go_and_move() {
    let (came, _) = plan(|config| config.listeners.push(listener("c", "127.0.0.1:8003")));
    assert_eq!((came.listeners.added, came.listeners.removed), (names(&["c"]), names(&[])));
    assert_eq!(came.changed, names(&["listeners.c"]));
    let (went, _) = plan(|config| drop(config.listeners.remove(0)));
    assert_eq!((went.listeners.added, went.listeners.removed), (names(&[]), names(&["a"])));
    assert_eq!(went.changed, names(&["listeners.a"]));
    let (moved, _) = plan(|config| config.listeners[1].listen = "127.0.0.1:9".parse().unwrap());
    assert_eq!((moved.listeners.added, moved.listeners.removed), (names(&["b"]), names(&["b"])));
    assert_eq!(moved.changed, names(&["listeners.b"]));
    let (kept, _) = plan(|config| config.listeners[1].proxy_protocol = true);
    assert_eq!((kept.listeners, kept.changed), (Listeners::default(), names(&["listeners.b"])));
}

#[test]
fn a_socket_is_handed_over_to_another_name() {
    let (renamed, used) = plan(|config| config.listeners[0].name = "public".to_owned());
    assert_eq!(renamed.listeners.added, names(&["public"]));
    assert_eq!(renamed.listeners.removed, names(&["a"]));
    assert_eq!(renamed.needs_restart, names(&[]));
    assert_eq!(used.listeners[0].name, "public");
    let (swapped, _) = plan(|config| {
        config.listeners[0].listen = "127.0.0.1:8002".parse().unwrap();
        config.listeners[1].listen = "127.0.0.1:8001".parse().unwrap();
    });
    assert_eq!(swapped.needs_restart, names(&[]));
    assert_eq!(swapped.listeners.added, names(&["a", "b"]));
}

#[test]
fn an_address_that_overlaps_one_in_use_needs_a_restart() {
    let (wider, used) = plan(|config| config.listeners[0].listen = "0.0.0.0:8001".parse().unwrap());
    assert_eq!(wider, Plan { needs_restart: names(&["listeners.a"]), ..Plan::default() });
    assert_eq!(used.listeners[0].listen, "127.0.0.1:8001".parse().unwrap());
    // A new one waits until the one before it has gone.
    let (replaced, used) = plan(|config| config.listeners[0] = listener("c", "0.0.0.0:8001"));
    assert_eq!(replaced.needs_restart, names(&["listeners.c"]));
    assert_eq!(replaced.listeners.removed, names(&["a"]));
    assert_eq!(used.listeners.len(), 1);
    // One that stays because of that is in the way of another.
    let (chain, used) = plan(|config| {
        config.listeners[0].listen = "0.0.0.0:8001".parse().unwrap();
        config.listeners[0].listen = "0.0.0.0:8002".parse().unwrap();
        config.listeners[1].listen = "127.0.0.1:8001".parse().unwrap();
    });
    assert_eq!(chain.needs_restart, names(&["listeners.a", "listeners.b"]));
    assert_eq!(used.listeners[1].listen, "127.0.0.1:8002".parse().unwrap());
    // Nor are the sockets of listeners handed over to a server, or the other way round.
    let (control, used) = plan(|config| {
        config.listeners.remove(0);
        config.control.listen = Some("127.0.0.1:8001".parse().unwrap());
    });
    assert_eq!(control.needs_restart, names(&["control.listen"]));
    assert_eq!(control.changed, names(&["listeners.a"]));
    assert_eq!(
        (control.control, used.control.listen),
        (Server::Stays, Config::default().control.listen)
    );
}

#[test]
fn servers_are_served_again_only_where_that_is_needed() {
    let step = |change: fn(&mut Control)| plan(|config| change(&mut config.control)).0.control;
    assert_eq!(step(|_| ()), Server::Stays);
    assert_eq!(step(|control| control.allow_dial = true), Server::Stays);
    assert_eq!(step(|control| control.max_connections = 7), Server::Again);
    assert_eq!(step(|control| control.tls = Some(Default::default())), Server::Again);
    assert_eq!(step(|control| control.listen = None), Server::Ends);
    assert_eq!(
        step(|control| control.listen = Some("127.0.0.1:9".parse().unwrap())),
        Server::Moves
    );
    let (started, _) = plan(|config| config.health.listen = Some("127.0.0.1:9".parse().unwrap()));
    assert_eq!((started.health, started.control), (Server::Moves, Server::Stays));
}

#[test]
fn routes_are_compared_by_name_and_their_order_counts() {
    let changed = |change: fn(&mut Vec<Route>)| plan(|config| change(&mut config.routes)).0.changed;
    assert_eq!(changed(|routes| routes.push(route("w", "/w"))), names(&["routes.w"]));
    assert_eq!(changed(|routes| drop(routes.remove(1))), names(&["routes.y"]));
    assert_eq!(changed(|routes| routes[1].inject = true), names(&["routes.y"]));
    assert_eq!(changed(|routes| routes.swap(0, 1)), names(&["routes"]));
    assert_eq!(
        changed(|routes| {
            let relay = RelayBackend::new("ws://app".parse().unwrap());
            routes[0].backend = BackendChoice::Relay(Box::new(relay));
            routes[1].name = "v".to_owned();
        }),
        names(&["routes.x", "routes.v", "routes.y"])
    );
}

#[test]
fn a_dialer_is_renewed_only_if_it_has_changed_itself() {
    let dialers = |change: fn(&mut Config)| plan(change).0.dialers;
    let changed = dialers(|config| config.dialers[0].url = "ws://other".to_owned());
    assert_eq!(changed, Dialers { renewed: names(&["in"]), ..Dialers::default() });
    let adjusted = dialers(|config| config.close.reason_id = true);
    assert_eq!(adjusted, Dialers { adjusted: names(&["in", "out"]), ..Dialers::default() });
    let untouched = dialers(|config| config.limits.max_connections = 7);
    // The number of connections is no matter of a single one.
    assert!(untouched.renewed.is_empty() && untouched.added.is_empty());
    let replaced = dialers(|config| config.dialers[1].name = "third".to_owned());
    let expected =
        Dialers { added: names(&["third"]), removed: names(&["out"]), ..Dialers::default() };
    assert_eq!(replaced, expected);
    let (plan, _) = plan(|config| config.dialers.clear());
    assert_eq!(plan.changed, names(&["dialers.in", "dialers.out"]));
}
