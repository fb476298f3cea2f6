//! Certificates of a test's own authority, and servers that show them.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ALL_VERSIONS, ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::wire::Wire;

/// The number of the next authority.
static NEXT: AtomicU32 = AtomicU32::new(1);

/// A private certificate authority, with its PEM file.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

/// The certificates that all peers of a test program show and trust where they speak TLS: made once.
pub struct Shared {
    pub authority: Authority,
    /// The files of a certificate for `localhost` and its key.
    pub files: (PathBuf, PathBuf),
}

impl Shared {
    pub fn get() -> &'static Self {
        static SHARED: OnceLock<Shared> = OnceLock::new();
        SHARED.get_or_init(|| {
            let authority = Authority::new();
            let files = authority.issue("shared", &["localhost"]);
            Self { authority, files }
        })
    }

    /// Opens TLS as a client.
    pub async fn connect(&self, socket: TcpStream) -> Wire {
        let config = Arc::new(self.authority.client(None, ALL_VERSIONS));
        let name = ServerName::try_from("localhost").unwrap();
        let opened = TlsConnector::from(config).connect(name, socket).await;
        Wire::Tls(Box::new(opened.expect("TLS with the server").into()))
    }

    /// Opens TLS as a server.
    pub async fn accept(&self, socket: TcpStream) -> Wire {
        self.try_accept(socket).await.expect("TLS with the client")
    }

    /// Does the same; `None` if the client refuses.
    pub async fn try_accept(&self, socket: TcpStream) -> Option<Wire> {
        let (cert, key) = &self.files;
        let chain = CertificateDer::pem_file_iter(cert).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(key).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let opened = TlsAcceptor::from(Arc::new(config)).accept(socket).await;
        opened.ok().map(|opened| Wire::Tls(Box::new(opened.into())))
    }
}

/// What is wrong with a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    None,
    Expired,
    NotYetValid,
    OtherName,
    SelfSigned,
    /// Self-signed and an authority's (CA:TRUE), as `openssl req -x509` makes it.
    SelfSignedAuthority,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Each has a name of its own, so that a verifier tells them apart by it.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("lastword tests {number}");
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    /// The PEM file of the authority; it is gone with it.
    pub fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The PEM file of the certificate that the last acceptor shows.
    pub fn shown(&self) -> std::path::PathBuf {
        self.folder.path().join("shown.pem")
    }

    /// A folder for whatever else a test writes.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a certificate for these names and its key; returns the files, `NAME.pem` and `NAME-key.pem`.
    pub fn issue(&self, name: &str, names: &[&str]) -> (PathBuf, PathBuf) {
        self.issue_with(name, names, |_| {})
    }

    /// Does the same, with changes.
    pub fn issue_with(
        &self,
        name: &str,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> (PathBuf, PathBuf) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = [format!("{name}.pem"), format!("{name}-key.pem")];
        let [cert_file, key_file] = files.map(|file| self.folder.path().join(file));
        std::fs::write(&cert_file, certificate.pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        std::fs::set_permissions(&key_file, PermissionsExt::from_mode(0o600)).unwrap();
        (cert_file, key_file)
    }

    /// Writes a certificate for `localhost` of an authority below this one: alone, with that authority's,
    /// and its key.
    pub fn issue_below(&self) -> [PathBuf; 3] {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "between");
        let between = KeyPair::generate().unwrap();
        let between = CertifiedIssuer::signed_by(params, between, &self.issuer).unwrap();
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let own = own.signed_by(&key, &between).unwrap();
        let files = ["alone.pem", "chain.pem", "below-key.pem"];
        let files = files.map(|file| self.folder.path().join(file));
        let chain = own.pem() + &between.pem();
        for (file, text) in files.iter().zip([own.pem(), chain, key.serialize_pem()]) {
            std::fs::write(file, text).unwrap();
        }
        files
    }

    /// A client that trusts this authority, shows this certificate if there is one, and speaks these
    /// versions.
    pub fn client(
        &self,
        shown: Option<&(PathBuf, PathBuf)>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        match shown {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let chain = CertificateDer::pem_file_iter(cert).unwrap().map(Result::unwrap);
                let key = PrivateKeyDer::from_pem_file(key).unwrap();
                builder.with_client_auth_cert(chain.collect(), key).unwrap()
            }
        }
    }

    /// What a server at `localhost` and 127.0.0.1 shows.
    pub fn acceptor(&self, flaw: Flaw) -> TlsAcceptor {
        let names = match flaw {
            Flaw::OtherName => vec!["other.example".to_owned()],
            Flaw::SelfSignedAuthority => vec!["localhost".to_owned()],
            _ => vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
        };
        let mut params = CertificateParams::new(names).unwrap();
        match flaw {
            Flaw::Expired => {
                params.not_before = date_time_ymd(2019, 1, 1);
                params.not_after = date_time_ymd(2020, 1, 1);
            }
            Flaw::NotYetValid => params.not_before = date_time_ymd(4000, 1, 1),
            Flaw::SelfSignedAuthority => {
                params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            }
            Flaw::None | Flaw::OtherName | Flaw::SelfSigned => {}
        }
        let key = KeyPair::generate().unwrap();
        let certificate = match flaw {
            Flaw::SelfSigned | Flaw::SelfSignedAuthority => params.self_signed(&key).unwrap(),
            _ => params.signed_by(&key, &self.issuer).unwrap(),
        };
        std::fs::write(self.shown(), certificate.pem()).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Ends TCP without close_notify, as a cable that is cut and a middlebox that lies do.
pub async fn truncate(stream: TlsStream<TcpStream>) {
    use tokio::io::AsyncWriteExt;
    let (mut socket, _session) = stream.into_inner();
    socket.shutdown().await.unwrap();
}
