//! How the server is connected to: TCP, with or without TLS.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;

use super::wire::Wire;
use crate::Result;

/// The server, and how to connect to it.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    tls: Option<TlsConnector>,
}

impl Target {
    /// Connects with TCP alone, until [`Target::trust`].
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, tls: None }
    }

    /// Connects with TLS from now on, and trusts the authority in this file. Every handshake is a full
    /// one.
    pub(crate) fn trust(&mut self, authority: &Path) -> Result<()> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority)?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        self.tls = Some(TlsConnector::from(Arc::new(config)));
        Ok(())
    }

    /// Connects from a source address, with TLS if it is asked for.
    pub(crate) async fn connect(&self, source: Ipv4Addr) -> io::Result<Wire> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((source, 0).into())?;
        let socket = socket.connect(self.address).await?;
        socket.set_nodelay(true)?;
        match &self.tls {
            None => Ok(Wire::Tcp(socket)),
            Some(tls) => {
                let name = ServerName::from(self.address.ip());
                Ok(Wire::Tls(Box::new(tls.connect(name, socket).await?.into())))
            }
        }
    }
}
