//! Every key, and what is drawn.

use std::time::{Duration, Instant};

use ratatui_core::backend::TestBackend;
use ratatui_core::buffer::Buffer;
use ratatui_core::style::{Color, Modifier};
use ratatui_core::terminal::Terminal;

use super::drawing;
use super::figures::Figures;
use super::filter::{Sort, Wanted};
use super::input::{Input, Key, News, Request};
use super::model::{Front, Link, Model, View};
use super::sheet::Sheet;
use crate::contract::{ConnectionPage, ConnectionRecord, EndingRecord, samples};
use crate::explanation;
use crate::surfaces::cli::console::Look;

const COLOURS: Look = Look { width: Some(80), colours: true, unicode: true };

fn model() -> Model {
    let wanted = Wanted { filter: String::new(), sort: Sort::Opened, reverse: false, limit: 0 };
    Model::new(wanted, (80, 24))
}

/// A model with this many connections, whose ids end with their numbers.
fn with_connections(number: usize) -> Model {
    let mut model = model();
    model.handle(news(&model.wanted, (0..number).map(connection).collect(), Instant::now()));
    model
}

fn connection(number: usize) -> ConnectionRecord<'static> {
    let mut connection = if number == 1 { samples::dialled() } else { samples::connection() };
    connection.id = id(number).into();
    connection
}

fn id(number: usize) -> String {
    format!("01982b7e-4f6a-7c3d-9e21-5b8f0a6d{number:04}")
}

fn ending(number: usize) -> EndingRecord<'static> {
    let mut ending = if number == 1 { samples::attempt("no_route") } else { samples::ending() };
    ending.id = id(number).into();
    ending
}

fn news(wanted: &Wanted, connections: Vec<ConnectionRecord<'static>>, at: Instant) -> Input {
    let figures =
        Figures { open: 12_345, opened: 20_000, queue_limit: 1 << 30, ..Figures::default() };
    let total = connections.len() as u64;
    let page = Ok(ConnectionPage { connections, next: None, total });
    Input::News(Box::new(News {
        status: samples::status(),
        figures,
        page,
        wanted: wanted.clone(),
        at,
    }))
}

fn press(model: &mut Model, keys: &str) -> Vec<Request> {
    keys.chars().flat_map(|c| model.handle(Input::Key(Key::Char(c)))).collect()
}

fn frame(model: &Model, look: Look) -> Buffer {
    let (columns, lines) = model.size;
    let mut terminal = Terminal::new(TestBackend::new(columns, lines)).unwrap();
    terminal.draw(|frame| drawing::draw(model, look, frame.buffer_mut())).unwrap();
    terminal.backend().buffer().clone()
}

fn lines(buffer: &Buffer) -> Vec<String> {
    let width = usize::from(buffer.area.width).max(1);
    let rows = buffer.content().chunks(width);
    let text = |row: &[_]| row.iter().map(ratatui_core::buffer::Cell::symbol).collect::<String>();
    rows.map(|row| text(row).trim_end().to_owned()).collect()
}

fn text(model: &Model) -> String {
    lines(&frame(model, COLOURS)).join("\n")
}

#[test]
fn a_frame_has_figures_the_list_and_the_keys() {
    let mut model = with_connections(3);
    model.total = 10_000;
    assert_eq!(
        text(&model).trim_end(),
        "a1 (lastword 0.1.0)   running, up 3 h 12 min\n\
         open 12,345   opened -/s   messages in -/s, out -/s\n\
         ended -/s   failed to open -/s\n\
         memory -   queues 0 bytes of 1 GiB\n\
         ledger good\n\
         10,000 connections, newest first\n\
         ID            STATE       ROUTE  PEER               SUBJECT   OPEN       QUEUED\n\
         5b8f0a6d0000  open        chat   203.0.113.9:51342  ann      3h12m            0\n\
         5b8f0a6d0001  close_sent  feed   198.51.100.7:443   -           1s  2 (1.5 KiB)\n\
         5b8f0a6d0002  open        chat   203.0.113.9:51342  ann      3h12m            0\n\
         \n\n\n\n\n\n\n\n\n\n\n\n\n\
         Enter show  w why  c close  / filter  s sort  e endings  ? help  q quit"
    );
}

