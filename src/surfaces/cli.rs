//! The command line: what can be asked for, and the commands that ask a running daemon.
//!
//! Every client command is a client of the control API and of nothing else. It exits with 0; with 1
//! if what was asked for failed, with 2 for bad usage, with 3 if no daemon could be reached.

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
mod selector;
mod status;
mod summary;
mod table;
mod why;
mod words;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};

pub use arguments::{
    Abort, Backends, Broadcast, Close, Completion, Control, Dial, Dialer, DialerCommand, Dialers,
    Drain, Endings, Events, Ls, Man, NamedDialer, Payload, Send, Show, Status, Why,
};
pub use selector::{InvalidSelector, Selected, Tag};
pub use words::{InvalidMoment, Moment};

use console::Console;

use failure::Failure;

/// Owns WebSocket connections, and tells how each of them ended.
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
    /// The control API, for those who name it before the command.
    #[command(flatten)]
    pub control: Control,
}

impl CommandLine {
    /// Reads the arguments of a process; what was given before the command holds where the command
    /// does not say otherwise.
    ///
    /// # Errors
    /// What is wrong with them, as clap says it.
    pub fn read(
        arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Command, clap::Error> {
        let Self { mut command, control } = Self::try_parse_from(arguments)?;
        let own = match &mut command {
            Command::Client(client) => client.control(),
            Command::Serve(_) | Command::Check(_) | Command::Top(_) | Command::Probe(_) => None,
        };
        match own {
            Some(own) => own.fall_back_on(control),
            None if control.is_given() => {
                let why = "--control, --token-file, --json and --timeout are for commands that ask \
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
#[expect(clippy::large_enum_variant, reason = "there is one of it, and it is moved twice")]
pub enum Command {
    /// Run the daemon; with nothing else, an echo on ws://127.0.0.1:8080/echo
    Serve(Serve),
    /// Check the configuration as `serve` would load it
    Check(Serve),
    /// What is asked of a running daemon, or of nobody.
    #[command(flatten)]
    Client(ClientCommand),
    /// Watch connections and endings (not in this version)
    #[command(hide = true)]
    Top(Later),
    /// Try how a server ends connections (not in this version)
    #[command(hide = true)]
    Probe(Later),
}

/// What is asked of a running daemon by its control API, or of nobody.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// List the connections that are open
    Ls(Ls),
    /// Show one open connection whole
    Show(Show),
    /// Tell how a connection ended, whose deed it was, and what to do about it
    Why(Why),
    /// List endings, newest first, or count them
    Endings(Endings),
    /// Send a message into one connection
    Send(Send),
    /// Send a message into many connections
    Broadcast(Broadcast),
    /// Close a connection with the closing handshake, and wait for its ending
    Close(Close),
    /// Cut a connection off at once, without a closing handshake
    Abort(Abort),
    /// Close all connections, or a selection, at a pace, and watch it
    Drain(Drain),
    /// List the applications behind relays, and how they fare
    Backends(Backends),
    /// List the dialers, and how they fare
    Dialers(Dialers),
    /// Pause, resume, rotate or remove a dialer
    Dialer(Dialer),
    /// Open a connection from the daemon to a server
    Dial(Dial),
    /// Follow what happens, as it happens
    Events(Events),
    /// Tell how the daemon fares
    Status(Status),
    /// Print a completion script for a shell
    Completion(Completion),
    /// Print the manual page, or write all pages to a directory
    Man(Man),
}

/// The configuration's layers that the command line names.
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
    /// Relay every path that no route takes to this application: ws://host:port, wss://… or ws+unix:/path
    #[arg(long, value_name = "URL")]
    pub relay: Option<String>,
}

/// Whatever is given to a command of a later version.
#[derive(Debug, Args)]
pub struct Later {
    /// Its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<String>,
}

impl ClientCommand {
    /// Returns how to reach the daemon, if it has to be asked.
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
            Self::Backends(backends) => Some(&mut backends.control),
            Self::Dialers(dialers) => Some(&mut dialers.control),
            Self::Dialer(dialer) => Some(dialer.command.control()),
            Self::Dial(dial) => Some(&mut dial.control),
            Self::Events(events) => Some(&mut events.control),
            Self::Status(status) => Some(&mut status.control),
            Self::Completion(_) | Self::Man(_) => None,
        }
    }
}

/// Runs a client command; returns its exit code.
pub fn run(mut command: ClientCommand) -> ExitCode {
    let mut console = Console::of_process(command.control().is_some_and(|control| control.json));
    let code = match carry_out(command, &mut console) {
        Ok(code) => code,
        Err(failure) => console.complain(&failure),
    };
    ExitCode::from(code)
}

fn carry_out(command: ClientCommand, console: &mut Console) -> Result<u8, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::Runtime)?;
    let code = runtime.block_on(ask(command, console));
    // A name that is still being looked up is not worth waiting for.
    runtime.shutdown_background();
    code
}

async fn ask(command: ClientCommand, console: &mut Console) -> Result<u8, Failure> {
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
        ClientCommand::Backends(backends) => backends::list(&backends, console).await,
        ClientCommand::Dialers(dialers) => dialers::list(&dialers, console).await,
        ClientCommand::Dialer(dialer) => dialers::command(&dialer.command, console).await,
        ClientCommand::Dial(dial) => closing::dial(&dial, console).await,
        ClientCommand::Events(events) => events::follow(&events, console).await,
        ClientCommand::Status(status) => status::status(&status, console).await,
        ClientCommand::Completion(completion) => {
            manual::completion(&completion, CommandLine::command(), console)
        }
        ClientCommand::Man(man) => manual::man(&man, CommandLine::command(), console),
    }
}
