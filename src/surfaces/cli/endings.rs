//! `endings`: how connections ended, one line each.

use std::time::SystemTime;

use comfy_table::Color;

use super::api::Daemon;
use super::arguments::Endings;
use super::console::{Console, Look};
use super::failure::Failure;
use super::listing::Paged;
use super::live::route_or_dialer;
use super::table::{Column, Content, Entry, Listing};
use crate::contract::{EndingPageRecord, EndingRecord};
use crate::explanation::kind_name;
use crate::explanation::wording::{
    ago, lasting_short, safe, safe_or, short_id, stamp, utc_seconds,
};

/// Lists endings, newest first.
pub(super) async fn list(endings: &Endings, console: &mut Console) -> Result<u8, Failure> {
    let daemon = Daemon::of(&endings.control)?;
    let filters = [
        ("since", endings.since.map(|moment| stamp(moment.0))),
        ("until", endings.until.map(|moment| stamp(moment.0))),
        ("kind", endings.kind.clone()),
        ("fault", endings.fault.clone()),
        ("cause", endings.cause.clone()),
        ("code", endings.code.map(|code| code.to_string())),
        ("route", endings.route.clone()),
        ("subject", endings.subject.clone()),
        ("peer", endings.peer.clone()),
        ("path", endings.path.clone()),
    ];
    let paged = Paged {
        path: "/v1/endings",
        filters: &filters,
        limit: endings.limit,
        nothing: "no endings",
        more: "there are older ones: raise --limit, or use 0 for all",
    };
    paged.show::<EndingPageRecord<'static>>(&daemon, table, console).await
}

const COLUMNS: [Column; 10] = [
    Column { title: "ID", rank: 0, content: Content::Word },
    Column { title: "ENDED (UTC)", rank: 1, content: Content::Word },
    Column { title: "KIND", rank: 0, content: Content::Word },
    Column { title: "CODE", rank: 3, content: Content::Number },
    Column { title: "FAULT", rank: 2, content: Content::Word },
    Column { title: "LIVED", rank: 5, content: Content::Number },
    Column { title: "ROUTE", rank: 6, content: Content::Text },
    Column { title: "PEER", rank: 4, content: Content::Word },
    Column { title: "SUBJECT", rank: 7, content: Content::Text },
    Column { title: "DETAIL", rank: 8, content: Content::Text },
];

pub(super) fn table(endings: &[EndingRecord<'_>], look: Look) -> String {
    let mut listing = Listing::new(COLUMNS);
    for ending in endings {
        listing.add(vec![
            short_id(&ending.id).into(),
            utc_seconds(ending.ended_at).into(),
            Entry::coloured(kind_name(ending), fault_colour(&ending.fault)),
            ending.close_code.map_or("-".to_owned(), |code| code.to_string()).into(),
            safe(&ending.fault).into(),
            lasting_short(ending.open_ms).into(),
            safe_or(route_or_dialer(&ending.origin), "-").into(),
            safe_or(&ending.origin.peer, "-").into(),
            safe_or(&ending.origin.subject, "-").into(),
            safe(&ending.detail).into(),
        ]);
    }
    listing.draw(look)
}

/// Returns the colour of a fault, by who should look into it.
pub(super) fn fault_colour(fault: &str) -> Color {
    match fault {
        "none" => Color::Green,
        "operator" => Color::Cyan,
        "peer" => Color::Yellow,
        "network" => Color::Magenta,
        // The backend's and our own, and faults of later versions.
        _ => Color::Red,
    }
}

/// Formats an ending as one line: `5b8f0a6d4c17  3 minutes ago  clean: the peer closed first`.
pub(super) fn line(ending: &EndingRecord<'_>, now: SystemTime) -> String {
    let id = short_id(&ending.id);
    format!("{id}  {}  {}: {}", ago(ending.ended_at, now), kind_name(ending), safe(&ending.detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::samples;

    #[test]
    fn endings_are_listed_in_one_line_each() {
        let mut ending = samples::ending();
        ending.origin.user_agent = None;
        let drawn = table(&[ending, samples::attempt("no_route")], Look::PLAIN);
        assert_eq!(
            drawn,
            "ID            ENDED (UTC)          KIND                    CODE  FAULT  LIVED  ROUTE  \
             PEER               SUBJECT  DETAIL\n\
             5b8f0a6d4c17  2026-03-01 12:00:12  clean                   1000  none   12.3s  chat   \
             203.0.113.9:51342  ann      the peer closed first, with 1000 \"bye\"\n\
             5b8f0a6d4c19  2026-03-01 12:00:12  open_failed (no_route)     -  peer     2ms  -      \
             203.0.113.9:51342  -        no route for /x; answered 404"
        );
    }

    #[test]
    fn little_room_keeps_id_and_kind() {
        for width in [40, 80, 200] {
            let look = Look { width: Some(width), colours: false, unicode: false };
            let drawn = table(&[samples::ending(), samples::attempt("no_route")], look);
            assert!(drawn.lines().all(|line| line.chars().count() <= width), "{drawn}");
            assert!(drawn.contains("5b8f0a6d4c19  "), "{drawn}");
            assert!(drawn.contains("open_failed (no_route)"), "{drawn}");
            let heading = drawn.lines().next().unwrap();
            let tells_most = heading.contains("ENDED (UTC)") && heading.contains("FAULT");
            assert!(width < 80 || tells_most, "{drawn}");
        }
    }

    #[test]
    fn one_line_tells_one_ending() {
        let ending = samples::ending();
        let now = ending.ended_at + std::time::Duration::from_secs(200);
        assert_eq!(
            line(&ending, now),
            "5b8f0a6d4c17  3 minutes ago  clean: the peer closed first, with 1000 \"bye\""
        );
        let mut hostile = ending;
        hostile.detail = "with 1000 \"\u{1b}[2J\n\"".into();
        assert!(!line(&hostile, now).contains(char::is_control));
    }
}
