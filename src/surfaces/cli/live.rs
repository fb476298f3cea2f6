//! `ls` and `show`: open connections.

use comfy_table::Color;

use super::api::{Daemon, path};
use super::arguments::{Ls, Show};
use super::console::{Console, Look};
use super::failure::Failure;
use super::listing::Paged;
use super::selector::Tag;
use super::table::{Column, Content, Entry, Listing, draw_pairs};
use crate::contract::{ConnectionPage, ConnectionRecord, OriginRecord, UpstreamRecord};
use crate::explanation::wording::{
    count, lasting, lasting_short, safe, safe_or, short_id, size, utc,
};

/// Lists open connections.
pub(super) async fn ls(ls: &Ls, console: &mut Console) -> Result<u8, Failure> {
    let daemon = Daemon::of(&ls.control)?;
    let filters = [
        ("route", ls.route.clone()),
        ("state", ls.state.clone()),
        ("direction", ls.direction.clone()),
        ("subject", ls.subject.clone()),
        ("peer", ls.peer.clone()),
        ("path", ls.path.clone()),
        ("tag", ls.tag.as_ref().map(Tag::to_contract)),
    ];
    let paged = Paged {
        path: "/v1/connections",
        filters: &filters,
        limit: ls.limit,
        nothing: "no connections",
        more: "there are more: raise --limit, or use 0 for all",
    };
    paged.show::<ConnectionPage<'static>>(&daemon, table, console).await
}

/// Shows all details of one open connection.
pub(super) async fn show(show: &Show, console: &mut Console) -> Result<u8, Failure> {
    let daemon = Daemon::of(&show.control)?;
    let answer = match daemon.get(&path("/v1/connections", &show.id, "")).await {
        Err(failure) if failure.is_not_found() => {
            // The failure prints the daemon's own text; add the remedy that only the CLI knows.
            let code = console.print_failure(&failure);
            console.print_note(&format!(
                "if it has ended, `lastword why {}` explains how",
                safe(&show.id)
            ));
            return Ok(code);
        }
        other => other?,
    };
    console.show(&answer, |look| Ok(draw_pairs(&whole(&answer.read()?), look)))
}

const COLUMNS: [Column; 11] = [
    Column { title: "ID", rank: 0, content: Content::Word },
    Column { title: "STATE", rank: 0, content: Content::Word },
    Column { title: "DIRECTION", rank: 7, content: Content::Word },
    Column { title: "ROUTE", rank: 2, content: Content::Text },
    Column { title: "PEER", rank: 1, content: Content::Word },
    Column { title: "SUBJECT", rank: 3, content: Content::Text },
    Column { title: "OPEN", rank: 4, content: Content::Number },
    Column { title: "IDLE", rank: 6, content: Content::Number },
    Column { title: "IN", rank: 9, content: Content::Number },
    Column { title: "OUT", rank: 8, content: Content::Number },
    Column { title: "QUEUED", rank: 5, content: Content::Number },
];

