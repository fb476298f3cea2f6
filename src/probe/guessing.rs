//! What seems to stand in front of an application, or behind its library: guesses from headers and habits.

use std::time::Duration;

use super::case::{Exchange, Needs};
use super::judging::answer;
use super::script::Step;
use super::seen::{End, Seen};

/// Guesses from all exchanges of a run; `None` if nothing points to anything.
pub(super) fn guess(played: &[(&Exchange, Seen)]) -> Option<String> {
    let mut guesses = Vec::new();
    let answers = || played.iter().filter_map(|(_, seen)| seen.answer());
    let header = |name: &'static str| answers().find_map(|answer| answer.header(name).next());
    if let Some(server) = header("server") {
        guesses.push(match server.split(['/', ' ']).next().unwrap_or_default() {
            "nginx" | "openresty" => format!(
                "\"Server: {server}\" points to nginx, which cuts silent connections after 60 s without a \
                 Close unless proxy_read_timeout says otherwise"
            ),
            "cloudflare" => format!(
                "\"Server: {server}\" points to Cloudflare, which cuts silent connections after 100 s"
            ),
            _ => format!("it names itself \"{server}\""),
        });
    }
    if let Some(via) = header("via") {
        guesses.push(format!("\"Via: {via}\" points to a proxy in front"));
    }
    guesses.extend(idle(played));
    let closing: Vec<_> = played
        .iter()
        .filter(|(exchange, _)| awaits_close(exchange))
        .map(|(_, seen)| seen)
        .filter(|seen| seen.is_open() && !seen.is_early())
        .collect();
    let ended = |end: &End| closing.iter().filter(|seen| is_cut(seen, end)).count();
    match (ended(&End::Fin), ended(&End::Reset), closing.len()) {
        (fin, _, all) if fin > 0 && 2 * fin >= all => guesses.push(
            "FIN instead of most Closes points to a server or proxy that leaves the closing handshake out"
                .to_owned(),
        ),
        (_, reset, all) if reset > 0 && 2 * reset >= all => guesses.push(
            "RST instead of most Closes points to a server that drops sockets with unread data".to_owned(),
        ),
        (fin, reset, _) if fin + reset >= 5 => guesses.push(
            "violations that end TCP without a Close point to a library that drops the connection on errors, \
             as tungstenite does"
                .to_owned(),
        ),
        _ => {}
    }
    let resets = closing
        .iter()
        .filter(|seen| answer(seen).is_some() && matches!(seen.end(), Some((_, End::Reset))));
    if resets.count() >= 2 {
        guesses.push(
            "RST after its own Close points to a server that closes the socket without reading on"
                .to_owned(),
        );
    }
    match guesses.is_empty() {
        true => None,
        false => Some(guesses.join("; ")),
    }
}

/// Returns whether a Close is due in this exchange. FIN without a Close is rightly answered with FIN, and a
/// cut in silence is a guess of its own.
fn awaits_close(exchange: &Exchange) -> bool {
    exchange.needs != Needs::Idle
        && exchange.steps.iter().any(|step| matches!(step, Step::AwaitClose))
}

fn is_cut(seen: &Seen, how: &End) -> bool {
    answer(seen).is_none()
        && seen.tested_at().is_some()
        && seen.end().is_some_and(|(_, end)| end == how)
}

/// An idle timeout whose length is some product's default.
fn idle(played: &[(&Exchange, Seen)]) -> Option<String> {
    let (_, seen) = played.iter().find(|(exchange, _)| exchange.needs == Needs::Idle)?;
    let ((at, end), None) = (seen.end()?, seen.close()) else { return None };
    let whose = match at.as_secs_f32().round() as u64 {
        29..=31 => "the default of Google Cloud's load balancer (30 s)",
        54..=56 => "Heroku's router (55 s)",
        59..=61 => "nginx's default (proxy_read_timeout 60s), and that of AWS's load balancers",
        99..=101 => "Cloudflare's limit (100 s)",
        238..=242 => "Azure's load balancer (4 min)",
        348..=352 => "AWS's network load balancer (350 s)",
        _ => "an idle timeout of the server, or of a proxy in front of it",
    };
    let after = if at < Duration::from_secs(10) {
        format!("{:.1} s", at.as_secs_f32())
    } else {
        format!("{:.0} s", at.as_secs_f32())
    };
    Some(format!("an idle cut at {after} without a Close ({}): {whose}", end.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::cases;
    use crate::probe::seen::{Answer, Event, Opening};

    fn seen(headers: &[(&str, &str)], events: Vec<(Duration, Event)>) -> Seen {
        let headers =
            headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let answer = Answer { status: 101, headers, accept_is_right: true, after: Duration::ZERO };
        Seen { opening: Opening::Answered(answer), events, ..Seen::default() }
    }

    #[test]
    fn headers_and_habits_point_to_products() {
        let idle = cases::all().find(|exchange| exchange.needs == Needs::Idle).unwrap();
        let at = Duration::from_secs;
        let cut = vec![(at(0), Event::Tested), (at(60), Event::End(End::Fin))];
        let guessed = guess(&[(idle, seen(&[("server", "nginx/1.22")], cut))]).unwrap();
        assert!(
            guessed.contains("points to nginx") && guessed.contains("idle cut at 60 s"),
            "{guessed}"
        );
        assert_eq!(guess(&[(idle, seen(&[], vec![]))]), None);
        let own = guess(&[(idle, seen(&[("server", "a")], vec![]))]).unwrap();
        assert_eq!(own, "it names itself \"a\"");
    }
}
