//! The command line, and the client commands.
//!
//! Every client command uses the control API and nothing else. Its exit code is 0 for success, 1 if
//! the request failed, 2 for bad usage, and 3 if no daemon could be reached.

mod api;
mod arguments;
mod backends;
mod closing;
mod console;
mod dialers;
mod draining;
mod endings;
mod events;
mod exit;
mod failure;
mod listing;
mod live;
mod manual;
mod message;
mod moment;
mod probing;
mod reading;
mod reloading;
mod revoking;
mod selector;
mod status;
mod summary;
mod table;
mod top;
mod why;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};

pub use arguments::{
    Abort, Backends, Broadcast, Close, Completion, Control, Dial, Dialer, DialerCommand, Dialers,
    Drain, Endings, Events, Ls, Man, NamedDialer, Payload, Probe, Reload, Revocations, Revoke,
    Send, Show, Status, Top, Why,
};
pub use moment::{InvalidMoment, Moment};
pub use selector::{InvalidSelector, Selected, Tag};
pub use top::Sort;

use console::Console;

use failure::Failure;

/// WebSocket connection manager that records how every connection ended
#[derive(Debug, Parser)]
#[command(
    name = "lastword",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// The control API, if named before the command.
    #[command(flatten)]
    pub control: Control,
}

impl CommandLine {
    /// Parses the arguments of a process; options before the command apply unless the command
    /// overrides them.
    ///
    /// # Errors
    /// clap's description of what is wrong.
    pub fn read(
        arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Command, clap::Error> {
        let Self { mut command, control } = Self::try_parse_from(arguments)?;
        let own = match &mut command {
            Command::Client(client) => client.control(),
            Command::Serve(_) | Command::Check(_) => None,
        };
        match own {
            Some(own) => own.merge_earlier(control),
            None if control.is_given() => {
                let why = "--control, --token-file, --ca-file, --json and --timeout are for commands that ask \
                           a running daemon: remove them";
                return Err(Self::command().error(ErrorKind::ArgumentConflict, why));
            }
            None => {}
        }
        Ok(command)
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon; without a configuration it echoes on ws://127.0.0.1:8080/echo
    Serve(Serve),
    /// Check the configuration as `serve` would load it
    Check(Serve),
    /// A client command.
    #[command(flatten)]
    Client(ClientCommand),
}

/// A command that uses the control API of a running daemon, or none at all.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// List open connections
    Ls(Ls),
    /// Show all details of one open connection
    Show(Show),
    /// Explain how a connection ended, whose fault it was, and what to do about it
    Why(Why),
    /// List endings, newest first, or count them
    Endings(Box<Endings>),
    /// Send a message into one connection
    Send(Send),
    /// Send a message into many connections
    Broadcast(Broadcast),
    /// Close a connection with the closing handshake, and wait for its ending
    Close(Close),
    /// Abort a connection at once, without a closing handshake
    Abort(Abort),
    /// Close all connections or a selection gradually, and watch the progress
    Drain(Drain),
    /// Read the configuration again and use it, without touching open connections
    Reload(Reload),
    /// Revoke a subject or a token: close its connections, and refuse new ones
    Revoke(Revoke),
    /// List the revocations in force
    Revocations(Revocations),
    /// List the applications behind relays with their state
    Backends(Backends),
    /// List the dialers with their state
    Dialers(Dialers),
    /// Pause, resume, rotate or remove a dialer
    Dialer(Dialer),
    /// Open a connection from the daemon to a server
    Dial(Dial),
    /// Follow events as they happen
    Events(Events),
    /// Watch connections, rates and endings in the terminal
    Top(Top),
    /// Show the state of the daemon
    Status(Status),
    /// Test how a WebSocket server closes connections, and whether it keeps to RFC 6455
    Probe(Box<Probe>),
    /// Print a completion script for a shell
    Completion(Completion),
    /// Print the manual page, or write all pages to a directory
    Man(Man),
}

/// The layers of the configuration given on the command line.
#[derive(Debug, Args)]
pub struct Layers {
    /// Read this file, after /etc/lastword/lastword.toml; may be given more than once
    #[arg(long = "config", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Set one key, after all files and the environment; may be given more than once
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// How to run the daemon, or what to check.
#[derive(Debug, Args)]
pub struct Serve {
    /// The configuration.
    #[command(flatten)]
    pub layers: Layers,
    /// Relay every path without a route to this application: ws://host:port, wss://… or ws+unix:/path
    #[arg(long, value_name = "URL")]
    pub relay: Option<String>,
    /// Serve the first listener over TLS (wss://) with the certificate and its chain in this PEM file
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The private key of --tls-cert, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
}

impl ClientCommand {
    /// Returns how to reach the daemon, if the command needs it.
    fn control(&mut self) -> Option<&mut Control> {
        match self {
            Self::Ls(ls) => Some(&mut ls.control),
            Self::Show(show) => Some(&mut show.control),
            Self::Why(why) => Some(&mut why.control),
            Self::Endings(endings) => Some(&mut endings.control),
            Self::Send(send) => Some(&mut send.control),
            Self::Broadcast(broadcast) => Some(&mut broadcast.control),
            Self::Close(close) => Some(&mut close.control),
            Self::Abort(abort) => Some(&mut abort.control),
            Self::Drain(drain) => Some(&mut drain.control),
            Self::Reload(reload) => Some(&mut reload.control),
            Self::Revoke(revoke) => Some(&mut revoke.control),
            Self::Revocations(revocations) => Some(&mut revocations.control),
            Self::Backends(backends) => Some(&mut backends.control),
            Self::Dialers(dialers) => Some(&mut dialers.control),
            Self::Dialer(dialer) => Some(dialer.command.control()),
            Self::Dial(dial) => Some(&mut dial.control),
            Self::Events(events) => Some(&mut events.control),
            Self::Top(top) => Some(&mut top.control),
            Self::Status(status) => Some(&mut status.control),
            Self::Probe(_) | Self::Completion(_) | Self::Man(_) => None,
        }
    }
}

/// Runs a client command; returns its exit code.
pub fn run(mut command: ClientCommand) -> ExitCode {
    let mut console = Console::of_process(command.control().is_some_and(|control| control.json));
    let code = match run_command(command, &mut console) {
        Ok(code) => code,
        Err(failure) => console.print_failure(&failure),
    };
    ExitCode::from(code)
}

fn run_command(command: ClientCommand, console: &mut Console) -> Result<u8, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::Runtime)?;
    let code = runtime.block_on(dispatch(command, console));
    // Does not wait for a name lookup that is still running.
    runtime.shutdown_background();
    code
}

