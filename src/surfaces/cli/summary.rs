//! `endings --summary`: counts of endings, with bars.

use super::api::{Daemon, query};
use super::arguments::Endings;
use super::console::{Console, Look};
use super::exit::DONE;
use super::failure::Failure;
use super::table::{Column, Content, Listing};
use crate::contract::{CountRecord, SummaryRecord};
use crate::explanation::wording::{code_name, count, safe, stamp};

/// Counts endings.
pub(super) async fn summary(endings: &Endings, console: &mut Console) -> Result<u8, Failure> {
    let daemon = Daemon::of(&endings.control)?;
    let by = endings.by.as_deref().unwrap_or("kind");
    let pairs = [
        ("since", endings.since.map(|moment| stamp(moment.0))),
        ("until", endings.until.map(|moment| stamp(moment.0))),
        ("by", Some(by.to_owned())),
    ];
    let answer = daemon.get(&format!("/v1/endings/summary{}", query(pairs))).await?;
    if console.json {
        console.print_bytes(&answer.body)?;
        return Ok(DONE);
    }
    let summary: SummaryRecord<'static> = answer.read()?;
    if summary.counts.is_empty() {
        console.print_note("no endings");
        return Ok(DONE);
    }
    console.print(&bars(&summary, console.look))?;
    Ok(DONE)
}

/// The maximum width of a bar.
const LONGEST_BAR: usize = 40;
/// The minimum width for bars; with less they are left out.
const SHORTEST_BAR: usize = 5;
/// The width of a name that takes precedence over the bars.
const NAME: usize = 30;
/// The width of `COUNT` and `100.0 %` with the gaps around them.
const SHARE: usize = 7;

fn bars(summary: &SummaryRecord<'_>, look: Look) -> String {
    let names: Vec<String> = summary.counts.iter().map(|one| name(&summary.by, one)).collect();
    let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let most = summary.counts.iter().map(|one| one.count).max().unwrap_or(0);
    let digits = most.to_string().len().max("COUNT".len());
    let room = match look.width {
        None => LONGEST_BAR,
        Some(width) => width.saturating_sub(longest.min(NAME) + 2 + digits + 2 + SHARE + 2),
    };
    let title = title(&summary.by);
    let mut listing = Listing::new([
        Column { title, rank: 0, content: Content::Text },
        Column { title: "COUNT", rank: 0, content: Content::Number },
        Column { title: "SHARE", rank: 1, content: Content::Number },
        Column { title: "", rank: 2, content: Content::Word },
    ]);
    for (one, name) in summary.counts.iter().zip(names) {
        let bar = bar(one.count, most, room.min(LONGEST_BAR), look);
        let share = percentage(one.count, summary.total);
        listing.add(vec![name.into(), one.count.to_string().into(), share.into(), bar.into()]);
    }
    format!("{}\n{} in total", listing.draw(look), count(summary.total, "ending"))
}

fn name(by: &str, one: &CountRecord<'_>) -> String {
    let Some(value) = one.value.as_deref() else { return "(none)".to_owned() };
    match (by, value.parse()) {
        ("code", Ok(code)) => format!("{code} {}", code_name(code)),
        (_, Ok(_) | Err(_)) => safe(value).into_owned(),
    }
}

fn title(by: &str) -> &'static str {
    match by {
        "kind" => "KIND",
        "fault" => "FAULT",
        "cause" => "CAUSE",
        "code" => "CODE",
        "route" => "ROUTE",
        "user_agent" => "USER AGENT",
        _ => "VALUE",
    }
}

fn percentage(part: u64, whole: u64) -> String {
    // A double is precise enough for one decimal.
    let share = if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 };
    format!("{share:.1} %")
}

fn bar(part: u64, most: u64, room: usize, look: Look) -> String {
    const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    if most == 0 || room < SHORTEST_BAR {
        return String::new();
    }
    let room = room as u128;
    if !look.unicode {
        let full = (u128::from(part) * room).div_ceil(u128::from(most));
        return "#".repeat(usize::try_from(full).unwrap_or(0));
    }
    // A count above zero always has a visible bar.
    let eighths = (u128::from(part) * room * 8).div_ceil(u128::from(most));
    let eighths = usize::try_from(eighths).unwrap_or(0);
    let mut bar = "█".repeat(eighths / 8);
    if eighths % 8 > 0 {
        bar.push(EIGHTHS[eighths % 8]);
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(by: &'static str, counts: &[(Option<&'static str>, u64)]) -> SummaryRecord<'static> {
        SummaryRecord {
            by: by.into(),
            counts: counts
                .iter()
                .map(|(value, count)| CountRecord { value: value.map(Into::into), count: *count })
                .collect(),
            total: counts.iter().map(|(_, count)| count).sum(),
            over_time: None,
        }
    }

    fn at(width: usize, unicode: bool) -> Look {
        Look { width: Some(width), colours: false, unicode }
    }

    #[test]
    fn a_pipe_gets_bars_of_ascii() {
        let drawn =
            bars(&summary("kind", &[(Some("clean"), 3), (Some("path_lost"), 1)]), Look::PLAIN);
        assert_eq!(
            drawn,
            format!(
                "KIND       COUNT   SHARE\n\
                 clean          3  75.0 %  {}\n\
                 path_lost      1  25.0 %  {}\n\
                 4 endings in total",
                "#".repeat(40),
                "#".repeat(14)
            )
        );
    }

    #[test]
    fn bars_take_the_room_that_there_is() {
        let counts = summary("kind", &[(Some("clean"), 160), (Some("path_lost"), 1)]);
        assert_eq!(
            bars(&counts, at(40, true)),
            "KIND       COUNT   SHARE\n\
             clean        160  99.4 %  ██████████████\n\
             path_lost      1   0.6 %  ▏\n\
             161 endings in total"
                .replace("██████████████", "█████████████")
        );
        assert!(bars(&counts, at(28, true)).lines().all(|line| !line.contains('█')));
        for width in [28, 40, 80, 200] {
            let long = summary("user_agent", &[(Some(LONG), 9), (None, 1)]);
            let drawn = bars(&long, at(width, false));
            assert!(drawn.lines().all(|line| line.len() <= width), "{width}:\n{drawn}");
            assert!(drawn.contains("(none)"), "{drawn}");
        }
    }

    const LONG: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
                        Chrome/120.0.0.0 Safari/537.36";

    #[test]
    fn codes_are_named_and_hostile_names_escaped() {
        let drawn = bars(&summary("code", &[(Some("1006"), 1)]), Look::PLAIN);
        assert!(drawn.contains("1006 no Close received"), "{drawn}");
        let drawn = bars(&summary("user_agent", &[(Some("\u{1b}[2J"), 1)]), Look::PLAIN);
        assert!(drawn.contains("\\u{1b}[2J") && !drawn.contains('\u{1b}'), "{drawn}");
    }
}
