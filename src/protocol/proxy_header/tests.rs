use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

/// Reads a stream as a caller does: no more than certainly belongs to the header. Returns the client
/// and how many bytes were taken.
fn read(stream: &[u8]) -> Result<(Option<SocketAddr>, usize), Option<BadProxyHeader>> {
    let mut taken = 0;
    loop {
        match parse(&stream[..taken]).map_err(Some)? {
            Parsed::Incomplete(more) => {
                assert!(more > 0, "{taken}");
                taken += more;
                if taken > stream.len() {
                    return Err(None);
                }
            }
            Parsed::Complete { client, rest } => return Ok((client, taken + rest)),
        }
    }
}

fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [V2, &[0x20 | command, family], &length, body].concat()
}

fn bad(stream: &[u8]) -> BadProxyHeader {
    read(stream).unwrap_err().unwrap_or_else(|| panic!("{stream:?} is only incomplete"))
}

const IPV4: &[u8] = &[203, 0, 113, 9, 10, 0, 0, 5, 0xc8, 0x8e, 0x1f, 0x90];

#[test]
fn the_first_version_names_a_client() {
    for (line, client) in [
        ("PROXY TCP4 203.0.113.9 10.0.0.5 51342 8080\r\n", Some("203.0.113.9:51342")),
        (
            "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
            Some("255.255.255.255:65535"),
        ),
        ("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", Some("0.0.0.0:0")),
        ("PROXY TCP6 2001:db8::9 ::1 1 2\r\n", Some("[2001:db8::9]:1")),
        ("PROXY TCP6 :: :: 1 2\r\n", Some("[::]:1")),
        ("PROXY UNKNOWN\r\n", None),
        ("PROXY UNKNOWN ffff::ffff ffff::ffff 65535 65535\r\n", None),
    ] {
        let client = client.map(|client| client.parse().unwrap());
        let stream = format!("{line}GET / HTTP/1.1\r\n\r\n");
        assert_eq!(read(stream.as_bytes()), Ok((client, line.len())), "{line}");
    }
}

#[test]
fn a_malformed_line_is_refused() {
    for line in [
        "PROXY TCP4 203.0.113.9 10.0.0.5 51342\r\n  ",
        "PROXY TCP4 203.0.113.9 10.0.0.5 51342 8080 1\r\n",
        "PROXY TCP4  203.0.113.9 10.0.0.5 51342 8080\r\n",
        "PROXY TCP4 203.0.113.9 10.0.0.5 +1342 8080\r\n",
        "PROXY TCP4 203.0.113.9 10.0.0.5 051342 8080\r\n",
        "PROXY TCP4 203.0.113.9 10.0.0.5 65536 8080\r\n",
        "PROXY TCP4 203.0.113.9 10.0.0.5 51342 x\r\n",
        "PROXY TCP4 203.0.113.9 nowhere.at.all 51342 8080\r\n",
        "PROXY TCP4 203.0.113.09 10.0.0.5 51342 8080\r\n",
        "PROXY TCP4 2001:db8::9 2001:db8::1 51342 8080\r\n",
        "PROXY TCP6 203.0.113.9 10.0.0.5 51342 8080\r\n",
        "PROXY UDP4 203.0.113.9 10.0.0.5 51342 8080\r\n",
        "PROXY TCP4 203.0.113.9 10.0.0.5 51342 8080 \r\n",
        "PROXY \u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\r\n",
    ] {
        assert!(matches!(bad(line.as_bytes()), Malformed(_)), "{line}");
    }
    let endless = format!("PROXY UNKNOWN {}", "x".repeat(200));
    assert_eq!(bad(endless.as_bytes()), Malformed("the line is longer than 107 bytes"));
}

#[test]
fn something_else_is_seen_at_once() {
    for text in
        ["GET / HTTP/1.1\r\n", "\x16\x03\x01\x02\x00", "proxy TCP4", "\r\n\r\nGET /", "PROXYS"]
    {
        assert_eq!(parse(text.as_bytes()), Err(BadProxyHeader::Missing), "{text:?}");
    }
    assert_eq!(parse(b""), Ok(Parsed::Incomplete(SHORTEST)));
}