async fn dispatch(command: ClientCommand, console: &mut Console) -> Result<u8, Failure> {
    match command {
        ClientCommand::Ls(ls) => live::ls(&ls, console).await,
        ClientCommand::Show(show) => live::show(&show, console).await,
        ClientCommand::Why(why) => why::why(&why, console).await,
        ClientCommand::Endings(endings) if endings.summary || endings.by.is_some() => {
            summary::summary(&endings, console).await
        }
        ClientCommand::Endings(endings) => endings::list(&endings, console).await,
        ClientCommand::Send(send) => message::send(&send, console).await,
        ClientCommand::Broadcast(broadcast) => message::broadcast(&broadcast, console).await,
        ClientCommand::Close(close) => closing::close(&close, console).await,
        ClientCommand::Abort(abort) => closing::abort(&abort, console).await,
        ClientCommand::Drain(drain) => draining::drain(&drain, console).await,
        ClientCommand::Reload(reload) => reloading::reload(&reload, console).await,
        ClientCommand::Revoke(revoke) => revoking::revoke(&revoke, console).await,
        ClientCommand::Revocations(revocations) => revoking::list(&revocations, console).await,
        ClientCommand::Backends(backends) => backends::list(&backends, console).await,
        ClientCommand::Dialers(dialers) => dialers::list(&dialers, console).await,
        ClientCommand::Dialer(dialer) => dialers::command(&dialer.command, console).await,
        ClientCommand::Dial(dial) => closing::dial(&dial, console).await,
        ClientCommand::Events(events) => events::follow(&events, console).await,
        ClientCommand::Top(top) => top::top(&top, console).await,
        ClientCommand::Status(status) => status::status(&status, console).await,
        ClientCommand::Probe(probe) => probing::probe(&probe, console).await,
        ClientCommand::Completion(completion) => {
            manual::completion(&completion, CommandLine::command(), console)
        }
        ClientCommand::Man(man) => manual::man(&man, CommandLine::command(), console),
    }
}
