//! The explanations of all endings in the contract, word by word.

mod altered;
mod attempts;
mod cases;
mod decided;

use std::time::{Duration, SystemTime};

use super::facts::open_failures;
use super::{of_connection, of_ending};
use crate::contract::{EndingRecord, ExplanationRecord, samples};
use crate::vocabulary::{Cause, Fault, Kind};

/// A title, and an ending.
pub(crate) type Case = (String, EndingRecord<'static>);

/// The time of the explanation: three minutes after the end.
fn afterwards(ending: &EndingRecord<'_>) -> SystemTime {
    ending.ended_at + Duration::from_secs(200)
}

/// Explains an ending as of that time.
pub(crate) fn explained(ending: &EndingRecord<'_>) -> ExplanationRecord {
    of_ending(ending, afterwards(ending))
}

fn story_of(ending: &EndingRecord<'_>) -> String {
    text_of(&explained(ending))
}

/// Writes an explanation as the command does in a pipe.
fn text_of(explanation: &ExplanationRecord) -> String {
    let topics = explanation.paragraphs.iter().map(|paragraph| paragraph.topic.len());
    let longest = topics.max().unwrap();
    let lines = explanation.paragraphs.iter();
    let lines = lines.map(|line| format!("{:longest$}  {}", line.topic, line.text));
    format!("{}\n\n{}", explanation.headline, lines.collect::<Vec<_>>().join("\n"))
}

/// Returns every sample with its title.
pub(crate) fn all() -> Vec<Case> {
    decided::cases().into_iter().chain(cases::cases()).chain(attempts::cases()).collect()
}

/// What people read is the product, so every word of it is recorded: read the difference, and if it
/// is an improvement, copy the file named in the failure over `tests/stories.txt`.
#[test]
fn every_story_matches_the_recorded_text() {
    let stories: String = all()
        .iter()
        .map(|(title, ending)| format!("## {title}\n\n{}\n\n", story_of(ending)))
        .collect();
    let recorded = include_str!("tests/stories.txt");
    if stories != recorded {
        let path = std::env::temp_dir().join("lastword-stories.txt");
        std::fs::write(&path, &stories).unwrap();
        let differs =
            stories.lines().zip(recorded.lines()).find(|(drawn, recorded)| drawn != recorded);
        panic!("the stories differ, first here: {differs:#?}; all are in {}", path.display());
    }
}

#[test]
fn every_word_of_the_contract_has_a_story() {
    let cases = all();
    let has_story = |kind: &str| cases.iter().any(|(_, ending)| ending.kind == kind);
    assert!(Kind::OF_CONNECTIONS.iter().all(|kind| has_story(kind.as_str())));
    for failure in open_failures(404) {
        let of_it = |(_, ending): &Case| ending.open_failure.as_deref() == Some(failure.as_str());
        assert!(cases.iter().any(of_it), "{failure}");
    }
    for cause in Cause::ALL {
        assert!(cases.iter().any(|(_, ending)| ending.cause == cause.as_str()), "{cause}");
    }
    for fault in Fault::ALL {
        assert!(cases.iter().any(|(_, ending)| ending.fault == fault.as_str()), "{fault}");
    }
}

#[test]
fn every_story_has_a_meaning_a_fault_and_a_remedy() {
    for (title, ending) in all() {
        let story = story_of(&ending);
        for topic in ["Meaning", "Ended", "Fault", "What to do", "Reconnect"] {
            assert!(story.lines().any(|line| line.starts_with(topic)), "{title}: {topic}\n{story}");
        }
        // 1006 is a riddle unless it is explained.
        let riddle = ending.close_code == Some(1006) && ending.close_received.is_none();
        assert_eq!(story.contains("browsers report this as 1006"), riddle, "{title}\n{story}");
        assert!(!story.contains("  ."), "{story}");
    }
}

#[test]
fn what_a_peer_wrote_moves_no_terminal() {
    let evil = "\u{1b}[2J\u{9b}31m\r\n\u{202e}\u{7}";
    let mut hostile = samples::ending();
    hostile.detail = evil.into();
    hostile.origin.subject = Some(evil.into());
    hostile.origin.peer = Some(evil.into());
    hostile.origin.user_agent = Some(evil.into());
    hostile.origin.path = Some(evil.into());
    hostile.origin.tags = std::borrow::Cow::Owned([(evil.into(), evil.into())].into());
    hostile.by = Some(format!("api:{evil}").into());
    if let Some(close) = &mut hostile.close_received {
        close.reason = evil.into();
    }
    hostile.relay_peer = Some(evil.into());
    hostile.id = evil.into();
    let mut live = samples::connection();
    live.origin.peer = Some(evil.into());
    live.origin.subject = Some(evil.into());
    live.state = evil.into();
    for text in [story_of(&hostile), text_of(&of_connection(&live))] {
        let moves = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!text.contains(moves), "{text:?}");
    }
}

#[test]
fn words_of_a_later_version_are_told_as_they_stand() {
    let mut later = samples::ending();
    later.kind = "evaporated".into();
    later.fault = "moon".into();
    later.cause = "tide".into();
    later.first_close = "both".into();
    later.retry = "tomorrow".into();
    later.state = Some("gaseous".into());
    let story = story_of(&later);
    for part in
        ["evaporated", "does not know", "moon.", "This end sent 1000 (normal closure) \"bye\""]
    {
        assert!(story.contains(part), "{part}\n{story}");
    }
}

#[test]
fn a_connection_that_lives_is_told_as_it_stands() {
    assert_eq!(
        text_of(&of_connection(&samples::connection())),
        "5b8f0a6d4c17 has not ended: it is open\n\n\
         Opened      2026-03-01 12:00:00.250 UTC, 3 h 12 min ago, with 203.0.113.9:51342 (subject \
         ann).\n\
         Messages    10 received (1000 bytes), 9 sent (900 bytes).\n\
         Network     The last Ping took 0.412 ms. The last message was sent or received 12 ms ago.\n\
         What to do  `lastword show 5b8f0a6d4c17` shows the details; `lastword close 5b8f0a6d4c17` \
         closes it and shows how it ended."
    );
    assert_eq!(
        text_of(&of_connection(&samples::dialled())),
        "5b8f0a6d4c18 has not ended: this end has closed and waits for the peer's Close\n\n\
         Opened      2026-03-01 12:00:00.250 UTC, 1 s ago, with 198.51.100.7:443.\n\
         Messages    0 received (0 bytes), 0 sent (0 bytes). 2 messages (1.5 KiB) wait to be sent, the \
         oldest for 7 s.\n\
         Network     No Ping has been answered so far. No message has been sent or received so far.\n\
         What to do  `lastword show 5b8f0a6d4c18` shows the details; `lastword close 5b8f0a6d4c18` \
         closes it and shows how it ended."
    );
}
