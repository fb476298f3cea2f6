//! The layers, their order, and what each may set.

use std::time::Duration;

use super::*;
use crate::settings::{OpeningStep, Reply};
use crate::vocabulary::ListenAddress;

#[test]
fn without_any_source_the_defaults_hold() {
    assert_eq!(load(&Sources::default()).unwrap(), Config::default());
}

#[test]
fn a_later_layer_wins() {
    let files = Files::new();
    let system = files.write("system.toml", "[close]\ntimeout = '1s'\n[drain]\nwithin = '1s'");
    let first = files.write("1.toml", "[close]\ntimeout = '2s'\n[limits]\nmax_connections = 2");
    let second = files.write("2.toml", "limits.max_connections = 3\nlog.filter = 'debug'");
    let sources = Sources {
        system_file: Some(system),
        files: vec![first, second],
        environment: vec![
            ("LASTWORD__LIMITS__MAX_CONNECTIONS".into(), "4".into()),
            ("LASTWORD__RECORDS__QUERY".into(), "drop".into()),
            ("LASTWORD_TOKEN".into(), "secret".into()),
            ("LASTWORD_CONTROL".into(), "http://127.0.0.1:1".into()),
            ("PATH".into(), "/bin".into()),
        ],
        set: vec!["records.query=keep".into()],
        relay: None,
        tls: None,
    };
    let config = load(&sources).unwrap();
    assert_eq!(config.drain.within, Duration::from_secs(1));
    assert_eq!(config.close.timeout, Duration::from_secs(2));
    assert_eq!(config.log.filter, "debug");
    assert_eq!(config.limits.max_connections, 4);
    assert_eq!(config.records.query, QueryRecording::Keep);
}

#[test]
fn the_system_file_may_be_missing_and_others_may_not() {
    let missing = PathBuf::from("/nonexistent/lastword.toml");
    let sources = Sources { system_file: Some(missing.clone()), ..Sources::default() };
    assert_eq!(load(&sources).unwrap(), Config::default());
    let sources = Sources { files: vec![missing], ..Sources::default() };
    assert!(matches!(load(&sources), Err(ConfigError::Unreadable { .. })));
}

#[test]
fn a_later_layer_replaces_an_array_whole() {
    let files = Files::new();
    let two = "[[listeners]]\nname='a'\nlisten='127.0.0.1:1'\n[[listeners]]\nname='b'\nlisten='127.0.0.1:2'";
    let one = "[[listeners]]\nname='c'\nlisten='unix:/run/x.sock'";
    let sources = Sources {
        files: vec![files.write("1.toml", two), files.write("2.toml", one)],
        ..Sources::default()
    };
    let listeners = load(&sources).unwrap().listeners;
    assert_eq!(listeners.len(), 1);
    assert_eq!(listeners[0].listen, ListenAddress::Unix("/run/x.sock".into()));
}

#[test]
fn set_reaches_into_the_arrays_of_earlier_layers() {
    let config = load_set(&["listeners[0].listen=\"127.0.0.1:0\"", "routes[0].close.timeout=1s"]);
    let config = config.unwrap();
    assert_eq!(config.listeners[0].name, "public");
    assert_eq!(config.listeners[0].listen, ListenAddress::Tcp(([127, 0, 0, 1], 0).into()));
    let close = config.routes[0].settings(&config.settings()).close;
    assert_eq!(close.timeout, Duration::from_secs(1));
    assert_eq!(close.linger, Duration::from_secs(1), "follows the shorter timeout");
}

#[test]
fn set_takes_toml_and_bare_text() {
    let filter = |set: &str| load_set(&[set]).unwrap().log.filter;
    assert_eq!(filter("log.filter=\"debug\""), "debug");
    assert_eq!(filter("log.filter=debug"), "debug");
    assert_eq!(filter(" log.filter = debug,ractor=off "), "debug,ractor=off");
    let config = load_set(&["node.name=5", "limits.max_connections=1_000", "close.reason_id=true"]);
    let config = config.unwrap();
    assert_eq!(config.node.resolve_name(), "5");
    assert_eq!(config.limits.max_connections, 1000);
    assert!(config.close.reason_id);
    let config = load_set(&["records.query_keep=[\"room\"]", "close={timeout='3s'}"]).unwrap();
    assert_eq!(config.records.query_keep, ["room"]);
    assert_eq!(config.close.timeout, Duration::from_secs(3));
    let config = load_set(&["listeners[0].listen=[::1]:0", "limits.memory=64MiB"]).unwrap();
    assert_eq!(config.listeners[0].listen.to_string(), "[::1]:0");
    assert_eq!(config.limits.memory, MemoryLimit::Bytes(ByteSize::mib(64)));
}

