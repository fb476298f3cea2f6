//! The choice of a certificate by the name that a client asks for (SNI, RFC 6066 section 3).

use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// The certificates of a listener, the default first.
#[derive(Debug)]
pub(super) struct ByName {
    pub(super) keys: Vec<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for ByName {
    /// Returns the first certificate that has the name and that the client can verify: two of one name
    /// may have keys of two kinds. Without one, the default is returned, and the client judges.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let can_verify =
            |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        // With only one there is nothing to choose.
        let named = name.filter(|_| self.keys.len() > 1).and_then(|name| {
            let mut named = self.keys.iter().filter(|key| has_name(key, &name));
            named.find(can_verify)
        });
        named.or_else(|| self.keys.iter().find(can_verify)).or(self.keys.first()).cloned()
    }
}

fn has_name(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let own = key.end_entity_cert().and_then(ParsedCertificate::try_from);
    own.is_ok_and(|own| verify_server_name(&own, name).is_ok())
}
