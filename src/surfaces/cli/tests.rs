//! What the command line takes and refuses.

use std::time::Duration;

use clap::CommandFactory;

use super::*;

fn parse(line: &str) -> Result<Command, clap::Error> {
    let words = shell_words(line);
    CommandLine::read(std::iter::once("lastword".to_owned()).chain(words))
}

/// Splits at blanks; what is in single quotes stays together.
fn shell_words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (at, part) in line.split('\'').enumerate() {
        match at % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    words
}

fn client(line: &str) -> ClientCommand {
    match parse(line) {
        Ok(Command::Client(command)) => command,
        other => panic!("{line}: {other:?}"),
    }
}

fn refusal(line: &str) -> clap::Error {
    match parse(line) {
        Err(error) => error,
        Ok(command) => panic!("{line}: {command:?}"),
    }
}

#[test]
fn the_command_line_is_well_formed() {
    CommandLine::command().debug_assert();
}

#[test]
fn the_daemon_may_be_named_before_the_command() {
    let line = "--control unix:/a --json --timeout 1s ls --timeout 2s";
    let ClientCommand::Ls(ls) = client(line) else { panic!("not ls") };
    assert_eq!(ls.control.control.as_deref(), Some("unix:/a"));
    assert!(ls.control.json);
    assert_eq!(ls.control.timeout, Some(Duration::from_secs(2)));
    for line in ["--control unix:/a serve", "--json check", "--timeout 1s completion bash"] {
        assert_eq!(refusal(line).exit_code(), 2, "{line}");
    }
}

#[test]
fn layers_keep_their_order() {
    let Ok(Command::Serve(serve)) = parse("serve --config a --set x=1 --config b") else {
        panic!("not serve");
    };
    assert_eq!(serve.layers.files, [PathBuf::from("a"), PathBuf::from("b")]);
    assert_eq!(serve.layers.set, ["x=1"]);
}

