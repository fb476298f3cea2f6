//! Serves the control API.

use std::sync::Arc;

use super::ledger::DaemonLedger;
use super::servers::Servers;
use crate::config::Config;
use crate::manager::Supervisor;
use crate::settings;
use crate::settings::Dialer;
use crate::surfaces::control::{
    self, Control, ControlSettings, LiveSettings, Started, TokenFileError, TokenStore, Tokens,
};
use crate::surfaces::reloads::Reloads;
use crate::surfaces::serving::Door;
use crate::transport::bind::Acceptor;
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

/// Returns what the control API takes from a configuration.
pub(super) fn settings(config: &Config) -> ControlSettings {
    ControlSettings {
        control: config.control.clone(),
        drain: config.drain.clone(),
        // A connection dialled over the API has the settings of a dialer's.
        dialled: Dialer::new("", "").settings(&config.settings()),
    }
}

/// What the control API is served with.
#[derive(Clone)]
pub(super) struct Serving {
    pub(super) supervisor: Supervisor,
    pub(super) ledger: DaemonLedger,
    pub(super) tokens: TokenStore,
    pub(super) settings: LiveSettings,
    pub(super) reloads: Reloads,
    pub(super) started: Started,
}

impl Serving {
    /// Serves the control API, in place of the server before.
    pub(super) fn serve(&self, acceptor: Acceptor, tls: Option<Arc<ServerTls>>, servers: &Servers) {
        let control = Control {
            supervisor: self.supervisor.clone(),
            archive: self.ledger.archive(),
            ledger: self.ledger.figures(),
            probes: servers.probes(),
            tokens: self.tokens.clone(),
            settings: self.settings.clone(),
            reloads: self.reloads.clone(),
            started: self.started,
        };
        let door = Door { name: "control", acceptor: Arc::new(acceptor), tls };
        servers.spawn(door, |door, stop| control::serve(door, control, stop));
    }
}
