//! The arguments of `lastword probe`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{duration, header};

/// `lastword probe`
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  lastword probe wss://example.org/chat                    what may be tried in production
  lastword probe ws://127.0.0.1:8080/echo --full           all cases, against an echo
  lastword probe ws://127.0.0.1:8080/ --idle 90s           when a silent connection is cut
  lastword probe ws://127.0.0.1:8080/ --only close-answer  one case
  lastword probe --list                                    all cases
  lastword probe --listen 127.0.0.1:9001                   serves cases to clients and browsers

Without --full at most 10 connections are opened one after the other, and no messages are sent. --full sends
messages too, so it needs a server that sends them back (an echo) or ignores them (a sink).

The URL is ws://, wss://, http:// or https://, or unix:/path/to.sock, with the path of the request behind
another colon if one is needed: unix:/path/to.sock:/chat.

With --listen each case is at ws://ADDRESS/case/ID, the results are at http://ADDRESS/report, and Ctrl-C ends it
with a summary.

The exit code is 0 if no case failed (warnings do not count), 1 if one did, 2 for bad usage, and 3 if the server
cannot be reached.")]
pub struct Probe {
    /// The server
    #[arg(required_unless_present_any = ["list", "listen"])]
    pub url: Option<String>,
    /// Play only what may be tried in production: this is the default
    #[arg(long, conflicts_with = "full")]
    pub safe: bool,
    /// Play all cases; the server should send messages back, or ignore them
    #[arg(long)]
    pub full: bool,
    /// Play only the case with this id; may be given more than once
    #[arg(long, value_name = "ID")]
    pub only: Vec<String>,
    /// List the cases, and probe nothing
    #[arg(long, conflicts_with = "listen")]
    pub list: bool,
    /// Serve cases to clients at this address instead, and report what each client does; a browser that opens
    /// http://ADDRESS/ tests itself
    #[arg(
        long,
        value_name = "ADDRESS",
        conflicts_with_all = [
            "url", "safe", "full", "only", "idle", "header", "header_file", "subprotocol", "insecure", "ca_file",
            "proxy", "junit",
        ]
    )]
    pub listen: Option<SocketAddr>,
    /// Leave one connection silent for this long, to see whether and how it is cut
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub idle: Option<Duration>,
    /// Send this header with each request, such as 'Authorization: Bearer …'; may be given more than once
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    pub header: Vec<(String, String)>,
    /// Send the headers in this file as well, each in a line as NAME: VALUE; other users of the machine see
    /// arguments, but not the file
    #[arg(long, value_name = "FILE")]
    pub header_file: Option<PathBuf>,
    /// Offer this subprotocol; may be given more than once
    #[arg(long, value_name = "NAME")]
    pub subprotocol: Vec<String>,
    /// Accept any certificate of the server
    #[arg(long, conflicts_with = "ca_file")]
    pub insecure: bool,
    /// Accept only certificates of the authorities in this PEM file, or a self-signed one in it
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Connect through this HTTP proxy: http://HOST:PORT
    #[arg(long, value_name = "URL")]
    pub proxy: Option<String>,
    /// Send the proxy the credentials in this file: user:password
    #[arg(long, value_name = "FILE", requires = "proxy")]
    pub proxy_credentials: Option<PathBuf>,
    /// Wait this long for each answer
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "5s")]
    pub timeout: Duration,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
    /// Write the result to this file as well, as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
}