#[test]
fn set_beyond_the_end_of_an_array_is_refused() {
    let error = load_set(&["listeners[1].name=x"]).unwrap_err();
    assert!(matches!(error, ConfigError::NoSuchElement { len: 1, .. }), "{error}");
}

#[test]
fn set_refuses_what_is_no_assignment() {
    for set in [
        "",
        "=",
        "=5",
        "a",
        "a.=5",
        "a[x]=5",
        "a[0=5",
        "a[-1]=5",
        "listeners.name=x",
        "limits[0]=5",
        "listeners[0].origins[0]=x",
        "[0]=1",
        "limits.a[0]=1",
    ] {
        let error = load_set(&[set]).unwrap_err();
        assert!(matches!(error, ConfigError::Assignment { .. }), "{set}: {error}");
    }
}

#[test]
fn raw_text_has_the_type_its_key_wants() {
    let config = load_variable("LASTWORD__NODE__NAME", "12345e67").unwrap();
    assert_eq!(config.node.name.as_deref(), Some("12345e67"));
    let config = load_variable("LASTWORD__LIMITS__INBOX_BYTES", "4096").unwrap();
    assert_eq!(config.limits.inbox_bytes, ByteSize(4096));
    let config = load_variable("LASTWORD__DRAIN__CODE", "1001").unwrap();
    assert_eq!(config.drain.code.get(), 1001);
    let error = load_variable("LASTWORD__LIMITS__MAX_CONNECTIONS", "many").unwrap_err();
    assert!(matches!(error, ConfigError::InvalidValue { .. }), "{error}");
}

#[test]
fn every_number_can_be_set_by_text() {
    let set = load_set(&[
        "control.max_connections=64",
        "control.max_dialers=7",
        "limits.max_connections=8",
        "drain.code=4000",
        "routes[0].backend={ kind = 'relay', url = 'ws://a' }",
        "routes[0].backend.tries=3",
        "routes[0].backend.eject_after=4",
        "routes[0].backend.max_pending=5",
    ]);
    let set = set.unwrap();
    assert_eq!((set.control.max_connections, set.control.max_dialers), (64, 7));
    assert_eq!((set.limits.max_connections, set.drain.code.get()), (8, 4000));
    let BackendChoice::Relay(relay) = &set.routes[0].backend else { panic!("not a relay") };
    assert_eq!((relay.tries, relay.eject_after, relay.max_pending), (3, 4, 5));
    let variable = load_variable("LASTWORD__CONTROL__MAX_CONNECTIONS", "64").unwrap();
    assert_eq!(variable.control.max_connections, 64);
    for wrong in ["-1", "4294967296", "x", "1.5"] {
        let error = load_variable("LASTWORD__CONTROL__MAX_CONNECTIONS", wrong).unwrap_err();
        assert!(matches!(error, ConfigError::InvalidValue { .. }), "{wrong}: {error}");
    }
}

#[test]
fn the_environment_sets_no_arrays() {
    for name in ["LASTWORD__LISTENERS", "LASTWORD__RECORDS__QUERY_KEEP"] {
        let error = load_variable(name, "[]").unwrap_err();
        assert!(matches!(error, ConfigError::InvalidValue { .. }), "{error}");
    }
    let error = load_variable("LASTWORD__LISTENERS__0__NAME", "x").unwrap_err();
    assert!(matches!(error, ConfigError::Assignment { .. }), "{error}");
}

