use proptest::prelude::*;

use super::*;

fn read(head: &str) -> Result<Option<Head<'_>>, Malformed> {
    Head::read(head.as_bytes())
}

#[test]
fn a_head_is_there_once_its_empty_line_is() {
    let whole = "POST /a?b HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\n";
    for cut in 0..whole.len() {
        assert_eq!(read(&whole[..cut]), Ok(None), "{cut}");
    }
    let behind = format!("{whole}body");
    let head = read(&behind).unwrap().unwrap();
    assert_eq!((head.len, head.framing), (whole.len(), Framing::Length(12)));
    assert_eq!((head.method, head.target, head.host), ("POST", "/a?b", Some("x")));
    assert_eq!(head.host_and_path(), Some((Some("x".to_owned()), "/a".to_owned())));
    assert!(!head.asks_for_websocket);
    let upgrade = "GET / HTTP/1.1\r\nupgrade: h2c, WebSocket\r\n\r\n";
    assert!(read(upgrade).unwrap().unwrap().asks_for_websocket);
}

#[test]
fn the_place_is_that_of_any_form_of_target() {
    for (target, host, path) in [
        ("/", "h", "/"),
        ("*", "h", "/"),
        ("http://other:1/x?y", "other:1", "/x"),
        ("http://other", "other", "/"),
    ] {
        let text = format!("OPTIONS {target} HTTP/1.1\r\nHost: h\r\n\r\n");
        let head = read(&text).unwrap().unwrap();
        assert_eq!(
            head.host_and_path(),
            Some((Some(host.to_owned()), path.to_owned())),
            "{target}"
        );
    }
}

#[test]
fn a_host_that_the_opening_handshake_refuses_has_no_place() {
    for (target, hosts) in [
        ("/", "Host: a\r\nHost: b\r\n"),
        ("/", "Host: user:secret@a\r\n"),
        ("/", "Host: a/b\r\n"),
        ("/", "Host:\r\n"),
        ("/", ""),
        ("http://user:secret@a/", "Host: a\r\n"),
    ] {
        let text = format!("GET {target} HTTP/1.1\r\n{hosts}\r\n");
        assert_eq!(read(&text).unwrap().unwrap().host_and_path(), None, "{text}");
    }
    let old = read("GET / HTTP/1.0\r\n\r\n").unwrap().unwrap();
    assert_eq!(old.host_and_path(), Some((None, "/".to_owned())));
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    for (lines, why) in [
        ("Host: x\n", Malformed::BareLf),
        ("A: b\r\nHost: x\nB: c\r\n", Malformed::BareLf),
        ("Content-Length: 1\r\nContent-Length: 1\r\n", Malformed::Length),
        ("Content-Length: 1\r\ncontent-length: 2\r\n", Malformed::Length),
        ("Content-Length: 1, 1\r\n", Malformed::Length),
        ("Content-Length: +1\r\n", Malformed::Length),
        ("Content-Length: 0x1\r\n", Malformed::Length),
        ("Content-Length: \r\n", Malformed::Length),
        ("Content-Length: 99999999999999999999\r\n", Malformed::Length),
        ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", Malformed::TwoFramings),
        ("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", Malformed::TwoFramings),
        ("Transfer-Encoding: gzip, chunked\r\n", Malformed::Coding),
        ("Transfer-Encoding: xchunked\r\n", Malformed::Coding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", Malformed::Coding),
        ("Transfer-Encoding:\x0bchunked\r\n", Malformed::Coding),
        ("A: b\r\n Content-Length: 1\r\n", Malformed::Folded),
        ("Content-Length\r\n", Malformed::NoColon),
    ] {
        let text = format!("POST / HTTP/1.1\r\n{lines}\r\n");
        assert_eq!(read(&text), Err(why), "{lines:?}");
    }
    let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(read(old), Err(Malformed::Coding));
}

#[test]
fn a_body_in_chunks_ends_behind_its_trailers() {
    for body in [
        "0\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
        "5;a=b\r\nhello\r\n0\r\nX: y\r\nZ: \r\n\r\n",
        "00A \r\n0123456789\r\n000\r\n\r\n",
    ] {
        let mut all_at_once = ChunkedBody::default();
        let behind = format!("{body}GET / HTTP/1.1\r\n");
        assert_eq!(all_at_once.advance(behind.as_bytes()), Ok(body.len()), "{body:?}");
        let mut one_by_one = ChunkedBody::default();
        for (at, byte) in body.bytes().enumerate() {
            assert!(!one_by_one.is_end(), "{body:?} at {at}");
            assert_eq!(one_by_one.advance(&[byte]), Ok(1));
        }
        assert!(all_at_once.is_end() && one_by_one.is_end(), "{body:?}");
    }
}

#[test]
fn chunks_of_another_form_are_refused() {
    for body in [
        "\r\n",
        "-1\r\n",
        "0x5\r\n",
        "5\nhello",
        "5;a\nhello",
        "5\r\nhello0\r\n",
        "5\r\nhello\n0",
        "11111111111111111\r\n",
        "0\r\n\n",
        "0\r\nX: y\n\r\n",
    ] {
        assert_eq!(
            ChunkedBody::default().advance(body.as_bytes()),
            Err(Malformed::Chunk),
            "{body:?}"
        );
    }
}

proptest! {
    /// However the bytes are cut, the same end is found.
    #[test]
    fn cuts_do_not_matter(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
        cuts in prop::collection::vec(1_usize..9, 1..80),
    ) {
        let mut body = Vec::new();
        for chunk in &chunks {
            body.extend(format!("{:x}\r\n", chunk.len()).bytes());
            body.extend(chunk);
            body.extend(b"\r\n");
        }
        body.extend(b"0\r\n\r\n");
        let len = body.len();
        body.extend(b"behind");
        let (mut scanner, mut at) = (ChunkedBody::default(), 0);
        for cut in cuts.into_iter().cycle() {
            let piece = &body[at..body.len().min(at + cut)];
            let taken = scanner.advance(piece).unwrap();
            at += taken;
            if scanner.is_end() {
                break;
            }
            prop_assert_eq!(taken, piece.len());
        }
        prop_assert_eq!(at, len);
    }

    /// Nothing that a peer sends is taken for more than it is.
    #[test]
    fn whatever_comes_there_is_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(Some(head)) = Head::read(&bytes) {
            prop_assert!(head.len <= bytes.len());
        }
        if let Ok(taken) = ChunkedBody::default().advance(&bytes) {
            prop_assert!(taken <= bytes.len());
        }
    }
}