pub(super) fn table(connections: &[ConnectionRecord<'_>], look: Look) -> String {
    let mut listing = Listing::new(COLUMNS);
    for connection in connections {
        let origin = &connection.origin;
        listing.add(vec![
            short_id(&connection.id).into(),
            state(&connection.state),
            safe(&origin.direction).trim_end_matches("bound").into(),
            safe_or(route_or_dialer(origin), "-").into(),
            safe_or(&origin.peer, "-").into(),
            safe_or(&origin.subject, "-").into(),
            lasting_short(connection.open_ms).into(),
            connection.last_activity_ms.map_or("-".to_owned(), lasting_short).into(),
            connection.messages_in.to_string().into(),
            connection.messages_out.to_string().into(),
            queued(connection).into(),
        ]);
    }
    listing.draw(look)
}

fn state(state: &str) -> Entry {
    match state {
        "open" => Entry::coloured("open", Color::Green),
        other => Entry::coloured(safe(other), Color::Yellow),
    }
}

/// Returns the route of an inbound connection, or the dialer of an outbound one.
pub(super) fn route_or_dialer<'a, 'b>(
    origin: &'a OriginRecord<'b>,
) -> &'a Option<std::borrow::Cow<'b, str>> {
    if origin.route.is_some() { &origin.route } else { &origin.dialer }
}

fn queued(connection: &ConnectionRecord<'_>) -> String {
    match connection.queued_messages {
        0 => "0".to_owned(),
        messages => format!("{messages} ({})", size(connection.queued_bytes)),
    }
}

/// Returns every known property of a connection with its name.
pub(super) fn whole(connection: &ConnectionRecord<'_>) -> Vec<(String, String)> {
    let mut pairs = Pairs(Vec::new());
    pairs.add("id", &connection.id);
    pairs.add("state", &connection.state);
    pairs.add("opened", &utc(connection.opened_at));
    if let Some(expires_at) = connection.expires_at {
        pairs.add("expires", &utc(expires_at));
    }
    pairs.add("open for", &lasting(connection.open_ms));
    pairs.origin(&connection.origin);
    if let Some(upstream) = &connection.upstream {
        pairs.add("upstream", &upstream_line(upstream));
    }
    let carried = |messages, bytes| format!("{} ({})", count(messages, "message"), size(bytes));
    pairs.add("received", &carried(connection.messages_in, connection.bytes_in));
    pairs.add("sent", &carried(connection.messages_out, connection.bytes_out));
    pairs.add(
        "queued",
        &match connection.oldest_queued_ms {
            Some(age) if connection.queued_messages > 0 => {
                let queued = carried(connection.queued_messages, connection.queued_bytes);
                format!("{queued}, the oldest for {}", lasting(age))
            }
            _ => carried(connection.queued_messages, connection.queued_bytes),
        },
    );
    pairs.add("discarded", &count(connection.discarded_messages, "message"));
    let activity = connection.last_activity_ms.map(|ms| format!("{} ago", lasting(ms)));
    pairs.add("last message", activity.as_deref().unwrap_or("none so far"));
    let ping = connection.ping_rtt_ms.map(|ms| format!("{ms} ms"));
    pairs.add("last ping", ping.as_deref().unwrap_or("none answered so far"));
    pairs.add("node", &format!("{} (lastword {})", connection.node, connection.version));
    pairs.0
}

struct Pairs(Vec<(String, String)>);

impl Pairs {
    fn add(&mut self, name: &str, value: &str) {
        self.0.push((name.to_owned(), safe(value).into_owned()));
    }

    fn add_known(&mut self, name: &str, value: &Option<std::borrow::Cow<'_, str>>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    fn origin(&mut self, origin: &OriginRecord<'_>) {
        self.add("direction", &origin.direction);
        self.add_known("listener", &origin.listener);
        self.add_known("dialer", &origin.dialer);
        self.add_known("route", &origin.route);
        self.add_known("backend", &origin.backend);
        self.add_known("peer", &origin.peer);
        self.add_known("via", &origin.via);
        self.add_known("local address", &origin.local_addr);
        self.add_known("tls", &origin.tls);
        self.add_known("host", &origin.host);
        self.add_known("path", &origin.path);
        self.add_known("subprotocol", &origin.subprotocol);
        self.add_known("user agent", &origin.user_agent);
        self.add_known("traceparent", &origin.traceparent);
        self.add_known("subject", &origin.subject);
        let tags = origin.tags.iter().map(|(name, value)| format!("{name}:{value}"));
        let tags: Vec<String> = tags.collect();
        if !tags.is_empty() {
            self.add("tags", &tags.join(", "));
        }
    }
}

fn upstream_line(upstream: &UpstreamRecord<'_>) -> String {
    let mut line = upstream.url.to_string();
    if let Some(addr) = &upstream.addr {
        line.push_str(&format!(", at {addr}"));
    }
    if let Some(connect) = upstream.connect_ms {
        line.push_str(&format!(", connected in {}", lasting(connect)));
    }
    if let Some(status) = upstream.status {
        line.push_str(&format!(", answered {status}"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::samples;

    #[test]
    fn a_listing_shows_what_people_look_for() {
        let drawn = table(&[samples::connection(), samples::dialled()], Look::PLAIN);
        assert_eq!(
            drawn,
            "ID            STATE       DIRECTION  ROUTE  PEER               SUBJECT   OPEN  IDLE  IN  OUT  \
             \x20    QUEUED\n\
             5b8f0a6d4c17  open        in         chat   203.0.113.9:51342  ann      3h12m  12ms  10    9  \
             \x20         0\n\
             5b8f0a6d4c18  close_sent  out        feed   198.51.100.7:443   -           1s     -   0    0  \
             2 (1.5 KiB)"
        );
    }

    #[test]
    fn little_room_keeps_what_is_typed() {
        for width in [40, 80, 200] {
            let look = Look { width: Some(width), colours: false, unicode: true };
            let drawn = table(&[samples::connection(), samples::dialled()], look);
            assert!(drawn.lines().all(|line| line.chars().count() <= width), "{drawn}");
            assert!(drawn.contains("5b8f0a6d4c17") && drawn.contains("close_sent"), "{drawn}");
        }
    }

    #[test]
    fn one_connection_is_shown_whole() {
        let shown = draw_pairs(&whole(&samples::connection()), Look::PLAIN);
        for line in [
            "id             01982b7e-4f6a-7c3d-9e21-5b8f0a6d4c17",
            "opened         2026-03-01 12:00:00.250 UTC",
            "open for       3 h 12 min",
            "tags           room:7",
            "received       10 messages (1000 bytes)",
            "last ping      0.412 ms",
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
        }
        let dialled = draw_pairs(&whole(&samples::dialled()), Look::PLAIN);
        assert!(dialled.contains("2 messages (1.5 KiB), the oldest for 7 s"), "{dialled}");
        assert!(
            dialled.contains("wss://feed.example.org/stream, at 198.51.100.7:443"),
            "{dialled}"
        );
    }

    #[test]
    fn what_peers_wrote_moves_no_terminal() {
        let mut hostile = samples::connection();
        hostile.origin.subject = Some("\u{1b}[2Jann\n".into());
        hostile.origin.user_agent = Some("\u{9b}31m\u{202e}".into());
        hostile.origin.peer = Some("\u{1b}]0;x\u{7}".into());
        let list = table(&[hostile.clone()], Look::PLAIN);
        let whole = draw_pairs(&whole(&hostile), Look::PLAIN);
        for drawn in [list, whole] {
            assert!(!drawn.contains(|c: char| c.is_control() && c != '\n'), "{drawn:?}");
            assert!(!drawn.contains('\u{202e}'), "{drawn:?}");
        }
    }
}
