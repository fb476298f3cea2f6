//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

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
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon; with nothing else, an echo on ws://127.0.0.1:8080/echo
    Serve(Serve),
    /// Check the configuration as `serve` would load it
    Check(Layers),
    /// A command of a later version.
    #[command(external_subcommand)]
    Other(Vec<String>),
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

/// How to run the daemon.
#[derive(Debug, Args)]
pub struct Serve {
    /// The configuration.
    #[command(flatten)]
    pub layers: Layers,
    /// Relay every path but /echo to this application (not in this version)
    #[arg(long, value_name = "URL")]
    pub relay: Option<String>,
}

/// The commands that the contract has and this version has not.
const LATER: [&str; 15] = [
    "ls",
    "show",
    "why",
    "endings",
    "send",
    "broadcast",
    "close",
    "abort",
    "drain",
    "dial",
    "events",
    "top",
    "probe",
    "completion",
    "man",
];

/// Says what is wrong with a command that is not known.
pub fn explain_unknown(words: &[String]) -> String {
    let name = words.first().map_or("", String::as_str);
    if LATER.contains(&name) {
        return format!("`{name}` needs the control API, which is not in this version");
    }
    format!("there is no command `{name}`: try `lastword --help`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn layers_keep_their_order() {
        let words = ["lastword", "serve", "--config", "a", "--set", "x=1", "--config", "b"];
        let Command::Serve(serve) = CommandLine::try_parse_from(words).unwrap().command else {
            panic!("not serve");
        };
        assert_eq!(serve.layers.files, [PathBuf::from("a"), PathBuf::from("b")]);
        assert_eq!(serve.layers.set, ["x=1"]);
    }

    #[test]
    fn a_command_of_a_later_version_is_told_apart_from_a_typing_error() {
        assert!(explain_unknown(&["why".to_owned()]).contains("not in this version"));
        assert!(explain_unknown(&["swerve".to_owned()]).contains("no command"));
    }
}
