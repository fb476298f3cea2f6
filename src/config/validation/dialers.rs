//! What does not go together in a dialer.

use std::time::Duration;

use super::super::schema::Config;
use super::findings::{Findings, Violation};
use super::shared::{check_name, check_names, check_relay, check_settings, check_subprotocols};
use crate::protocol::header_names::{is_reserved, is_token};
use crate::protocol::url::{Scheme, Url};
use crate::settings::{ConnectionSettings, Dialer, DialerBackend, OpeningStep, Reconnect};

/// How many texts `on_open` may wait for, and `reply` may answer: each is looked for in each message.
const MOST_WAITS: usize = 32;
const MOST_REPLIES: usize = 16;

pub(super) fn check_dialers(config: &Config, sections: &ConnectionSettings, found: &mut Findings) {
    let names: Vec<_> = config.dialers.iter().map(|dialer| dialer.name.as_str()).collect();
    check_names("dialers", &names, found);
    for (index, dialer) in config.dialers.iter().enumerate() {
        let prefix = format!("dialers[{index}].");
        check_dialer(&prefix, dialer, found);
        check_settings(&prefix, &dialer.settings(sections), found);
    }
}

impl Dialer {
    /// Finds the first thing in it that does not go together, and the key to change.
    ///
    /// # Errors
    /// The key, as it stands in the dialer, and what is wrong with it.
    pub fn check(&self) -> Result<(), (String, Violation)> {
        let mut found = Findings::default();
        check_name("name", &self.name, &mut found);
        check_dialer("", self, &mut found);
        match found.0.into_iter().next() {
            Some(first) => {
                Err((first.keys.into_iter().next().unwrap_or_default(), first.violation))
            }
            None => Ok(()),
        }
    }
}

fn check_dialer(prefix: &str, dialer: &Dialer, found: &mut Findings) {
    let key = |key: &str| [format!("{prefix}{key}")];
    if let Err(why) = Url::parse(&dialer.url, &[Scheme::Ws, Scheme::Wss]) {
        found.add(key("url"), Violation::DialerUrl(why));
    }
    if let Some(proxy) = &dialer.proxy
        && let Err(why) = Url::parse(proxy, &[Scheme::Http])
    {
        found.add(key("proxy"), Violation::ProxyUrl(why));
    }
    found.ensure(
        dialer.proxy.is_some() || dialer.proxy_credentials.is_none(),
        key("proxy_credentials"),
        || Violation::CredentialsWithoutProxy,
    );
    for name in dialer.headers.keys() {
        found.ensure(is_token(name) && !is_reserved(name), key(&format!("headers.{name}")), || {
            Violation::Header(name.clone())
        });
    }
    check_subprotocols(prefix, &dialer.subprotocols, found);
    match &dialer.backend {
        DialerBackend::Relay(relay) => check_relay(&format!("{prefix}backend"), relay, found),
        DialerBackend::Echo | DialerBackend::None => {
            found.ensure(!dialer.inject, key("inject"), || Violation::InjectWithoutRelay);
        }
    }
    check_texts(prefix, dialer, found);
    let Reconnect { min, max, ref never_on, stable_after: _ } = dialer.reconnect;
    let mut deadlines = vec![
        ("connect_timeout", dialer.connect_timeout),
        ("ready_within", dialer.ready_within),
        ("reconnect.min", min),
    ];
    deadlines
        .extend(dialer.heartbeat.as_ref().map(|heartbeat| ("heartbeat.every", heartbeat.every)));
    for (name, duration) in deadlines {
        found.ensure(duration > Duration::ZERO, key(name), || Violation::NoDeadline);
    }
    found.ensure(
        min <= max,
        [format!("{prefix}reconnect.min"), format!("{prefix}reconnect.max")],
        || Violation::WaitsUpsideDown { min, max },
    );
    for (at, code) in never_on.iter().enumerate() {
        found.ensure(
            (1000..=4999).contains(code),
            key(&format!("reconnect.never_on[{at}]")),
            || Violation::CodeOutOfRange(*code),
        );
    }
}

