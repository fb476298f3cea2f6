//! TLS of a listener: certificates that follow their files, and the handshake with a client.

mod accepting;
mod choice;
mod error;
mod files;

use std::collections::hash_map::RandomState;
use std::convert::Infallible;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

pub use error::TlsFileError;
pub use files::CertificateFacts;

use super::provider::{ALPN, provider};
use crate::settings::{ClientAuth, Tls, TlsVersion};
use choice::ByName;
use files::Files;

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// The validity that is left to a certificate when a warning is due.
const SOON: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The TLS of a listener.
///
/// Its files are read again by [`ServerTls::look_again`]. New connections get what was read last, and
/// open ones keep what they have.
pub struct ServerTls {
    settings: Tls,
    current: RwLock<Arc<Current>>,
    hasher: RandomState,
    /// How often files were read that cannot be used.
    refused: AtomicU64,
}

/// What was logged of a listener's certificates.
struct Told {
    /// The problem that was logged last.
    problem: Option<String>,
    warnings: Vec<String>,
}

/// What was made of the files when they were last read.
struct Current {
    config: Arc<ServerConfig>,
    /// A hash of all files, so that no copy of a key is kept.
    contents: u64,
    /// A hash of the file of the clients' authorities.
    authorities: u64,
    certificates: Vec<CertificateFacts>,
    /// A warning for each key that everybody on this machine can read.
    exposed_keys: Vec<String>,
}

impl ServerTls {
    /// Reads the files. Blocks.
    ///
    /// # Errors
    /// [`TlsFileError`], whose message names the file, the problem and the remedy.
    pub fn load(settings: &Tls) -> Result<Self, TlsFileError> {
        let hasher = RandomState::new();
        let files = Files::read(settings)?;
        let current = Current::new(settings, &files, &hasher, None)?;
        Ok(Self {
            settings: settings.clone(),
            current: RwLock::new(Arc::new(current)),
            hasher,
            refused: AtomicU64::new(0),
        })
    }

    /// Reads the files again, and uses them from now on if they have changed. Blocks. Returns whether
    /// they have.
    ///
    /// # Errors
    /// The files cannot be used, and what was read before stays.
    pub fn look_again(&self) -> Result<bool, TlsFileError> {
        let looked = Files::read(&self.settings).and_then(|files| {
            let last = Arc::clone(&self.current.read());
            if files.hash(&self.hasher) == last.contents {
                return Ok(false);
            }
            let current = Current::new(&self.settings, &files, &self.hasher, Some(&last))?;
            *self.current.write() = Arc::new(current);
            Ok(true)
        });
        if looked.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        looked
    }

    /// Follows the files: looks at them every ten seconds and logs what comes of it, for the listener
    /// of this name. Cancel safe.
    pub async fn follow(self: Arc<Self>, listener: &str) -> Infallible {
        // Those of the start were logged there.
        let mut told = Told { problem: None, warnings: self.warnings() };
        loop {
            sleep(LOOK_INTERVAL).await;
            let this = Arc::clone(&self);
            match spawn_blocking(move || this.look_again()).await {
                Ok(looked) => self.tell(listener, looked, &mut told),
                // The next look may not panic.
                Err(panic) if panic.is_panic() => tracing::error!(
                    listener,
                    %panic,
                    "a look at the certificates panicked: please report this"
                ),
                // The runtime is shutting down.
                Err(_) => {}
            }
        }
    }

    /// Logs what a look at the files found, and the warnings; a lasting problem or warning once.
    fn tell(&self, listener: &str, looked: Result<bool, TlsFileError>, told: &mut Told) {
        match looked {
            Ok(is_new) => {
                told.problem = None;
                if is_new {
                    told.warnings.clear();
                    tracing::info!(listener, "new certificates are used from now on");
                }
            }
            Err(error) => {
                let problem = error.to_string();
                if told.problem.as_ref() != Some(&problem) {
                    tracing::warn!(
                        listener,
                        "new certificates were refused, and the old ones stay: {problem}"
                    );
                    told.problem = Some(problem);
                }
            }
        }
        let warnings = self.warnings();
        for warning in warnings.iter().filter(|warning| !told.warnings.contains(warning)) {
            tracing::warn!(listener, "{warning}");
        }
        told.warnings = warnings;
    }

    /// Returns what is not wrong, but should be known: a key that others can read, a certificate that
    /// is about to expire.
    pub fn warnings(&self) -> Vec<String> {
        self.current.read().warnings(SystemTime::now())
    }

    /// Returns what is known of the certificates.
    pub fn certificates(&self) -> Vec<CertificateFacts> {
        self.current.read().certificates.clone()
    }

    /// Returns how often files were read that could not be used.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().config)
    }
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerTls").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Current {
    fn new(
        settings: &Tls,
        files: &Files,
        hasher: &RandomState,
        last: Option<&Self>,
    ) -> Result<Self, TlsFileError> {
        let loaded = files.certificates(SystemTime::now())?;
        let authorities = hasher.hash_one(files.authorities());
        // Sessions of clients whose authority is gone must not be resumed.
        let tickets = last.filter(|last| last.authorities == authorities);
        let tickets = match tickets {
            Some(last) => Arc::clone(&last.config.ticketer),
            None => Ticketer::new().map_err(|_| TlsFileError::NoRandomNumbers)?,
        };
        Ok(Self {
            config: Arc::new(config(settings, files, loaded.keys, tickets)?),
            contents: files.hash(hasher),
            authorities,
            certificates: loaded.facts,
            exposed_keys: files.exposed_keys(),
        })
    }

    fn warnings(&self, now: SystemTime) -> Vec<String> {
        let of_certificates = self.certificates.iter().filter_map(|facts| warning(facts, now));
        self.exposed_keys.iter().cloned().chain(of_certificates).collect()
    }
}

fn config(
    settings: &Tls,
    files: &Files,
    keys: ByName,
    tickets: Arc<dyn ProducesTickets>,
) -> Result<ServerConfig, TlsFileError> {
    let versions: &[_] = match settings.oldest_version() {
        TlsVersion::V1_2 => &[&TLS13, &TLS12],
        TlsVersion::V1_3 => &[&TLS13],
    };
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .map_err(|_| TlsFileError::NoVersion)?;
    let builder = match files.client_authorities()? {
        None => builder.with_no_client_auth(),
        Some((roots, file, auth)) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
            let verifier = match auth {
                ClientAuth::Required => verifier,
                ClientAuth::Optional => verifier.allow_unauthenticated(),
            };
            let verifier = verifier.build().map_err(|error| TlsFileError::NoAuthority {
                file: file.clone(),
                why: error.to_string(),
            })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(keys));
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A ticket holds the session, so that this end need not keep it. A WebSocket client opens one
    // connection at a time, and gets a new ticket with each.
    config.ticketer = tickets;
    config.send_tls13_tickets = 1;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

fn warning(facts: &CertificateFacts, now: SystemTime) -> Option<String> {
    let CertificateFacts { file, not_before, not_after } = facts;
    let shown = |time: SystemTime| humantime::format_rfc3339_seconds(time);
    if *not_before > now {
        return Some(format!(
            "the certificate in {} is not valid before {}: correct the clock here, or wait",
            file.display(),
            shown(*not_before)
        ));
    }
    let left = not_after.duration_since(now).unwrap_or_default();
    (left < SOON).then(|| {
        format!("the certificate in {} expires at {}: renew it", file.display(), shown(*not_after))
    })
}
