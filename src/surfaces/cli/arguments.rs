//! The arguments of each client command.

mod dialers;
mod probing;
mod revoking;
mod top;

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use clap_complete::Shell;

pub use dialers::{Dialer, DialerCommand, Dialers, NamedDialer};
pub use probing::Probe;
pub use revoking::{Revocations, Revoke};
pub use top::Top;

use super::moment::Moment;
use super::selector::{Selected, Tag};
use crate::contract::EventRecord;
use crate::vocabulary::{
    Cause, CloseCode, CloseReason, CloseState, Direction, Fault, IllegalClose, Kind,
};

/// How to reach the daemon, and how to print its answers.
#[derive(Debug, Args)]
#[command(next_help_heading = "Control API")]
pub struct Control {
    /// Address of the daemon: http://HOST:PORT, https://HOST:PORT or unix:PATH [default:
    /// $LASTWORD_CONTROL, else http://127.0.0.1:8081]
    #[arg(long, value_name = "URL")]
    pub control: Option<String>,
    /// Read the token from this file: its first line, as TOKEN, name:TOKEN or name:scope:TOKEN
    /// [default: $LASTWORD_TOKEN]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Trust the authorities in this PEM file, or a self-signed certificate, for https:// [default:
    /// $LASTWORD_CA_FILE, else those of this machine]
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Print the API's answers as they are, one line of JSON per answer
    #[arg(long)]
    pub json: bool,
    /// Wait this long for an answer [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub timeout: Option<Duration>,
}

impl Control {
    /// Returns whether any option was given.
    pub(super) fn is_given(&self) -> bool {
        let Self { control, token_file, ca_file, json, timeout } = self;
        let file = token_file.is_some() || ca_file.is_some();
        control.is_some() || file || *json || timeout.is_some()
    }

    /// Takes the options that are missing here from those before the command.
    pub(super) fn merge_earlier(&mut self, earlier: Self) {
        let Self { control, token_file, ca_file, json, timeout } = earlier;
        self.control = self.control.take().or(control);
        self.token_file = self.token_file.take().or(token_file);
        self.ca_file = self.ca_file.take().or(ca_file);
        self.json |= json;
        self.timeout = self.timeout.or(timeout);
    }
}

/// `lastword ls`
#[derive(Debug, Args)]
pub struct Ls {
    /// List only connections of this route
    #[arg(long)]
    pub route: Option<String>,
    /// List only connections in this state of the closing handshake
    #[arg(long, value_parser = one_of(CloseState::ALL.iter().map(|state| state.as_str())))]
    pub state: Option<String>,
    /// List only connections in this direction
    #[arg(long, value_parser = one_of(Direction::ALL.iter().map(|way| way.as_str())))]
    pub direction: Option<String>,
    /// List only connections of this subject
    #[arg(long)]
    pub subject: Option<String>,
    /// List only connections of this peer's address, with or without its port
    #[arg(long)]
    pub peer: Option<String>,
    /// List only connections that requested this path
    #[arg(long)]
    pub path: Option<String>,
    /// List only connections with this tag
    #[arg(long, value_name = "NAME:VALUE")]
    pub tag: Option<Tag>,
    /// List at most this many; 0 lists all
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    pub limit: u64,
    /// The control API.
    #[command(flatten)]
    pub control: Control,
}

/// `lastword reload`
#[derive(Debug, Args)]
#[command(after_long_help = "\
The daemon reads its files, its environment and its arguments again, as at the start. If anything is \
wrong, nothing changes, and the exit code is 1. Open connections keep the settings that they opened \
with. SIGHUP does the same, without an answer.")]
pub struct Reload {
    /// The control API.
    #[command(flatten)]
    pub control: Control,
}

/// `lastword show`
#[derive(Debug, Args)]
pub struct Show {
    /// The connection's id, or its last 12 digits
    pub id: String,
    /// The control API.
    #[command(flatten)]
    pub control: Control,
}

/// `lastword why`
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  lastword why 5b8f0a6d4c17        the connection whose id ends in these 12 digits
  lastword why ann                 the newest ending of the subject ann, and those before it
  lastword why 203.0.113.9         the newest ending of a peer, whatever its port, and what is open
  lastword why [2001:db8::9]:51342 the newest ending of a peer with this port
  lastword why ann --json          exactly what the API returned

An argument that could mean several things is taken for an id first, then a peer, then a subject.")]
pub struct Why {
    /// A connection's id or its last 12 digits, a subject, or a peer's address
    #[arg(value_name = "ID|SUBJECT|PEER")]
    pub word: String,
    /// The control API.
    #[command(flatten)]
    pub control: Control,
}