#[test]
fn a_later_layer_does_not_hide_an_error_of_an_earlier_one() {
    let files = Files::new();
    for wrong in ["limits = 5", "limits.memory = 'all'", "limits.memoy = '1%'"] {
        let sources = Sources {
            files: vec![
                files.write("1.toml", wrong),
                files.write("2.toml", "[limits]\nmemory = '50%'"),
            ],
            ..Sources::default()
        };
        let (ConfigError::InvalidValue { place, .. } | ConfigError::UnknownKey { place, .. }) =
            load(&sources).unwrap_err()
        else {
            panic!("{wrong}");
        };
        assert_eq!(place, Place::File { path: sources.files[0].clone(), line: 1 });
    }
}

#[test]
fn the_place_is_that_of_the_last_layer_that_sets_the_key() {
    let files = Files::new();
    let text = "[close]\n\ntimeout = '5s'\nlinger = '4s'\n";
    let sources = Sources {
        files: vec![files.write("1.toml", text)],
        set: vec!["close.linger=9s".into()],
        ..Sources::default()
    };
    let place = |sources: &Sources| match load(sources).unwrap_err() {
        ConfigError::Contradiction { place, key, .. } => {
            assert_eq!(key, "close.linger");
            place
        }
        error => panic!("{error}"),
    };
    assert_eq!(place(&sources), Place::Argument("close.linger=9s".into()));
    let sources = Sources { set: vec!["close.timeout=3s".into()], ..sources };
    assert_eq!(place(&sources), Place::File { path: sources.files[0].clone(), line: 4 });
}

#[test]
fn what_is_not_built_is_refused_by_name() {
    let listener = "[[listeners]]\nname = 'a'\nlisten = '127.0.0.1:1'\n";
    let route = "[[routes]]\nname = 'a'\npath = '/a'\n";
    let dialer = "[[dialers]]\nname = 'a'\nurl = 'ws://x'\n";
    for (text, key) in [
        (format!("{route}backend = {{ kind = 'webhook', url = 'x' }}"), "routes[0].backend"),
        (format!("{route}backend = {{ kind = 'nats', subject = 'x' }}"), "routes[0].backend"),
        (format!("{dialer}backend = {{ kind = 'webhook', url = 'x' }}"), "dialers[0].backend"),
        (format!("{dialer}backend = {{ kind = 'nats', subject = 'x' }}"), "dialers[0].backend"),
    ] {
        match load_text(&text).unwrap_err() {
            ConfigError::NotInThisVersion { key: refused, .. } => assert_eq!(refused, key),
            error => panic!("{text}: {error}"),
        }
    }
    let error = load_set(&["routes[0].backend={kind='nats'}"]).unwrap_err();
    assert!(matches!(error, ConfigError::NotInThisVersion { .. }), "{error}");
    load_text(&format!("dialers = []\n{listener}proxy_protocol = false\ntrusted_proxies = []"))
        .unwrap();
}

#[test]
fn a_certificate_needs_a_key_and_tcp() {
    let listener = "[[listeners]]\nname = 'a'\nlisten = '127.0.0.1:1'\n";
    let pair = "{ cert = 'c', key = 'k' }";
    for (tls, says) in [
        ("{}", "names no certificate"),
        ("{ cert = 'c' }", "without a key"),
        ("{ key = 'k' }", "without a cert"),
        ("{ cert = 'c', key = 'k', certs = [{ cert = 'd', key = 'l' }] }", "both"),
        ("{ cert = 'c', key = 'k', client_auth = 'optional' }", "without client_ca"),
    ] {
        for section in [format!("{listener}tls = {tls}"), format!("control.tls = {tls}")] {
            match load_text(&section).unwrap_err() {
                ConfigError::Contradiction { key, violation, .. } => {
                    assert!(key.ends_with(".tls"), "{key}");
                    assert!(violation.to_string().contains(says), "{violation}");
                }
                error => panic!("{section}: {error}"),
            }
        }
    }
    let unix = format!("{}tls = {pair}", listener.replace("127.0.0.1:1", "unix:/run/a"));
    let error = load_text(&unix).unwrap_err().to_string();
    assert!(error.contains("listeners[0].tls") && error.contains("Unix socket"), "{error}");
    for tls in
        [pair, "{ certs = [{ cert = 'c', key = 'k' }], client_ca = 'a', min_version = '1.3' }"]
    {
        load_text(&format!("{listener}tls = {tls}")).unwrap();
    }
    // One key at a time, as in the environment.
    let config = load_set(&["control.tls.cert=c", "control.tls.key=k"]).unwrap();
    assert!(crate::settings::Tls::try_from(&config.control.tls.unwrap()).is_ok());
    let short = Sources { tls: Some(("c".into(), "k".into())), ..Sources::default() };
    assert!(load(&short).unwrap().listeners[0].tls.is_some());
}