#[test]
fn colours_follow_the_state_and_stay_away_where_none_are_wanted() {
    let model = with_connections(3);
    let coloured = frame(&model, COLOURS);
    assert_eq!(coloured[(0, 8)].fg, Color::Yellow, "the one that closes");
    assert_eq!(coloured[(0, 9)].fg, Color::Reset);
    assert!(coloured[(79, 7)].modifier.contains(Modifier::REVERSED), "selected to its end");
    let plain = frame(&model, Look { colours: false, ..COLOURS });
    assert!(plain.content().iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
    assert_eq!(lines(&plain), lines(&coloured));
}

#[test]
fn rates_are_those_between_two_answers() {
    let mut model = model();
    let start = Instant::now();
    let Input::News(first) = news(&model.wanted, vec![], start) else { unreachable!() };
    let mut second = first.clone();
    // Too early to tell a rate: a key may ask at any time.
    second.at = start + Duration::from_millis(1);
    second.figures.opened += 1;
    model.handle(Input::News(first.clone()));
    model.handle(Input::News(second.clone()));
    assert!(text(&model).contains("opened -/s"));
    second.at = start + Duration::from_secs(2);
    second.figures.opened += 19;
    second.figures.messages_in += 3000;
    second.figures.ended = [("none".to_owned(), 10), ("peer".to_owned(), 1)].into();
    second.figures.resident_bytes = Some(120 << 20);
    model.handle(Input::News(second.clone()));
    let shown = text(&model);
    for line in [
        "open 12,345   opened 10.0/s   messages in 1,500/s, out 0.0/s",
        "ended 5.5/s (fault: none 5.0, peer 0.5)   failed to open 0.0/s",
        "memory 120 MiB   queues 0 bytes of 1 GiB",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
    }
    // A daemon that was restarted counts from 0.
    second.figures.opened = 1;
    second.at += Duration::from_secs(2);
    model.handle(Input::News(second));
    assert!(text(&model).contains("opened -/s"));
}

#[test]
fn a_daemon_that_goes_away_is_told_and_comes_back_by_itself() {
    let mut model = with_connections(2);
    model.handle(Input::NoNews("no daemon can be reached".to_owned()));
    assert_eq!(model.link, Link::Down("no daemon can be reached".to_owned()));
    let shown = text(&model);
    assert!(shown.starts_with("retrying: no daemon can be reached\n"), "{shown}");
    assert!(shown.contains("5b8f0a6d0000"), "the last list stays");
    assert_eq!(frame(&model, COLOURS)[(0, 0)].fg, Color::Red);
    model.handle(news(&model.wanted.clone(), vec![connection(7)], Instant::now()));
    assert_eq!(model.link, Link::Up);
    assert!(text(&model).ends_with("the daemon answers again"), "{}", text(&model));
}

#[test]
fn what_is_wrong_with_the_ledger_or_the_filter_is_told() {
    let mut model = model();
    let Input::News(mut news) = news(&model.wanted, vec![], Instant::now()) else { unreachable!() };
    news.status.ledger.state = "degraded".into();
    news.status.ledger.problem = Some("the disk is full".into());
    news.status.ledger.unrecorded = 7;
    news.status.accepting = false;
    news.status.accepting_why = Some("a drain is running".into());
    news.figures.ledger_lag = 1.5;
    news.page = Err("state: \"x\" is not one of open, closed".to_owned());
    model.handle(Input::News(news));
    let shown = text(&model);
    for part in [
        "not accepting: a drain is running",
        "ledger degraded, 1.5 s behind, 7 endings not stored: the disk is full",
        "0 connections",
        "state: \"x\" is not one of open, closed",
    ] {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
    assert_eq!(frame(&model, COLOURS)[(0, 4)].fg, Color::Red);
    for (unrecorded, number) in [(1, "1 ending"), (12_345, "12,345 endings")] {
        model.status.as_mut().unwrap().ledger.unrecorded = unrecorded;
        let shown = text(&model);
        assert!(shown.contains(&format!(", {number} not stored: the disk is full")), "{shown}");
    }
}

#[test]
fn a_refusal_of_an_earlier_filter_is_not_told() {
    let mut model = with_connections(3);
    let Input::News(mut late) = news(&model.wanted, vec![], Instant::now()) else { unreachable!() };
    late.wanted.filter = "state=x".to_owned();
    late.page = Err("state: \"x\" is not one of open, closed".to_owned());
    model.handle(Input::News(late));
    assert_eq!((model.connections.len(), model.notice), (3, None));
}

#[test]
fn a_terminal_that_is_too_small_says_so_and_quits() {
    for size in [(79, 24), (80, 23), (20, 3), (1, 1), (0, 0)] {
        let mut model = with_connections(3);
        model.handle(Input::Resized(size.0, size.1));
        let drawn = text(&model);
        assert_eq!(
            drawn.contains("top needs 80x24."),
            size.1 > 1 && size.0 > 16,
            "{size:?} {drawn}"
        );
        assert_eq!(press(&mut model, "q"), [Request::Quit]);
    }
    let mut model = with_connections(100);
    model.handle(Input::Resized(200, 60));
    let drawn = text(&model);
    assert!(drawn.contains("DIRECTION") && drawn.contains("5b8f0a6d0051"), "{drawn}");
}

#[test]
fn what_peers_wrote_moves_no_terminal() {
    let evil = "\u{1b}[2J\u{9b}31m\r\n\u{202e}\u{7}漢字\u{200b}e\u{301}👩\u{200d}👩";
    let mut hostile = connection(0);
    hostile.origin.subject = Some(evil.into());
    hostile.origin.route = Some(evil.into());
    hostile.origin.path = Some(evil.into());
    hostile.origin.user_agent = Some(evil.into());
    hostile.state = evil.into();
    let mut ended = ending(0);
    ended.origin.user_agent = Some(evil.into());
    ended.detail = evil.into();
    ended.kind = evil.into();
    let mut model = model();
    model.handle(news(&model.wanted, vec![hostile.clone()], Instant::now()));
    model.wanted.filter = evil.to_owned();
    model.handle(Input::Ended(vec![ended.clone()]));
    let mut fronts = vec![
        Front::Table,
        Front::Sheet(Sheet::Details(Box::new(hostile.clone())), 0),
        Front::Sheet(Sheet::Explanation(explanation::of_connection(&hostile)), 0),
        Front::Sheet(Sheet::Explanation(explanation::of_ending(&ended, ended.ended_at)), 0),
        Front::Question(Box::new(hostile)),
        Front::Filter(evil.to_owned()),
    ];
    for view in [View::Connections, View::Endings] {
        model.view = view;
        for front in &mut fronts {
            model.front = front.clone();
            model.notice = Some(evil.to_owned());
            for cell in frame(&model, COLOURS).content() {
                let moves = |c: char| c.is_control() || c == '\u{202e}';
                assert!(!cell.symbol().contains(moves), "{:?}", cell.symbol());
            }
            let written = drawing::write(&model, Look::PLAIN);
            assert!(!written.contains(|c: char| (c.is_control() && c != '\n') || c == '\u{202e}'));
        }
    }
}

#[test]
fn the_selection_moves_and_stays_with_its_connection() {
    let mut model = with_connections(40);
    let mut key = |key, at| {
        model.handle(Input::Key(key));
        assert_eq!(model.selected(), at, "{key:?}");
    };
    key(Key::Up, 0);
    key(Key::Down, 1);
    key(Key::Char('j'), 2);
    key(Key::Char('k'), 1);
    key(Key::PageDown, 17);
    key(Key::Char(' '), 33);
    key(Key::PageDown, 39);
    key(Key::PageUp, 23);
    key(Key::Home, 0);
    key(Key::End, 39);
    key(Key::Down, 39);
    key(Key::Char('g'), 0);
    key(Key::Char('G'), 39);
    key(Key::Char('g'), 0);
    key(Key::Down, 1);
    assert!(text(&model).contains("5b8f0a6d0000"));

    // A newer one comes first in the list, and one that has ended leaves it.
    let next = vec![connection(40), connection(0), connection(1), connection(3)];
    model.handle(news(&model.wanted.clone(), next, Instant::now()));
    assert_eq!(model.selected(), 2);
    model.handle(news(&model.wanted.clone(), vec![connection(3)], Instant::now()));
    assert_eq!(model.selected(), 0);
    model.handle(news(&model.wanted.clone(), vec![], Instant::now()));
    assert_eq!(model.handle(Input::Key(Key::Enter)), []);
    assert_eq!(press(&mut model, "wc"), []);
    // The first line is not moved away from.
    let mut model = with_connections(3);
    model.handle(news(&model.wanted.clone(), vec![connection(9), connection(0)], Instant::now()));
    assert_eq!(model.selected(), 0);
}

#[test]
fn more_is_asked_for_as_the_selection_comes_near_the_end() {
    let mut model = model();
    assert_eq!(model.wanted.limit, 50);
    let Input::News(mut news) =
        news(&model.wanted, (0..50).map(connection).collect(), Instant::now())
    else {
        unreachable!()
    };
    if let Ok(page) = &mut news.page {
        page.total = 10_000;
    }
    model.handle(Input::News(news));
    assert_eq!(model.handle(Input::Key(Key::PageDown)), []);
    assert_eq!(model.handle(Input::Key(Key::PageDown)), [Request::Refresh]);
    assert_eq!(model.wanted.limit, 100);
    assert!(model.wanted.target().ends_with("sort=-opened_at&limit=100"));
    model.connections = (0..1000).map(connection).collect();
    model.handle(Input::Key(Key::End));
    assert_eq!((model.selected(), model.wanted.limit), (999, 1000));
    assert!(text(&model).contains("10,000 connections (the first 1,000)"));
}

#[test]
fn a_connection_is_shown_explained_and_closed() {
    let mut model = with_connections(2);
    assert_eq!(model.handle(Input::Key(Key::Enter)), [Request::Show(id(0))]);
    model.handle(Input::Opened(Sheet::Details(Box::new(connection(0)))));
    let shown = text(&model);
    assert!(shown.contains("user agent     curl/8.0") && shown.contains("w why"), "{shown}");
    assert_eq!(press(&mut model, "w"), [Request::Why(id(0))]);
    let told = explanation::of_connection(&connection(0));
    model.handle(Input::Opened(Sheet::Explanation(told)));
    assert!(text(&model).contains("5b8f0a6d0000 has not ended: it is open"), "{}", text(&model));
    for key in [Key::Escape, Key::Enter, Key::Char('q')] {
        model.front = Front::Help;
        assert_eq!(model.handle(Input::Key(key)), [], "{key:?}");
        assert_eq!(model.front, Front::Table, "{key:?}");
    }

    model.handle(Input::Key(Key::Down));
    assert_eq!(press(&mut model, "w"), [Request::Why(id(1))]);
    assert_eq!(press(&mut model, "c"), []);
    assert!(text(&model).ends_with("close 5b8f0a6d0001 (198.51.100.7:443) with 1000? y/n"));
    // It is asked until it is answered, and anything else is no answer.
    assert_eq!(press(&mut model, "x w"), []);
    assert_eq!(press(&mut model, "n"), []);
    assert_eq!(model.front, Front::Table);
    assert_eq!(press(&mut model, "cy"), [Request::Close(id(1))]);
    model.handle(Input::Told("5b8f0a6d0001 is closing".to_owned()));
    assert!(text(&model).ends_with("\n5b8f0a6d0001 is closing"));
    model.handle(Input::Told("a long sentence ".repeat(9) + "ends here"));
    let shown = text(&model);
    let told = shown.lines().filter(|line| line.contains("long sentence"));
    assert_eq!(told.count(), 2, "{shown}");
    assert!(shown.ends_with("ends here"), "{shown}");
    press(&mut model, "j");
    assert!(text(&model).ends_with("q quit"), "a notice stays until the next key");
    // What comes late opens nothing over something else.
    press(&mut model, "?");
    model.handle(Input::Opened(Sheet::Details(Box::new(connection(0)))));
    assert_eq!(model.front, Front::Help);
}

#[test]
fn a_long_text_is_scrolled_no_further_than_its_end() {
    let mut model = with_connections(1);
    let mut long = connection(0);
    long.origin.user_agent = Some("very long ".repeat(200).into());
    model.handle(Input::Opened(Sheet::Details(Box::new(long))));
    let scroll = |model: &Model| match &model.front {
        Front::Sheet(_, scroll) => *scroll,
        front => panic!("{front:?}"),
    };
    press(&mut model, "jj k");
    assert_eq!(scroll(&model), 19);
    model.handle(Input::Key(Key::End));
    let end = scroll(&model);
    assert!(text(&model).contains("lastword 0.1.0)\n"), "{}", text(&model));
    model.handle(Input::Key(Key::PageDown));
    assert_eq!(scroll(&model), end);
    model.handle(Input::Key(Key::PageUp));
    assert_eq!(scroll(&model), end.saturating_sub(18));
    model.handle(Input::Key(Key::Home));
    assert_eq!(scroll(&model), 0);
}

#[test]
fn the_list_is_filtered_and_sorted() {
    let mut model = with_connections(3);
    model.handle(Input::Key(Key::Down));
    press(&mut model, "/annx");
    model.handle(Input::Key(Key::Backspace));
    assert!(text(&model).ends_with("filter: ann_   Enter apply   Esc cancel"));
    let old = model.wanted.clone();
    assert_eq!(model.handle(Input::Key(Key::Enter)), [Request::Refresh]);
    assert_eq!((model.wanted.filter.as_str(), model.selected()), ("ann", 0));
    // The answer to the request before is not the list that was asked for.
    model.handle(news(&old, vec![connection(9)], Instant::now()));
    assert_eq!(model.connections.len(), 3);
    model.handle(news(&model.wanted.clone(), vec![connection(2)], Instant::now()));
    assert!(text(&model).contains("1 connection, newest first   filter: ann"), "{}", text(&model));

    press(&mut model, "/");
    model.handle(Input::Key(Key::Clear));
    press(&mut model, "route=chat");
    model.handle(Input::Key(Key::Escape));
    assert_eq!((model.wanted.filter.as_str(), &model.front), ("ann", &Front::Table));
    assert_eq!(model.handle(Input::Key(Key::Escape)), [Request::Refresh]);
    assert_eq!(model.wanted.filter, "");
    assert_eq!(model.handle(Input::Key(Key::Escape)), []);
    press(&mut model, "/");
    press(&mut model, &"x".repeat(1000));
    assert_eq!(model.front, Front::Filter("x".repeat(200)));
    model.handle(Input::Key(Key::Escape));

    assert_eq!(press(&mut model, "s"), [Request::Refresh]);
    assert_eq!(model.wanted.sort, Sort::Active);
    assert_eq!(press(&mut model, "SS"), [Request::Refresh, Request::Refresh]);
    assert_eq!(model.wanted.sort, Sort::Ping);
    assert_eq!(press(&mut model, "r"), [Request::Refresh]);
    assert!(model.wanted.reverse && text(&model).contains("fastest ping first"));
}

#[test]
fn endings_come_to_the_top_and_the_selection_stays() {
    let mut model = with_connections(2);
    assert_eq!(press(&mut model, "e"), [Request::Follow(true)]);
    assert!(text(&model).contains("waiting for endings"), "{}", text(&model));
    model.handle(Input::Ended(vec![ending(0)]));
    assert!(text(&model).contains("the last 1 ending, newest first"), "{}", text(&model));
    model.handle(Input::Ended((1..3).map(ending).collect()));
    let shown = text(&model);
    assert!(shown.contains("the last 3 endings, newest first"), "{shown}");
    let rows: Vec<&str> = shown.lines().skip(7).take(3).collect();
    assert!(rows[0].starts_with("5b8f0a6d0002") && rows[2].starts_with("5b8f0a6d0000"), "{shown}");
    assert!(rows[1].contains("open_failed (no_route)"), "{shown}");
    let drawn = frame(&model, COLOURS);
    assert_eq!((drawn[(0, 7)].fg, drawn[(0, 8)].fg), (Color::Green, Color::Yellow));

    // What was read from the ledger comes once more as an event.
    model.handle(Input::Ended(vec![ending(2), ending(3)]));
    assert_eq!((model.endings.len(), model.selected()), (4, 0));
    model.handle(Input::Key(Key::Down));
    let explain = || Request::Explain(Box::new(ending(2)));
    assert_eq!(model.handle(Input::Key(Key::Enter)), [explain()]);
    model.handle(Input::Ended(vec![ending(4), ending(5)]));
    assert_eq!(press(&mut model, "w"), [explain()]);
    assert_eq!(press(&mut model, "cs/r"), [], "only connections are closed, sorted and filtered");
    model.handle(Input::Ended((6..1000).map(ending).collect()));
    assert_eq!(model.endings.len(), 500);
    assert_eq!(model.handle(Input::Key(Key::Escape)), [Request::Follow(false)]);
    assert_eq!(model.view, View::Connections);
}

#[test]
fn an_ending_that_comes_again_is_listed_once_however_many_came_since() {
    let mut model = model();
    model.handle(Input::Ended((0..150).map(ending).collect()));
    model.handle(Input::Ended((0..151).map(ending).collect()));
    assert_eq!(model.endings.len(), 151);
}

#[test]
fn some_keys_work_everywhere() {
    let fronts = [
        Front::Table,
        Front::Help,
        Front::Filter("x".to_owned()),
        Front::Question(Box::new(connection(0))),
        Front::Sheet(Sheet::Details(Box::new(connection(0))), 0),
    ];
    for front in fronts {
        for (key, request) in [
            (Key::Interrupt, Request::Quit),
            (Key::Suspend, Request::Suspend),
            (Key::Redraw, Request::Redraw),
        ] {
            let mut model = with_connections(1);
            model.front = front.clone();
            assert_eq!(model.handle(Input::Key(key)), [request]);
            assert_eq!(model.front, front, "{key:?}");
        }
    }
    let mut model = with_connections(1);
    press(&mut model, "h");
    let help = text(&model);
    for key in ["Enter", "Ctrl-Z", "PgUp PgDn", "quit; also Ctrl-C"] {
        assert!(help.contains(key), "{key}\n{help}");
    }
}