#[test]
fn top_takes_an_order_a_filter_and_an_interval() {
    let top = |line| match parse(line) {
        Ok(Command::Client(ClientCommand::Top(top))) => Ok((top.sort, top.reverse, top.every)),
        other => Err(format!("{other:?}")),
    };
    assert_eq!(top("top").unwrap(), (Sort::Opened, false, Duration::from_secs(2)));
    let sorted = top("top --sort bytes-in --reverse --every 500ms").unwrap();
    assert_eq!(sorted, (Sort::BytesIn, true, Duration::from_millis(500)));
    for wrong in ["top --sort colour", "top --every 10ms", "top --every 500000000000y"] {
        assert!(top(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_typing_error_is_told_with_what_was_meant() {
    let error = refusal("clsoe 5b8f0a6d4c17");
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("'close'"), "{error}");
}

#[test]
fn listings_take_their_filters() {
    let line = "ls --route chat --state close_sent --direction inbound --subject ann --path /chat \
                --tag room:7 --limit 5 --json --timeout 5s --control unix:/run/x.sock";
    let ClientCommand::Ls(ls) = client(line) else { panic!("not ls") };
    assert_eq!(ls.state.as_deref(), Some("close_sent"));
    assert_eq!(ls.tag.unwrap().to_contract(), "room:7");
    assert_eq!((ls.limit, ls.control.json), (5, true));
    assert_eq!(ls.control.timeout, Some(std::time::Duration::from_secs(5)));

    let line = "endings --since 1h --until 2026-03-01T12:00:00Z --kind path_lost --fault network \
                --cause none --code 1006 --route chat --subject ann --peer 203.0.113.9 --path /chat --limit 0";
    let ClientCommand::Endings(endings) = client(line) else { panic!("not endings") };
    assert_eq!((endings.code, endings.limit, endings.summary), (Some(1006), 0, false));

    for wrong in [
        "ls --state gone",
        "ls --tag room",
        "endings --kind gone",
        "endings --cause gone",
        "endings --since yesterday",
        "endings --code 99999",
        "endings --by kind",
        "endings --summary --by peer",
        "endings --summary --kind clean",
        "endings --summary --limit 5",
        "events --types gone",
        "ls --timeout 5",
        "show",
        "why",
    ] {
        assert_eq!(refusal(wrong).exit_code(), 2, "{wrong}");
    }
}

#[test]
fn a_message_is_a_text_or_a_file() {
    let ClientCommand::Send(send) = client("send 5b8f0a6d4c17 -") else { panic!("not send") };
    assert_eq!(send.payload.text.as_deref(), Some("-"));
    let ClientCommand::Send(send) = client("send 5b8f0a6d4c17 --binary-file -") else {
        panic!("not send");
    };
    assert_eq!(send.payload.binary_file, Some(PathBuf::from("-")));
    let ClientCommand::Send(send) = client("send 5b8f0a6d4c17 hello --json") else {
        panic!("not send");
    };
    assert!(send.control.json);
    let ClientCommand::Send(send) = client("send 5b8f0a6d4c17 -- --json") else {
        panic!("not send");
    };
    assert_eq!(send.payload.text.as_deref(), Some("--json"));
    for wrong in ["send 5b8f0a6d4c17", "send 5b8f0a6d4c17 a --binary-file b", "broadcast all"] {
        assert_eq!(refusal(wrong).exit_code(), 2, "{wrong}");
    }
}

#[test]
fn an_unclear_selection_is_never_all() {
    let ClientCommand::Broadcast(broadcast) = client("broadcast route=chat,tag=room:7 hi") else {
        panic!("not broadcast");
    };
    assert_eq!(broadcast.select.route.as_deref(), Some("chat"));
    for wrong in ["broadcast chat hi", "broadcast '' hi", "drain --select rout=chat"] {
        assert_eq!(refusal(wrong).exit_code(), 2, "{wrong}");
    }
}

#[test]
fn a_close_that_may_not_be_sent_is_refused_here() {
    let ClientCommand::Close(close) = client("close 5b8f0a6d4c17 --code 4000 --reason 'so long'")
    else {
        panic!("not close");
    };
    assert_eq!(close.code.get(), 4000);
    assert_eq!(close.reason.unwrap().as_str(), "so long");
    for code in ["1005", "1006", "2999", "5000", "70000", "x"] {
        assert_eq!(refusal(&format!("close 5b8f0a6d4c17 --code {code}")).exit_code(), 2);
    }
    let long = format!("close 5b8f0a6d4c17 --reason {}", "x".repeat(124));
    assert_eq!(refusal(&long).exit_code(), 2);
}

#[test]
fn a_drain_has_one_pace() {
    let ClientCommand::Drain(drain) = client("drain --within 10m --rate 50 --select route=chat")
    else {
        panic!("not drain");
    };
    assert_eq!((drain.rate, drain.cancel), (Some(50), false));
    for wrong in [
        "drain --rate 50 --spread 1m",
        "drain --rate 0",
        "drain --cancel --within 1m",
        "drain --within soon",
    ] {
        assert_eq!(refusal(wrong).exit_code(), 2, "{wrong}");
    }
}

#[test]
fn a_dial_takes_headers_subprotocols_and_tags() {
    let line = "dial ws://127.0.0.1:9/x --header 'X-A: b: c' --subprotocol v1 --subprotocol v2 \
                --tag room=7 --backend none";
    let ClientCommand::Dial(dial) = client(line) else { panic!("not dial") };
    assert_eq!(dial.header, [("X-A".to_owned(), "b: c".to_owned())]);
    assert_eq!(dial.subprotocol, ["v1", "v2"]);
    assert_eq!(dial.tag[0].to_contract(), "room:7");
    for wrong in
        ["dial ws://x --header nocolon", "dial ws://x --tag room", "dial ws://x --backend y"]
    {
        assert_eq!(refusal(wrong).exit_code(), 2, "{wrong}");
    }
}

#[test]
fn every_command_has_one_line_of_help() {
    for command in CommandLine::command().get_subcommands().filter(|c| !c.is_hide_set()) {
        let about = command.get_about().unwrap_or_else(|| panic!("{}", command.get_name()));
        assert!(!about.to_string().contains('\n'), "{about}");
        assert!(about.to_string().len() <= 80, "{about}");
    }
    for name in ["why", "broadcast", "drain"] {
        let mut command = CommandLine::command();
        let help = command.find_subcommand_mut(name).unwrap().render_long_help().to_string();
        assert!(help.contains("Examples:"), "{help}");
    }
}
