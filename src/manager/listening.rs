//! The options of a listener.

use std::sync::Arc;

use crate::listening::listener::ListenError;
use crate::settings::Proxies;
#[cfg(feature = "tls")]
use crate::settings::Tls;
use crate::transport::tls::ServerTls;
#[cfg(feature = "tls")]
use crate::transport::tls::TlsFileError;
use crate::vocabulary::ListenAddress;

/// The options of a listener; by default it is plain, and every peer is the client itself.
///
/// With the feature `tls`, [`ListenOptions::tls`] adds certificates:
///
/// ```no_run
/// use lastword::settings::Tls;
/// use lastword::{ListenOptions, Route, Supervisor};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let supervisor = Supervisor::builder().start().await?;
/// let options = ListenOptions::default().tls(Tls::new("fullchain.pem", "key.pem"));
/// let address = "0.0.0.0:8443".parse()?;
/// supervisor.listen_with("public", &address, options, vec![Route::echo("/echo")?]).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
#[must_use]
pub struct ListenOptions {
    tls: TlsSource,
    pub(super) proxies: Proxies,
}

#[derive(Debug, Default)]
enum TlsSource {
    #[default]
    None,
    #[cfg(feature = "tls")]
    Files(Tls),
    Loaded(Arc<ServerTls>),
}

impl ListenOptions {
    /// Serves the clients over TLS 1.2 or 1.3, with these certificates.
    ///
    /// The files are read when the listener starts, and followed from then on: within 10 seconds after
    /// they changed, new clients are shown the new certificates. Files that cannot be used are logged,
    /// and the old certificates stay. Only a TCP address can have TLS.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = TlsSource::Files(tls);
        self
    }

    /// Serves the clients with certificates that were read already.
    #[doc(hidden)]
    pub fn loaded_tls(mut self, tls: Option<Arc<ServerTls>>) -> Self {
        self.tls = tls.map_or(TlsSource::None, TlsSource::Loaded);
        self
    }

    /// Returns the certificates, if they were read already, and the proxies.
    pub(super) fn loaded(self) -> (Option<Arc<ServerTls>>, Proxies) {
        let tls = match self.tls {
            TlsSource::Loaded(tls) => Some(tls),
            TlsSource::None => None,
            #[cfg(feature = "tls")]
            TlsSource::Files(_) => None,
        };
        (tls, self.proxies)
    }

    /// Returns the certificates, read from their files if need be.
    pub(super) async fn resolve_tls(
        &mut self,
        #[cfg_attr(not(feature = "tls"), expect(unused_variables, reason = "nothing is read"))]
        name: &str,
        address: &ListenAddress,
    ) -> Result<Option<Arc<ServerTls>>, ListenError> {
        match (std::mem::take(&mut self.tls), address) {
            (TlsSource::None, _) => Ok(None),
            #[cfg(feature = "tls")]
            (_, ListenAddress::Unix(_)) => Err(TlsFileError::UnixSocket.into()),
            #[cfg(feature = "tls")]
            (TlsSource::Files(tls), ListenAddress::Tcp(_) | ListenAddress::Systemd(_)) => {
                let read = tokio::task::spawn_blocking(move || ServerTls::load(&tls)).await;
                let tls = read.map_err(|error| match error.is_panic() {
                    true => TlsFileError::Panicked,
                    false => TlsFileError::Stopped,
                })??;
                for warning in tls.warnings() {
                    tracing::warn!(listener = name, "{warning}");
                }
                Ok(Some(Arc::new(tls)))
            }
            (TlsSource::Loaded(tls), _) => Ok(Some(tls)),
        }
    }

    /// Says which proxies in front of the listener are believed, and how they name the client.
    ///
    /// ```no_run
    /// use lastword::settings::{Forwarded, Proxies};
    /// use lastword::{ListenOptions, Route, Supervisor};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let supervisor = Supervisor::builder().start().await?;
    /// let mut proxies = Proxies::default();
    /// proxies.trusted = vec!["10.0.0.0/8".parse()?];
    /// proxies.forwarded = Forwarded::Trust;
    /// let options = ListenOptions::default().proxies(proxies);
    /// let address = "0.0.0.0:8080".parse()?;
    /// supervisor.listen_with("public", &address, options, vec![Route::echo("/echo")?]).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn proxies(mut self, proxies: Proxies) -> Self {
        self.proxies = proxies;
        self
    }
}
