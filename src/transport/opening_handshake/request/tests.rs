use super::*;

fn request(lines: &[(&str, &str)]) -> Request {
    let mut builder = http::Request::builder().uri("/chat?room=7");
    for (name, value) in lines {
        builder = builder.header(*name, *value);
    }
    Request::new(builder.body(()).unwrap().into_parts().0)
}

const GOOD: [(&str, &str); 5] = [
    ("host", "example.org"),
    ("upgrade", "websocket"),
    ("connection", "Upgrade"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

fn with(name: &str, value: &str) -> Request {
    let mut lines = GOOD.to_vec();
    lines.retain(|line| line.0 != name);
    lines.push((name, value));
    request(&lines)
}

fn without(name: &str) -> Request {
    let mut lines = GOOD.to_vec();
    lines.retain(|line| line.0 != name);
    request(&lines)
}

fn status(request: &Request) -> u16 {
    check_upgrade(request).map_or_else(|refusal| refusal.status.as_u16(), |_| 101)
}

fn host_status(host: &str) -> u16 {
    with("host", host).check_host().map_or_else(|refusal| refusal.status.as_u16(), |()| 101)
}

#[test]
fn a_host_is_a_name_or_an_address_with_a_port_or_none() {
    for good in [
        "example.org",
        "EXAMPLE.org:8080",
        "example.org:",
        "under_score.internal",
        "xn--bcher-kva.example",
        "b%C3%BCcher.example",
        "10.0.0.5:1",
        "[::1]",
        "[2001:db8::7]:65535",
        "[v1.a:b]:80",
    ] {
        assert_eq!(host_status(good), 101, "{good}");
    }
    for bad in [
        "",
        ":80",
        "user:hunter2@example.org",
        "user@example.org",
        "example.org/path",
        "example.org?x",
        "http://example.org",
        "a b",
        "a,b:1,2",
        "example.org:x",
        "example.org:65536",
        "example.org:80:80",
        "::1",
        "[::1",
        "[::1]x",
        "[example.org]",
        "[v.a]",
        "<script>",
        "a%zz",
    ] {
        assert_eq!(host_status(bad), 400, "{bad}");
    }
}

#[test]
fn credentials_before_a_host_are_refused_and_not_recorded() {
    for uri in ["http://user:hunter2@example.org/chat", "http://hunter2@example.org:80/"] {
        let mut builder = http::Request::builder().uri(uri);
        for (name, value) in GOOD {
            builder = builder.header(name, value);
        }
        let request = Request::new(builder.body(()).unwrap().into_parts().0);
        let refusal = request.check_host().unwrap_err();
        assert_eq!(refusal.status.as_u16(), 400);
        let facts = format!("{:?}{}", request.facts(), refusal.text);
        assert!(facts.contains("example.org") && !facts.contains("hunter2"), "{facts}");
    }
    let request = with("host", "user:hunter2@example.org");
    let refusal = request.check_host().unwrap_err();
    let facts = format!("{:?}{}", request.facts(), refusal.text);
    assert!(facts.contains("example.org") && !facts.contains("hunter2"), "{facts}");
    let uri = http::Uri::from_static("user:hunter2@example.org:80");
    let connect = http::Request::builder().method(Method::CONNECT).uri(uri).body(()).unwrap();
    assert_eq!(Request::new(connect.into_parts().0).target(), "example.org:80");
}

#[test]
fn a_good_request_is_answered_with_the_key_of_the_rfc() {
    let accept = check_upgrade(&request(&GOOD)).unwrap();
    assert_eq!(accept.as_str(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#[test]
fn connection_and_upgrade_are_lists_over_lines_in_any_case() {
    let mut lines = GOOD.to_vec();
    lines.retain(|line| line.0 != "connection" && line.0 != "upgrade");
    lines.extend([
        ("connection", "keep-alive"),
        ("connection", "te , UPGRADE"),
        ("upgrade", "h2c, WebSocket"),
    ]);
    assert_eq!(status(&request(&lines)), 101);
    assert_eq!(status(&with("connection", "keep-alive, Upgrades")), 426);
}

#[test]
fn what_asks_for_no_websocket_gets_426_with_the_version() {
    for request in [
        without("upgrade"),
        without("connection"),
        without("sec-websocket-version"),
        with("upgrade", "h2c"),
        with("sec-websocket-version", "8"),
        with("sec-websocket-version", "13, 8"),
    ] {
        let refusal = check_upgrade(&request).unwrap_err();
        assert_eq!(refusal.status, StatusCode::UPGRADE_REQUIRED);
        assert_eq!(refusal.failure, OpenFailure::BadRequest);
        assert!(refusal.headers.iter().any(|h| h.0 == "Sec-WebSocket-Version" && h.1 == "13"));
    }
}

#[test]
fn a_bad_key_gets_400() {
    assert_eq!(status(&without("sec-websocket-key")), 400);
    for key in ["", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25j", "dGhlIHNhbXBsZSBub25j!Q=="] {
        assert_eq!(status(&with("sec-websocket-key", key)), 400, "{key}");
    }
    let mut twice = GOOD.to_vec();
    twice.push(GOOD[4]);
    assert_eq!(status(&request(&twice)), 400);
}

#[test]
fn a_body_or_http_1_0_gets_400() {
    assert_eq!(status(&with("content-length", "5")), 400);
    assert_eq!(status(&with("content-length", "0")), 101);
    assert_eq!(status(&with("transfer-encoding", "chunked")), 400);
    let mut old = request(&GOOD);
    old.parts.version = Version::HTTP_10;
    assert_eq!(status(&old), 400);
    assert!(old.check_host().is_ok());
}

#[test]
fn other_methods_get_405_with_allow() {
    let mut post = request(&GOOD);
    post.parts.method = Method::POST;
    let refusal = check_method(&post).unwrap_err();
    assert_eq!(refusal.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(refusal.headers, [("Allow", HeaderValue::from_static("GET"))]);
    assert!(check_method(&request(&GOOD)).is_ok());
}

#[test]
fn one_host_is_needed() {
    assert!(request(&GOOD).check_host().is_ok());
    assert!(without("host").check_host().is_err());
    let mut twice = GOOD.to_vec();
    twice.push(GOOD[0]);
    assert!(request(&twice).check_host().is_err());
}

#[test]
fn an_origin_passes_if_it_is_allowed_or_none_is_sent() {
    let allowed = ["https://example.org".parse().unwrap()];
    let check = |request: &Request| check_origin(request, &allowed, request.host(), false);
    assert!(check(&with("origin", "https://example.org")).is_ok());
    assert!(check(&request(&GOOD)).is_ok());
    for origin in ["https://evil.example", "null", "", "https://example.org:8443"] {
        let refusal = check(&with("origin", origin)).unwrap_err();
        assert_eq!((refusal.status.as_u16(), refusal.failure), (403, OpenFailure::RefusedOrigin));
    }
    let mut two = GOOD.to_vec();
    two.extend([("origin", "https://example.org"), ("origin", "https://evil.example")]);
    assert!(check(&request(&two)).is_err());
}

/// Returns what is told about a page with a cookie that is not of this host.
fn told_of_page(origin: &str, over_tls: bool) -> String {
    let mut lines = GOOD.to_vec();
    lines.extend([("origin", origin), ("cookie", "session=hunter2")]);
    let checked =
        check_origin(&request(&lines), &[OriginPattern::Same], Some("example.org"), over_tls);
    checked.unwrap_err().text
}

#[test]
fn a_page_in_clear_of_the_same_host_is_not_called_another_host() {
    let text = told_of_page("http://example.org", true);
    assert!(text.contains("load the page from https://"), "{text}");
    assert!(!text.contains("not this host"), "{text}");
    assert!(told_of_page("http://other.example", true).contains("not this host"));
}

#[test]
fn a_foreign_page_with_a_cookie_is_told_how_to_allow_it() {
    let text = |origin: &str| told_of_page(origin, false);
    let told = text("https://Evil.example");
    assert!(
        told.ends_with("set origins = [\"same\", \"https://evil.example\"] in the route"),
        "{told}"
    );
    for origin in ["https://u:hunter2@evil.example", "hunter2", "https://example.org, hunter2"] {
        assert!(!text(origin).contains("hunter2"), "{origin}");
    }
    assert!(!told.contains("hunter2"));
}

#[test]
fn the_first_of_ours_that_was_offered_is_chosen() {
    let offered = with("sec-websocket-protocol", "v1.chat, v2.chat,, not a token").subprotocols();
    assert_eq!(offered.len(), 3);
    let ours = |names: &[&str]| {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        choose_subprotocol(&offered, &names).map(String::from)
    };
    assert_eq!(ours(&["v3.chat", "v2.chat", "v1.chat"]).as_deref(), Some("v2.chat"));
    assert_eq!(ours(&["V1.CHAT"]), None);
    assert_eq!(ours(&[]), None);
}

#[test]
fn what_is_offered_is_kept_whole_and_recorded_in_part() {
    let long = "x".repeat(3000);
    let offered = with("sec-websocket-protocol", &format!("{long}, not a token")).subprotocols();
    assert_eq!(offered[0].as_str(), long);
    assert_eq!((offered[0].recorded().len(), offered[1].as_str()), (1024, "not a token"));
    assert!(long.parse::<Subprotocol>().is_err() && "not a token".parse::<Subprotocol>().is_err());
}

#[test]
fn facts_are_cut_and_the_target_is_whole() {
    let long = "x".repeat(3000);
    let mut request = with("user-agent", &long);
    request.parts.uri = format!("/{long}").parse().unwrap();
    let facts = request.facts();
    assert_eq!(facts.user_agent.unwrap().len(), 1024);
    assert_eq!(facts.target.len(), 1024);
    assert_eq!(request.target().len(), 3001);
    assert_eq!(facts.host.as_deref(), Some("example.org"));
}

#[test]
fn an_absolute_target_names_the_host() {
    let mut request = request(&GOOD);
    request.parts.uri = "http://other.example:81/chat?room=7".parse().unwrap();
    assert_eq!(request.host(), Some("other.example:81"));
    assert_eq!(request.target(), "/chat?room=7");
    assert_eq!((request.path(), request.query()), ("/chat", Some("room=7")));
}
