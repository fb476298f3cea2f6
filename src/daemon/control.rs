//! Starts the control API.

use std::sync::Arc;

use super::ledger::DaemonLedger;
use super::servers::Servers;
use crate::config::Config;
use crate::manager::Supervisor;
use crate::settings;
use crate::settings::Dialer;
use crate::surfaces::control::{self, Control, TokenFileError, TokenStore, Tokens};
use crate::surfaces::serving::Door;
use crate::transport::bind::{self, BindError};
use crate::transport::tls::ServerTls;

/// The key of the file that [`read_tokens`] reads.
pub(super) const TOKEN_FILE: &str = "control.token_file";

/// Reads the tokens, if configured. Without an address for the control API none are needed.
pub(super) fn read_tokens(control: &settings::Control) -> Result<Tokens, TokenFileError> {
    match (&control.listen, &control.token_file) {
        (Some(_), Some(file)) => Tokens::read(file),
        (Some(_), None) | (None, _) => Ok(Tokens::default()),
    }
}

/// Serves the control API, if it has an address.
pub(super) fn serve(
    config: &Config,
    supervisor: &Supervisor,
    ledger: &DaemonLedger,
    (tokens, tls): (TokenStore, Option<Arc<ServerTls>>),
    servers: &Servers,
) -> Result<(), BindError> {
    let Some(address) = &config.control.listen else { return Ok(()) };
    let acceptor = bind::bind(address)?;
    let control = Control {
        supervisor: supervisor.clone(),
        archive: ledger.archive(),
        ledger: ledger.figures(),
        probes: servers.probes(),
        tokens,
        settings: config.control.clone(),
        drain: config.drain.clone(),
        // A connection dialled over the API has the settings of a dialer's.
        dialled: Dialer::new("", "").settings(&config.settings()),
    };
    let door = Door { name: "control", acceptor, tls };
    servers.spawn("control", door, |door, stop| control::serve(door, control, stop));
    Ok(())
}
