//! The certificate of the API: made once, for loopback only, by an authority whose key is forgotten at once, so that
//! nobody can make a second one. What is kept: `ca.crt`, `tls.crt`, and `tls.key` for the owner's eyes only.

use super::DevError;
use super::users::write_private;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa};
use rcgen::{KeyPair, KeyUsagePurpose};
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto::ring};

/// The authority that kubeconfigs trust.
pub const CA: &str = "ca.crt";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

/// The server's side of TLS, with the certificate of this directory.
///
/// # Errors
/// [`DevError::Tls`], [`DevError::Data`].
pub fn acceptor(data: &Path) -> Result<TlsAcceptor, DevError> {
    if ![CA, CERTIFICATE, KEY].iter().all(|name| data.join(name).exists()) {
        make(data)?;
    }
    let tls = |e: &dyn std::fmt::Display| DevError::Tls(e.to_string());
    let certificate = CertificateDer::from_pem_file(data.join(CERTIFICATE)).map_err(|e| tls(&e))?;
    let key = PrivateKeyDer::from_pem_file(data.join(KEY)).map_err(|e| tls(&e))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| tls(&e))?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .map_err(|e| tls(&e))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn make(data: &Path) -> Result<(), DevError> {
    let tls = |e: rcgen::Error| DevError::Tls(e.to_string());
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    authority.distinguished_name.push(DnType::CommonName, "ratchet dev");
    let authority =
        CertifiedIssuer::self_signed(authority, KeyPair::generate().map_err(tls)?).map_err(tls)?;

    let names = ["localhost", "127.0.0.1", "::1"].map(String::from);
    let mut server = CertificateParams::new(names).map_err(tls)?;
    server.distinguished_name.push(DnType::CommonName, "ratchet dev API");
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().map_err(tls)?;
    let certificate = server.signed_by(&key, &authority).map_err(tls)?;

    write_private(&data.join(KEY), key.serialize_pem().as_bytes())?;
    write_private(&data.join(CERTIFICATE), certificate.pem().as_bytes())?;
    write_private(&data.join(CA), authority.pem().as_bytes())
}
