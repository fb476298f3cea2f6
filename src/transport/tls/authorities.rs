//! Certificates of authorities in PEM.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{Error, RootCertStore};

/// The longest file of certificates or a key that is read, in bytes; a chain has some KiB, and a bundle of
/// authorities some 100.
pub(super) const LONGEST: u64 = 4 * 1024 * 1024;

/// Reads the certificates of authorities, of which there must be one.
///
/// # Errors
/// A clause that says what is wrong.
pub(super) fn of_pem(pem: &[u8]) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), String> {
    let (mut roots, mut certificates) = (RootCertStore::empty(), Vec::new());
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("it is not PEM: {error}"))?;
        roots.add(certificate.clone()).map_err(|error| match error {
            Error::InvalidCertificate(_) => "a CERTIFICATE section cannot be read",
            _ => "a certificate in it cannot be an authority's",
        })?;
        certificates.push(certificate);
    }
    match roots.is_empty() {
        true => Err("no CERTIFICATE section".to_owned()),
        false => Ok((roots, certificates)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_no_authority_is_refused_with_a_clause() {
        let why = |pem: &str| of_pem(pem.as_bytes()).map(|_| ()).unwrap_err();
        assert_eq!(why(""), "no CERTIFICATE section");
        let begin = "-----BEGIN CERTIFICATE-----\n";
        assert!(why(begin).starts_with("it is not PEM: "), "{}", why(begin));
        let end = "-----END CERTIFICATE-----\n";
        assert_eq!(why(&format!("{begin}aGVsbG8=\n{end}")), "a CERTIFICATE section cannot be read");
        let one = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap().cert.pem();
        assert_eq!(of_pem(format!("{one}{one}").as_bytes()).unwrap().1.len(), 2);
    }
}