#[test]
fn a_feed_can_be_passed_on_and_takes_only_the_keys_that_mean_something_there() {
    let dialer = "[[dialers]]\nname = 'a'\nurl = 'ws://x'\ninject = true\n";
    let with = |more: &str| {
        load_text(&format!("{dialer}backend = {{ kind = 'relay', url = 'ws://y/feed'{more} }}"))
    };
    let config = with(", tries = 3, on_client_lost = 'close:1001'").unwrap();
    let DialerBackend::Relay(relay) = &config.dialers[0].backend else { panic!("no relay") };
    assert_eq!((relay.tries, relay.urls[0].as_str()), (3, "ws://y/feed"));
    for (key, value) in [("host", "'upstream'"), ("max_pending", "1"), ("http", "'proxy'")] {
        let error = with(&format!(", {key} = {value}")).unwrap_err();
        let named =
            matches!(&error, ConfigError::UnknownKey { key: found, .. } if found.ends_with(key));
        assert!(named, "{error}");
    }
}

#[test]
fn an_unknown_key_of_a_refused_section_is_still_unknown() {
    for text in ["[ledger]\nsize = 1", "[[dialers]]\nnam = 'x'"] {
        let error = load_text(text).unwrap_err();
        assert!(matches!(error, ConfigError::UnknownKey { .. }), "{text}: {error}");
    }
}

#[test]
fn unknown_keys_are_found_at_every_depth() {
    for text in [
        "limit = 1",
        "'listeners[9]' = 1",
        "'a.b' = 1",
        "[keepalve]",
        "[limits.deeper]",
        "[limits]\n'' = 1",
        "[[listeners]]\nport = 1",
        "[[routes]]\nname = 'a'\npath = '/a'\nbackend = { kind = 'echo', to = 1 }",
    ] {
        let error = load_text(text).unwrap_err();
        assert!(matches!(error, ConfigError::UnknownKey { .. }), "{text}: {error}");
    }
}

#[test]
fn missing_and_ill_typed_values_are_refused() {
    let error = load_text("[[listeners]]\nlisten = '127.0.0.1:1'").unwrap_err();
    assert!(
        matches!(&error, ConfigError::MissingKey { key, .. } if key == "listeners[0].name"),
        "{error}"
    );
    for text in [
        "limits = 5",
        "listeners = {}",
        "listeners = [5]",
        "limits.max_connections = '5'",
        "limits.max_connections = -1",
        "limits.max_connections = 1.5",
        "limits.max_connections = 99999999999999999999999",
        "limits.inbox_bytes = -1",
        "limits.inbox_bytes = 99999999999999999999999",
        "limits.inbox_bytes = '1 MB/s'",
        "limits.memory = 0",
        "limits.memory = '101%'",
        "limits.on_full = 'explode'",
        "close.timeout = 5",
        "close.timeout = '5'",
        "close.timeout = '99999years'",
        "close.reason_id = 'true'",
        "drain.code = 1005",
        "drain.code = 70000",
        "drain.reason = 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'",
        "drain.spread = 'slow'",
        "health.listen = 'localhost:9090'",
        "log.format = 'xml'",
        "node.name = 5",
    ] {
        let error = load_text(text).map(|config| format!("{config:?}")).unwrap_err();
        assert!(matches!(error, ConfigError::InvalidValue { .. }), "{text}: {error}");
    }
    assert!(matches!(load_text("= 5"), Err(ConfigError::Syntax { .. })));
}