#[test]
fn the_second_version_names_a_client_and_its_other_fields_are_skipped() {
    let more = [IPV4, &[0x04, 0, 3, 1, 2, 3, 0x20, 0, 0]].concat();
    let client = Ok(Some("203.0.113.9:51342".parse().unwrap()));
    for (family, body) in [(0x11, IPV4), (0x12, IPV4), (0x11, &more)] {
        let stream = v2(1, family, body);
        let read = read(&[&stream[..], b"GET"].concat());
        assert_eq!(read.map(|(client, _)| client), client);
        assert_eq!(read.unwrap().1, stream.len());
    }
    let ip = "2001:db8::9".parse::<Ipv6Addr>().unwrap().octets();
    let body = [&ip[..], &[0; 16], &[0, 7, 0, 9]].concat();
    assert_eq!(read(&v2(1, 0x21, &body)), Ok((Some("[2001:db8::9]:7".parse().unwrap()), 52)));
}

#[test]
fn a_balancer_may_speak_for_itself_or_for_a_unix_socket() {
    for (command, family, body) in [
        (0, 0, &[][..]),
        (0, 0x11, IPV4),
        (0, 0xff, &[1, 2]),
        (1, 0, &[1, 2, 3]),
        (1, 0x31, &[b'/'; 216]),
    ] {
        let stream = v2(command, family, body);
        assert_eq!(read(&stream), Ok((None, stream.len())), "{command} {family}");
    }
    // The longest is skipped as well as any other.
    let stream = v2(1, 0x11, &[IPV4, &[0; 65_000]].concat());
    assert_eq!(read(&stream).unwrap().1, stream.len());
}

#[test]
fn a_malformed_second_version_is_refused() {
    for stream in [
        v2(2, 0x11, IPV4),
        v2(1, 0x13, IPV4),
        v2(1, 0x41, IPV4),
        v2(1, 0x11, &IPV4[1..]),
        v2(1, 0x21, IPV4),
        v2(1, 0x31, IPV4),
        [V2, &[0x11, 0x11, 0, 12], IPV4].concat(),
    ] {
        assert!(matches!(bad(&stream), Malformed(_)), "{stream:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        for start in [&b""[..], V1, b"PROXY TCP4 ", b"PROXY TCP6 ", V2, b"\r\n\r\n\0\r\nQUIT\n\x21\x11"] {
            let _ = read(&[start, &bytes].concat());
        }
    }

    #[test]
    fn nothing_behind_a_line_is_taken(
        source: Ipv4Addr,
        destination: Ipv4Addr,
        ports: (u16, u16),
        behind in "[ -~\r\n]{0,40}",
    ) {
        let line = format!("PROXY TCP4 {source} {destination} {} {}\r\n", ports.0, ports.1);
        let client = SocketAddr::from((source, ports.0));
        prop_assert_eq!(read(format!("{line}{behind}").as_bytes()), Ok((Some(client), line.len())));
    }

    #[test]
    fn nothing_behind_a_line_of_ipv6_is_taken(source: Ipv6Addr, port: u16) {
        let line = format!("PROXY TCP6 {source} ::1 {port} 1\r\n");
        let client = SocketAddr::from((source, port));
        prop_assert_eq!(read(format!("{line}\r\nPROXY").as_bytes()), Ok((Some(client), line.len())));
    }

    #[test]
    fn each_part_of_a_header_is_incomplete(source: Ipv6Addr, port: u16, fields in 0_usize..300) {
        let body = [&source.octets()[..], &[0; 16], &port.to_be_bytes(), &[0, 1], &vec![7; fields]].concat();
        let stream = v2(1, 0x21, &body);
        for end in 0..52 {
            prop_assert!(matches!(parse(&stream[..end]), Ok(Parsed::Incomplete(more)) if end + more <= 52));
        }
        let client = SocketAddr::from((source, port));
        prop_assert_eq!(read(&stream), Ok((Some(client), stream.len())));
    }
}