/// Checks the opening dialogue and the replies of a dialer.
fn check_texts(prefix: &str, dialer: &Dialer, findings: &mut Findings) {
    for (at, OpeningStep { send, wait_for }) in dialer.on_open.iter().enumerate() {
        let idle = send.is_none() && wait_for.is_none() || wait_for.as_deref() == Some("");
        findings.ensure(!idle, [format!("{prefix}on_open[{at}]")], || Violation::IdleStep);
    }
    let waits = dialer.on_open.iter().filter(|step| step.wait_for.is_some()).count();
    for (key, found, most) in
        [("on_open", waits, MOST_WAITS), ("reply", dialer.reply.len(), MOST_REPLIES)]
    {
        findings.ensure(found <= most, [format!("{prefix}{key}")], || Violation::TooManyTexts {
            found,
            most,
        });
    }
    let key = |at| format!("{prefix}reply[{at}].when");
    for (at, reply) in dialer.reply.iter().enumerate() {
        findings.ensure(!reply.when.is_empty(), [key(at)], || Violation::EmptyWhen);
    }
    let texts: Vec<&str> = dialer.reply.iter().map(|reply| &*reply.when).collect();
    findings.ensure_distinct(&texts, key);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::validation::find_contradictions;
    use crate::settings::{Heartbeat, RelayBackend, Reply, SecretSource};

    /// Returns the key and violation of a configuration with one dialer, after `change`.
    fn found(change: impl FnOnce(&mut Dialer)) -> Option<(String, Violation)> {
        let mut dialer = Dialer::new("feed", "wss://feed.example.org/stream");
        change(&mut dialer);
        let config = Config { dialers: vec![dialer], ..Config::default() };
        let first = find_contradictions(&config).into_iter().next()?;
        Some((first.keys[0].clone(), first.violation))
    }

    #[test]
    fn a_dialer_with_a_name_and_a_url_is_enough() {
        assert_eq!(found(|_| ()), None);
        assert_eq!(found(|dialer| dialer.url = "ws://[::1]:81?a=b".to_owned()), None);
    }

    #[test]
    fn names_of_dialers_are_unique() {
        let dialers = vec![Dialer::new("a", "ws://a"), Dialer::new("a", "ws://b")];
        let config = Config { dialers, ..Config::default() };
        let found = find_contradictions(&config).remove(0);
        assert_eq!(found.keys[0], "dialers[1].name");
        assert!(matches!(found.violation, Violation::DuplicateName { .. }));
    }

    #[test]
    fn urls_can_be_dialled_and_hold_no_secret() {
        for url in [
            "",
            "feed.example.org",
            "https://feed.example.org",
            "ws://",
            "ws://a:0/",
            "ws://a:99999/",
            "ws://user:secret@a/",
            "ws://a/#fragment",
        ] {
            let (key, violation) = found(|dialer| dialer.url = url.to_owned()).unwrap();
            assert_eq!(key, "dialers[0].url", "{url}");
            assert!(matches!(violation, Violation::DialerUrl(_)), "{url}");
            assert!(!violation.to_string().contains("secret"));
        }
        let proxy = |proxy: &str| found(|dialer| dialer.proxy = Some(proxy.to_owned()));
        assert_eq!(proxy("http://proxy:3128"), None);
        assert!(matches!(proxy("socks5://proxy"), Some((_, Violation::ProxyUrl(_)))));
        let source = Some(SecretSource::Env("X".to_owned()));
        let (key, violation) = found(|dialer| dialer.proxy_credentials = source).unwrap();
        assert_eq!(
            (&*key, violation),
            ("dialers[0].proxy_credentials", Violation::CredentialsWithoutProxy)
        );
    }

    #[test]
    fn headers_that_the_handshake_writes_are_refused() {
        let header = |name: &str| {
            found(|dialer| {
                dialer.headers.insert(name.to_owned(), SecretSource::Env("X".to_owned()));
            })
        };
        assert_eq!(header("authorization"), None);
        for name in ["Host", "upgrade", "Sec-WebSocket-Key", "a b", ""] {
            assert!(matches!(header(name), Some((_, Violation::Header(_)))), "{name}");
        }
    }

    #[test]
    fn waits_have_an_end_and_an_order() {
        let zero = Duration::ZERO;
        for found in [
            found(|dialer| dialer.connect_timeout = zero),
            found(|dialer| dialer.ready_within = zero),
            found(|dialer| dialer.reconnect.min = zero),
            found(|dialer| {
                dialer.heartbeat = Some(Heartbeat { send: "ping".to_owned(), every: zero });
            }),
        ] {
            assert!(matches!(found, Some((_, Violation::NoDeadline))), "{found:?}");
        }
        let upside_down = found(|dialer| dialer.reconnect.min = Duration::from_secs(31));
        assert!(matches!(upside_down, Some((_, Violation::WaitsUpsideDown { .. }))));
        let (key, violation) = found(|dialer| dialer.reconnect.never_on = vec![1008, 999]).unwrap();
        assert_eq!(
            (&*key, violation),
            ("dialers[0].reconnect.never_on[1]", Violation::CodeOutOfRange(999))
        );
    }

    #[test]
    fn steps_do_something_and_what_is_looked_for_is_bounded() {
        let step = |send: Option<&str>, wait_for: Option<&str>| OpeningStep {
            send: send.map(str::to_owned),
            wait_for: wait_for.map(str::to_owned),
        };
        let steps = |steps: Vec<OpeningStep>| found(|dialer| dialer.on_open = steps);
        let ack = || step(Some("init"), Some("ack"));
        assert_eq!(steps(vec!["a".into(), ack(), step(None, Some("hello"))]), None);
        for idle in [step(None, None), step(Some("a"), Some(""))] {
            let (key, violation) = steps(vec!["a".into(), idle]).unwrap();
            assert_eq!((&*key, violation), ("dialers[0].on_open[1]", Violation::IdleStep));
        }
        let (key, violation) = steps(vec![ack(); 33]).unwrap();
        let too_many = Violation::TooManyTexts { found: 33, most: 32 };
        assert_eq!((&*key, violation), ("dialers[0].on_open", too_many));
        let replies = |when: &[&str]| {
            let reply = |when: &&str| Reply { when: (*when).to_owned(), send: "3".to_owned() };
            found(|dialer| dialer.reply = when.iter().map(reply).collect())
        };
        assert_eq!(replies(&["2", "ping"]), None);
        let (key, violation) = replies(&["2", ""]).unwrap();
        assert_eq!((&*key, violation), ("dialers[0].reply[1].when", Violation::EmptyWhen));
        let (key, violation) = replies(&["2", "2"]).unwrap();
        let twice = Violation::ListedTwice("2".to_owned());
        assert_eq!((&*key, violation), ("dialers[0].reply[1].when", twice));
        let many: Vec<String> = (0..17).map(|n| n.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(replies(&many).unwrap().0, "dialers[0].reply");
    }

    #[test]
    fn a_relay_of_a_dialer_is_held_to_what_one_of_a_route_is() {
        let relay = |change: fn(&mut RelayBackend)| {
            let mut relay = RelayBackend::new("ws://127.0.0.1:3000/feed".parse().unwrap());
            change(&mut relay);
            found(|dialer| {
                dialer.inject = true;
                dialer.backend = DialerBackend::Relay(Box::new(relay));
            })
        };
        assert_eq!(relay(|_| ()), None);
        let no_deadline = relay(|relay| relay.connect_timeout = Duration::ZERO);
        let key = "dialers[0].backend.connect_timeout".to_owned();
        assert_eq!(no_deadline, Some((key, Violation::NoDeadline)));
        let (key, violation) = found(|dialer| dialer.inject = true).unwrap();
        assert_eq!((&*key, violation), ("dialers[0].inject", Violation::InjectWithoutRelay));
    }

    #[test]
    fn a_dialer_is_checked_with_what_it_inherits() {
        let (key, _) = found(|dialer| dialer.close.linger = Some(Duration::from_secs(11))).unwrap();
        assert_eq!(key, "dialers[0].close.linger");
    }
}
