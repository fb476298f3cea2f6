//! The sentences that users read, word for word.

use super::*;

/// Loads `text` as `x.toml` and returns what the user reads.
fn message(text: &str) -> String {
    let files = Files::new();
    let path = files.write("x.toml", text);
    let folder = format!("{}/", files.0.path().display());
    let error = load(&Sources { files: vec![path], ..Sources::default() }).unwrap_err();
    error.to_string().replace(&folder, "")
}

#[test]
fn a_message_names_file_line_key_and_remedy() {
    for (text, expected) in [
        (
            "# limits\n\n[limits]\nmax_mesage_size = 5\n",
            "x.toml:4: limits.max_mesage_size: unknown key; did you mean max_message_size?",
        ),
        ("[keepalve]", "x.toml:1: keepalve: unknown key; did you mean keepalive?"),
        (
            "[close]\ncolour = 'red'",
            "x.toml:2: close.colour: unknown key; known here: timeout, linger, reason_id",
        ),
        (
            "[[routes]]\nname = 'a'\npath = '/a'\nbackend = { kind = 'echo' }\nlimits = { half_open_per_ip = 5 }",
            "x.toml:5: routes[0].limits.half_open_per_ip: unknown key; it holds for the whole node: set it in [limits]",
        ),
        (
            "[close]\ntimeout = 5",
            "x.toml:2: close.timeout: expected a duration such as \"5s\", found 5",
        ),
        (
            "[close]\ntimeout = '5'",
            "x.toml:2: close.timeout: \"5\" is not a duration: time unit needed, for example 5sec or 5ms; write \"5s\", \"250ms\" or \"2h\"",
        ),
        (
            "limits.max_connections = '5'",
            "x.toml:1: limits.max_connections: expected a whole number, found the text \"5\"",
        ),
        (
            "drain.code = 1005",
            "x.toml:1: drain.code: close code 1005 may not be sent: use 1000-1003, 1007-1014 or 3000-4999 (RFC 6455 section 7.4)",
        ),
        (
            "limits.on_full = 'drop-oldest'",
            "x.toml:1: limits.on_full: \"drop-oldest\" is not one of refuse, close, drop_oldest, drop_newest; did you mean \"drop_oldest\"?",
        ),
        (
            "\n\n[[listeners]]\nlisten = '127.0.0.1:1'",
            "x.toml:3: listeners[0].name: missing; add it",
        ),
        (
            "[control]\n\nlisten = '0.0.0.0:8081'",
            "x.toml:3: control.listen: 0.0.0.0:8081 is neither loopback nor a Unix socket: set control.token_file, or listen on 127.0.0.1",
        ),
        (
            "control.hosts = ['http://x']",
            "x.toml:1: control.hosts[0]: \"http://x\" is not a host: write the name or address alone, without scheme, port or path",
        ),
        (
            "[[listeners]]\nname = 'a'\nlisten = '127.0.0.1:1'\nproxy_protocol = true",
            "x.toml:4: listeners[0].proxy_protocol: counts from trusted_proxies only, and there are none: list them, such as \"10.0.0.0/8\"",
        ),
        (
            "[[listeners]]\nname = 'a'\nlisten = '127.0.0.1:1'\nforwarded = 'trust'",
            "x.toml:4: listeners[0].forwarded: counts from trusted_proxies only, and there are none: list them, such as \"10.0.0.0/8\"",
        ),
        (
            "[[listeners]]\nname = 'a'\nlisten = '127.0.0.1:1'\ntrusted_proxies = ['10.0.0.1/8']",
            "x.toml:4: listeners[0].trusted_proxies[0]: \"10.0.0.1/8\" is not a network: write \"10.0.0.0/8\" with zeros behind its bits, an address, or \"unix\"",
        ),
        (
            "[close]\nlinger = '20s'",
            "x.toml:2: close.linger: linger (20s) is above timeout (10s): lower it, or raise the other",
        ),
    ] {
        assert_eq!(message(text), expected);
    }
}

#[test]
fn a_message_names_the_variable_or_the_argument() {
    assert_eq!(
        load_variable("LASTWORD__LIMITS__MAX_CONECTIONS", "5").unwrap_err().to_string(),
        "environment variable LASTWORD__LIMITS__MAX_CONECTIONS: limits.max_conections: unknown key; did you mean max_connections?",
    );
    assert_eq!(
        load_variable("LASTWORD__RECORDS__QUERY_KEEP", "room").unwrap_err().to_string(),
        "environment variable LASTWORD__RECORDS__QUERY_KEEP: records.query_keep: expected an array, found the text \"room\"; set arrays in a file, or with --set 'key=[…]'",
    );
    assert_eq!(
        load_set(&["listeners[3].name=x"]).unwrap_err().to_string(),
        "--set listeners[3].name=x: listeners[3]: there is no such element: listeners has 1, counted from 0",
    );
    assert_eq!(
        load_set(&["close.timeout=1"]).unwrap_err().to_string(),
        "--set close.timeout=1: close.timeout: \"1\" is not a duration: time unit needed, for example 1sec or 1ms; write \"5s\", \"250ms\" or \"2h\"",
    );
}

#[test]
fn no_message_repeats_a_secret() {
    let dialer = |more: &str| {
        let start = "name = 'a', url = 'wss://a', backend = { kind = 'none' }";
        format!("dialers=[{{ {start}, {more} }}]")
    };
    for argument in [
        r#"dialers=[{ name = "a", url = "wss://u:hunter2@a", backend = { kind = "none" } }]"#,
        "dialers[0].url=wss://u:hunter2@a",
        "dialers[0].url=wss://a?hunter2",
        "dialers[0].headers.authorization.value=hunter2",
        "wss://u:hunter2@a?b=c",
        "wss://u:hunter2@a",
        &dialer("headers = { authorization = 'hunter2' }"),
        &dialer("proxy = 'http://a', proxy_credentials = 'hunter2'"),
        &dialer("proxy = 'http://u:hunter2@a'"),
        &dialer("headers = { authorization = { value = 'hunter2' } }, rotate_after = 5"),
    ] {
        let error = load_set(&[argument]).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
        assert!(error.starts_with("--set "), "{error}");
    }
    for url in ["ws://user:hunter2@a", "hunter2"] {
        let sources = Sources { relay: Some(url.to_owned()), ..Sources::default() };
        let error = load(&sources).unwrap_err().to_string();
        assert!(error.starts_with("--relay: ") && !error.contains("hunter2"), "{error}");
    }
    assert_eq!(
        load_set(&["dialers=[{ name = 'a', url = 'wss://u:x@a', backend = { kind = 'none' } }]"])
            .unwrap_err()
            .to_string(),
        "--set dialers=…: dialers[0].url: the URL cannot be dialled: credentials do not belong in a URL; write ws://host:port/path or wss://host/path, and credentials in `headers`",
    );
}

#[test]
fn a_syntax_error_names_its_line() {
    assert!(
        message("[limits]\nmemory = \n").starts_with("x.toml:2: not TOML: "),
        "{}",
        message("[limits]\nmemory = \n")
    );
}