/// `lastword endings`
#[derive(Debug, Args)]
pub struct Endings {
    /// List only endings since this time, such as 2026-03-01T12:00:00Z, or 1h for an hour ago
    #[arg(long, value_name = "TIME")]
    pub since: Option<Moment>,
    /// List only endings before this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<Moment>,
    /// List only endings of this kind
    #[arg(long, value_parser = one_of(Kind::words()), hide_possible_values = true)]
    pub kind: Option<String>,
    /// List only endings with this fault
    #[arg(long, value_parser = one_of(Fault::ALL.iter().map(|fault| fault.as_str())))]
    pub fault: Option<String>,
    /// List only endings with this cause
    #[arg(
        long,
        value_parser = one_of(Cause::ALL.iter().map(|cause| cause.as_str())),
        hide_possible_values = true
    )]
    pub cause: Option<String>,
    /// List only endings with this close code, such as 1006
    #[arg(long)]
    pub code: Option<u16>,
    /// List only endings of this route
    #[arg(long)]
    pub route: Option<String>,
    /// List only endings of this subject
    #[arg(long)]
    pub subject: Option<String>,
    /// List only endings of this peer's address, with or without its port
    #[arg(long)]
    pub peer: Option<String>,
    /// List only endings of connections that requested this path, as recorded
    #[arg(long)]
    pub path: Option<String>,
    /// List at most this many; 0 lists all
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    pub limit: u64,
    /// Count them instead of listing them; takes only --since, --until and --by
    #[arg(
        long,
        conflicts_with_all = [
            "kind", "fault", "cause", "code", "route", "subject", "peer", "path", "limit",
        ]
    )]
    pub summary: bool,
    /// Count by this property
    #[arg(
        long,
        requires = "summary",
        value_parser = one_of(["kind", "fault", "cause", "code", "route", "user_agent"])
    )]
    pub by: Option<String>,
    /// The control API.
    #[command(flatten)]
    pub control: Control,
}

/// The message to send: a text, or the bytes of a file.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Payload {
    /// The text to send; - reads it from standard input
    pub text: Option<String>,
    /// Send a binary message with the bytes of this file; - reads them from standard input
    #[arg(long, value_name = "FILE")]
    pub binary_file: Option<PathBuf>,
}

/// `lastword send`
#[derive(Debug, Args)]
pub struct Send {
    /// The connection's id, or its last 12 digits
    pub id: String,
    /// The message.
    #[command(flatten)]
    pub payload: Payload,
    /// The control API.
    #[command(flatten)]
    pub control: Control,
}

/// `lastword broadcast`
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  lastword broadcast all 'Maintenance at noon'
  lastword broadcast route=chat 'Hello, chat'
  lastword broadcast subject=ann 'Hello, Ann'
  lastword broadcast route=chat,tag=room:7 'Hello, room 7'
  lastword broadcast all --binary-file frame.bin

The exit code is 1 if no connection matches, or if none of them took the message.")]
pub struct Broadcast {
    /// Which connections: all, or route=NAME, subject=NAME, tag=NAME:VALUE, joined by commas
    #[arg(value_name = "SELECTOR")]
    pub select: Selected,
    /// The message.
    #[command(flatten)]
    pub payload: Payload,
    /// The control API.
    #[command(flatten)]
    pub control: Control,
}

/// `lastword close`
#[derive(Debug, Args)]
pub struct Close {
    /// The connection's id, or its last 12 digits
    pub id: String,
    /// The code of the Close
    #[arg(long, default_value = "1000", value_parser = close_code)]
    pub code: CloseCode,
    /// The reason in the Close, at most 123 bytes
    #[arg(long, value_parser = close_reason)]
    pub reason: Option<CloseReason>,
    /// Do not wait for the ending
    #[arg(long)]
    pub no_wait: bool,
    /// The control API.
    #[command(flatten)]
    pub control: Control,
}

/// `lastword abort`
#[derive(Debug, Args)]
pub struct Abort {
    /// The connection's id, or its last 12 digits
    pub id: String,
    /// The control API.
    #[command(flatten)]
    pub control: Control,
}

/// `lastword drain`
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  lastword drain                              close all, as configured in [drain]
  lastword drain --within 10m --spread 8m     slowly, so that not all reconnect at once
  lastword drain --within 1h --rate 50        50 per second
  lastword drain --select route=chat --code 1001 --reason 'moving house'
  lastword drain --backend chat/0             one application of a relay, before it is stopped
  lastword drain --backend chat/0 --cancel    send clients there again
  lastword drain --stay                       close all, and refuse new ones until --cancel
  lastword drain --cancel                     cancel the running drain

While all connections are drained, new ones get 503; they are accepted again once the drain has
finished, unless --stay was given. A drain of a selection or of one application refuses none.