#[test]
fn the_frame_limit_follows_the_message_limit_unless_it_is_set() {
    let relay = "[[routes]]\nname = 'a'\npath = '/a'\n\
                 backend = { kind = 'relay', url = 'ws://a' }\n";
    for (text, sizes) in [
        ("", (ByteSize::MAX, ByteSize::MAX)),
        ("[limits]\nmax_message_size = '64KiB'", (ByteSize::kib(64), ByteSize::kib(64))),
        ("[limits]\nmax_frame_size = '64KiB'", (ByteSize::MAX, ByteSize::kib(64))),
        ("limits.max_message_size = '1KiB'", (ByteSize::kib(1), ByteSize::kib(1))),
    ] {
        let config = load_text(&format!("{relay}{text}")).unwrap();
        let limits = config.routes[0].settings(&config.settings()).limits;
        assert_eq!((limits.max_message_size, limits.max_frame_size), sizes, "{text}");
    }
    let config = load_text("[limits]\nmax_message_size = '64KiB'").unwrap();
    assert_eq!(config.limits.max_frame_size, ByteSize::kib(64));
    let config = load_text("[limits]\nmax_message_size = '16MiB'").unwrap();
    assert_eq!(config.limits.max_frame_size, ByteSize::mib(16));
    let config = load_text("[limits]\nmax_message_size = '16MiB'\nmax_frame_size = '1MiB'");
    assert_eq!(config.unwrap().limits.max_frame_size, ByteSize::mib(1));
}

proptest::proptest! {
    #[test]
    fn no_assignment_and_no_document_panics(text in "\\PC*", key in "[a-z_.=\\[\\]0-9]*") {
        let _ = load_set(&[&text]);
        let _ = load_set(&[&format!("{key}={text}")]);
        let _ = load_variable(&format!("LASTWORD__{key}"), &text);
        let _ = load_text(&text);
        let _ = load_text(&format!("{key} = {text}"));
    }
}

#[test]
fn a_dialer_is_read_whole() {
    let text = r#"
        [[dialers]]
        name = "feed"
        url = "wss://feed.example.org/stream"
        headers = { authorization = { env = "TOKEN" }, origin = { value = "https://a" } }
        subprotocols = ["v1"]
        tags = { venue = "x" }
        ca_file = "ca.pem"
        proxy = "http://proxy:3128"
        proxy_credentials = { file = "secret" }
        backend = { kind = "none" }
        on_open = ["a", { send = "b", wait_for = "ack" }, { wait_for = "c" }]
        reply = [{ when = "2", send = "3" }]
        ready_on = "subscribed"
        heartbeat = { send = "ping", every = "15s" }
        reconnect = { min = "1s", never_on = [1008, 4004] }
        rotate_after = "23h"
        stale_after = "30s"
        limits = { outbox_bytes = "1MiB" }
    "#;
    let config = load_text(text).unwrap();
    let dialer = &config.dialers[0];
    let mut expected = Dialer::new("feed", "wss://feed.example.org/stream");
    let value = SecretSource::Value(crate::vocabulary::Secret::new("https://a"));
    expected.headers.insert("authorization".to_owned(), SecretSource::Env("TOKEN".to_owned()));
    expected.headers.insert("origin".to_owned(), value);
    expected.subprotocols = vec!["v1".to_owned()];
    expected.tags.insert("venue".to_owned(), "x".to_owned());
    expected.ca_file = Some("ca.pem".into());
    expected.proxy = Some("http://proxy:3128".to_owned());
    expected.proxy_credentials = Some(SecretSource::File("secret".into()));
    let step = |send: Option<&str>, wait_for: &str| OpeningStep {
        send: send.map(str::to_owned),
        wait_for: Some(wait_for.to_owned()),
    };
    expected.on_open = vec!["a".into(), step(Some("b"), "ack"), step(None, "c")];
    expected.reply = vec![Reply { when: "2".to_owned(), send: "3".to_owned() }];
    expected.ready_on = Some("subscribed".to_owned());
    let every = Duration::from_secs(15);
    expected.heartbeat = Some(Heartbeat { send: "ping".to_owned(), every });
    expected.reconnect.min = Duration::from_secs(1);
    expected.reconnect.never_on = vec![1008, 4004];
    expected.rotate_after = Duration::from_secs(23 * 60 * 60);
    expected.stale_after = Duration::from_secs(30);
    expected.limits.outbox_bytes = Some(ByteSize::mib(1));
    assert_eq!(*dialer, expected);
    assert_eq!(dialer.settings(&config.settings()).limits.outbox_bytes, ByteSize::mib(1));
    assert!(!format!("{dialer:?}").contains("https://a"), "a value is not shown: {dialer:?}");
}

