//! Opening handshakes to send as data, legal or not (RFC 6455 section 4.1).

/// A request for an upgrade.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub(super) method: &'static str,
    pub(super) protocol: &'static str,
    pub(super) upgrade: Option<&'static str>,
    pub(super) connection: &'static str,
    pub(super) version: &'static str,
    pub(super) key: Key,
    pub(super) extensions: &'static [&'static str],
}

/// The `Sec-WebSocket-Key` of a request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Key {
    /// 16 random bytes.
    Random,
    /// None.
    Missing,
    /// One that does not hold 16 bytes.
    Of(&'static str),
}

impl Request {
    /// What a browser sends, without extensions.
    pub(super) const RIGHT: Self = Self {
        method: "GET",
        protocol: "HTTP/1.1",
        upgrade: Some("websocket"),
        connection: "Upgrade",
        version: "13",
        key: Key::Random,
        extensions: &[],
    };

    /// Writes the head of the request. `key` takes the place of [`Key::Random`].
    pub(super) fn encode(
        &self,
        (host, target): (&str, &str),
        key: &str,
        subprotocols: &[String],
        headers: &[(String, String)],
    ) -> String {
        let mut head = format!("{} {target} {}\r\n", self.method, self.protocol);
        let mut add = |name: &str, value: &str| {
            head.push_str(&format!("{name}: {value}\r\n"));
        };
        let given = |name: &str| headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
        if !given("host") {
            add("Host", host);
        }
        if !given("user-agent") {
            add("User-Agent", concat!("lastword-probe/", env!("CARGO_PKG_VERSION")));
        }
        if let Some(upgrade) = self.upgrade {
            add("Upgrade", upgrade);
        }
        add("Connection", self.connection);
        match self.key {
            Key::Random => add("Sec-WebSocket-Key", key),
            Key::Of(key) => add("Sec-WebSocket-Key", key),
            Key::Missing => {}
        }
        add("Sec-WebSocket-Version", self.version);
        if !subprotocols.is_empty() {
            add("Sec-WebSocket-Protocol", &subprotocols.join(", "));
        }
        for extension in self.extensions {
            add("Sec-WebSocket-Extensions", extension);
        }
        if self.method == "POST" {
            add("Content-Length", "0");
        }
        for (name, value) in headers {
            add(name, value);
        }
        head.push_str("\r\n");
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_gives_is_added_and_takes_the_place_of_ours() {
        let headers = [("host".to_owned(), "b".to_owned()), ("X".to_owned(), "y".to_owned())];
        let right = Request::RIGHT.encode(("a", "/p"), "k", &["s".to_owned()], &headers);
        assert!(right.starts_with("GET /p HTTP/1.1\r\nUser-Agent: lastword-probe/"), "{right}");
        assert!(right.contains("Sec-WebSocket-Key: k\r\n") && right.ends_with("X: y\r\n\r\n"));
        assert!(right.contains("Sec-WebSocket-Protocol: s\r\n") && !right.contains(": a\r\n"));
        let bent = Request { method: "POST", key: Key::Missing, ..Request::RIGHT };
        let bent = bent.encode(("a", "/"), "k", &[], &[]);
        assert!(bent.starts_with("POST / HTTP/1.1\r\nHost: a\r\n") && !bent.contains("-Key"));
    }
}
