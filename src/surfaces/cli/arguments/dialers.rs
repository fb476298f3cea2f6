//! The arguments of `lastword dialers` and `lastword dialer`.

use clap::{Args, Subcommand};

use super::Control;

/// `lastword dialers`
#[derive(Debug, Args)]
pub struct Dialers {
    /// The control API.
    #[command(flatten)]
    pub control: Control,
}

/// `lastword dialer`
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  lastword dialer pause feed       close its connection with 1000, and stop dialling
  lastword dialer resume feed      dial at once, with all failures forgotten
  lastword dialer rotate feed      replace its connection: the new one is ready before the old one closes
  lastword dialer remove ticks     remove a dialer created by `lastword dial --reconnect`

Each command returns without waiting for the result, which `lastword dialers` shows. The exit code is
1 if there is no such dialer, if the dialer to rotate is not ready, or if the dialer to remove is one
of the configuration.")]
pub struct Dialer {
    /// What to do.
    #[command(subcommand)]
    pub command: DialerCommand,
}

/// The commands for a dialer.
#[derive(Debug, Subcommand)]
pub enum DialerCommand {
    /// Close its connection, and stop dialling until it is resumed
    Pause(NamedDialer),
    /// Dial at once
    Resume(NamedDialer),
    /// Replace its connection with a new one
    Rotate(NamedDialer),
    /// Close its connection and remove the dialer; not for dialers of the configuration
    Remove(NamedDialer),
}

/// A dialer by its name.
#[derive(Debug, Args)]
pub struct NamedDialer {
    /// The dialer's name, as `lastword dialers` lists it
    pub name: String,
    /// The control API.
    #[command(flatten)]
    pub control: Control,
}

impl DialerCommand {
    /// Returns how to reach the daemon.
    pub fn control(&mut self) -> &mut Control {
        match self {
            Self::Pause(dialer)
            | Self::Resume(dialer)
            | Self::Rotate(dialer)
            | Self::Remove(dialer) => &mut dialer.control,
        }
    }
}
