//! What `lastword dialers` and `lastword dialer` take.

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
  lastword dialer pause feed       close its connection with 1000, and dial no more
  lastword dialer resume feed      dial at once, as if nothing had happened before
  lastword dialer rotate feed      replace its connection: the new one is ready before the old one goes
  lastword dialer remove ticks     forget a dialer that was made by `lastword dial --reconnect`

Each says what it asked for and does not wait for it: `lastword dialers` tells how it fares. It exits
with 1 if there is no such dialer, if one that is not ready is to be rotated, or if one of the
configuration is to be removed.")]
pub struct Dialer {
    /// What to do.
    #[command(subcommand)]
    pub command: DialerCommand,
}

/// What can be done to a dialer.
#[derive(Debug, Subcommand)]
pub enum DialerCommand {
    /// Close its connection, and dial no more until it is resumed
    Pause(NamedDialer),
    /// Dial at once
    Resume(NamedDialer),
    /// Replace its connection by a new one
    Rotate(NamedDialer),
    /// Close its connection, and forget it; not one of the configuration
    Remove(NamedDialer),
}

/// Which dialer.
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