#[test]
fn a_dialer_that_cannot_work_is_refused_with_its_place() {
    let dialer = "[[dialers]]\nname = 'a'\nbackend = { kind = 'none' }\n";
    for (text, key) in [
        ("url = 'http://a'", "dialers[0].url"),
        ("url = 'ws://a'\nheaders = { host = { env = 'X' } }", "dialers[0].headers.host"),
        ("url = 'ws://a'\nreconnect = { min = '1m' }", "dialers[0].reconnect.min"),
    ] {
        let error = load_text(&format!("{dialer}{text}")).unwrap_err();
        assert!(matches!(&error, ConfigError::Contradiction { .. }), "{error}");
        assert!(error.to_string().contains(key), "{error}");
    }
    let inline = "headers = { authorization = 'Bearer x' }";
    let error = load_text(&format!("{dialer}url = 'ws://a'\n{inline}")).unwrap_err();
    assert!(error.to_string().contains("dialers[0].headers.authorization"), "{error}");
}

#[test]
fn a_relay_has_its_defaults_and_takes_its_keys() {
    let route = "[[routes]]\nname = 'a'\npath = '/a'\n";
    let relay = |keys: &str| {
        let backend = format!("backend = {{ kind = 'relay', url = 'ws://x:1'{keys} }}");
        match load_text(&format!("{route}{backend}")).unwrap().routes.remove(0).backend {
            BackendChoice::Relay(relay) => *relay,
            BackendChoice::Echo => panic!("not a relay"),
        }
    };
    let default = RelayBackend::new("ws://x:1".parse().unwrap());
    assert_eq!(relay(""), default);
    assert_eq!((default.tries, default.max_pending), (2, 256));
    let keys = ", tries = 3, host = 'upstream', on_client_lost = 'close:1001', check_utf8 = false, \
                connect_timeout = '1s', on_backend_lost = 1013, source_addresses = ['127.0.0.2']";
    let expected = RelayBackend {
        tries: 3,
        host: HostHeader::Upstream,
        on_client_lost: OnClientLost::Close(crate::vocabulary::CloseCode::GOING_AWAY),
        check_utf8: false,
        connect_timeout: std::time::Duration::from_secs(1),
        on_backend_lost: crate::vocabulary::CloseCode::TRY_AGAIN_LATER,
        source_addresses: vec!["127.0.0.2".parse().unwrap()],
        ..default
    };
    assert_eq!(relay(keys), expected);
    for backend in [
        "{ kind = 'relay' }",
        "{ kind = 'relay', url = 'http://x' }",
        "{ kind = 'relay', url = 'ws://x', on_client_lost = 'close:1006' }",
        "{ kind = 'relay', url = 'ws://x', tries = 0 }",
        "{ kind = 'relay', url = 'ws://x', connect_timeout = '0s' }",
        "{ kind = 'echo', tries = 2 }",
    ] {
        load_text(&format!("{route}backend = {backend}")).unwrap_err();
    }
}

#[test]
fn relay_the_rest_is_the_last_route() {
    let with = |relay: &str| load(&Sources { relay: Some(relay.to_owned()), ..Sources::default() });
    let config = with("ws://127.0.0.1:3000").unwrap();
    let last = config.routes.last().unwrap();
    assert_eq!((config.routes.len(), last.name.as_str()), (2, "relay"));
    assert_eq!(last.host, None);
    assert!(last.path.matches("/") && last.path.matches("/any/thing"));
    assert!(matches!(with("3000"), Err(ConfigError::Assignment { .. })));
}
