//! Pinned certificates: self-signed ones that `ca_file` names.
//!
//! `openssl req -x509` makes certificates with `CA:TRUE`, which webpki does not accept for a server, and
//! by default without a subject alternative name. A server that presents exactly the certificate that
//! the operator has named is trusted all the same.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use super::x509;

/// Accepts certificates that an authority has issued, and the pinned ones themselves.
#[derive(Debug)]
pub(super) struct PinnedOrIssued {
    pub(super) issued: Arc<WebPkiServerVerifier>,
    pub(super) pinned: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for PinnedOrIssued {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.issued.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match verified {
            // webpki checks the period of validity, which has its own error, before the purpose
            // (CA:TRUE), and the name after it, so the name must still be checked.
            Err(Error::InvalidCertificate(
                CertificateError::Other(_)
                | CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. },
            )) if self.pinned.contains(end_entity) => {
                check_name(end_entity, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.issued.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.issued.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.issued.supported_verify_schemes()
    }
}

/// Checks the name of a pinned certificate. Only where it has no subject alternative name, its common
/// name counts.
fn check_name(certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), Error> {
    let checked = verify_server_name(&ParsedCertificate::try_from(certificate)?, name);
    let common = x509::common_name_alone(certificate);
    match common.filter(|common| common.eq_ignore_ascii_case(&name.to_str())) {
        Some(_) => Ok(()),
        None => checked,
    }
}