Interrupting the command (Ctrl-C) leaves the drain running. The exit code is 0 when the drain has
finished, even if connections had to be cut off at its deadline (the output says so), 1 when the
drain was cancelled or --select matches no connection, and 130 when it was interrupted.")]
pub struct Drain {
    /// Deadline of the drain; cut off what is still open then [default: drain.within]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub within: Option<Duration>,
    /// Send the Closes evenly over this time [default: drain.spread]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub spread: Option<Duration>,
    /// Send this many Closes per second; without --within the deadline is a minute after the last
    #[arg(long, value_name = "COUNT", conflicts_with = "spread",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,
    /// The code of the Closes [default: drain.code]
    #[arg(long, value_parser = close_code)]
    pub code: Option<CloseCode>,
    /// The reason in the Closes, at most 123 bytes [default: drain.reason]
    #[arg(long, value_parser = close_reason)]
    pub reason: Option<CloseReason>,
    /// Drain only these: all, or route=NAME, subject=NAME, tag=NAME:VALUE, upstream=URL and
    /// upstream_number=N, joined by commas
    #[arg(long, value_name = "SELECTOR")]
    pub select: Option<Selected>,
    /// Drain this application: close its clients and send it no new ones (ROUTE/NUMBER, as in
    /// `lastword backends`)
    #[arg(long, value_name = "BACKEND", conflicts_with = "select")]
    pub backend: Option<BackendName>,
    /// Keep refusing new connections after all are closed, until --cancel
    #[arg(long, conflicts_with_all = ["select", "backend"])]
    pub stay: bool,
    /// Cancel the running drain, or accept new connections again after one with --stay; with
    /// --backend, send clients there again
    #[arg(long,
          conflicts_with_all = ["within", "spread", "rate", "code", "reason", "select", "stay"])]
    pub cancel: bool,
    /// Start the drain without watching it
    #[arg(long)]
    pub no_wait: bool,
    /// The control API.
    #[command(flatten)]
    pub control: Control,
}

/// An application of a route: `chat/0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendName {
    /// The name of the route.
    pub route: String,
    /// Its number within the route, from 0.
    pub number: u32,
}

/// A text does not name an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write ROUTE/NUMBER, such as chat/0: `lastword backends` lists them")]
pub struct InvalidBackendName;

impl FromStr for BackendName {
    type Err = InvalidBackendName;

    fn from_str(text: &str) -> Result<Self, InvalidBackendName> {
        let (route, number) = text.rsplit_once('/').ok_or(InvalidBackendName)?;
        let number = number.parse().map_err(|_| InvalidBackendName)?;
        if route.is_empty() {
            Err(InvalidBackendName)
        } else {
            Ok(Self { route: route.to_owned(), number })
        }
    }
}

/// `lastword backends`
#[derive(Debug, Args)]
pub struct Backends {
    /// The control API.
    #[command(flatten)]
    pub control: Control,
}

/// `lastword dial`
#[derive(Debug, Args)]
pub struct Dial {
    /// URL to dial: ws://HOST:PORT/PATH
    pub url: String,
    /// Send this header; may be given more than once
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    pub header: Vec<(String, String)>,
    /// Offer this subprotocol; may be given more than once
    #[arg(long, value_name = "NAME")]
    pub subprotocol: Vec<String>,
    /// Give the connection this tag; may be given more than once
    #[arg(long, value_name = "NAME=VALUE")]
    pub tag: Vec<Tag>,
    /// Backend that takes its messages
    #[arg(long)]
    pub backend: Option<DialBackend>,
    /// Make it a dialer: dial again whenever the connection ends, until the dialer is removed
    #[arg(long)]
    pub reconnect: bool,
    /// Name of the dialer; generated if missing
    #[arg(long, value_name = "NAME", requires = "reconnect")]
    pub name: Option<String>,
    /// The control API.
    #[command(flatten)]
    pub control: Control,
}

/// Where the messages of a dialled connection go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DialBackend {
    /// Send them back to the server.
    Echo,
    /// Discard them.
    None,
}

impl DialBackend {
    /// Returns its name in the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::None => "none",
        }
    }
}

/// `lastword events`
#[derive(Debug, Args)]
pub struct Events {
    /// Show only events of these types, joined by commas
    #[arg(long, value_delimiter = ',', value_parser = one_of(EventRecord::WORDS))]
    pub types: Vec<String>,
    /// Start after the event with this number, as far as the ledger keeps events
    #[arg(long, value_name = "NUMBER")]
    pub since_id: Option<u64>,
    /// The control API.
    #[command(flatten)]
    pub control: Control,
}

/// `lastword status`
#[derive(Debug, Args)]
pub struct Status {
    /// Print nothing: the exit code says whether the daemon answers, for health checks
    #[arg(long, short, conflicts_with = "json")]
    pub quiet: bool,
    /// The control API.
    #[command(flatten)]
    pub control: Control,
}

/// `lastword completion`
#[derive(Debug, Args)]
pub struct Completion {
    /// The shell to complete for
    pub shell: Shell,
}

/// `lastword man`
#[derive(Debug, Args)]
pub struct Man {
    /// Write the pages of all commands, and lastword.toml(5), to this directory
    #[arg(value_name = "DIR")]
    pub directory: Option<PathBuf>,
}

fn one_of(values: impl IntoIterator<Item = &'static str>) -> PossibleValuesParser {
    PossibleValuesParser::new(values)
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}: write a duration such as 250ms, 30s, 5m or 2h"))
}

fn close_code(text: &str) -> Result<CloseCode, String> {
    let code: u16 = text.parse().map_err(|_| "a close code is a number such as 1000".to_owned())?;
    CloseCode::new(code).map_err(|error| error.to_string())
}

fn close_reason(text: &str) -> Result<CloseReason, IllegalClose> {
    CloseReason::new(text)
}

pub(super) fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        Some(_) | None => Err("write a header as 'Name: value'".to_owned()),
    }
}
