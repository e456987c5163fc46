//! TLS, as Open vSwitch does it.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{self, WebPkiSupportedAlgorithms},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem, pem::PemObject as _},
    server::ParsedCertificate,
};
use tokio_rustls::TlsConnector;

use super::error::Ended;

/// The files for `ssl:`, each in PEM; read at every connection, so that renewed ones count from the next one on.
///
/// The server's certificate must lead to the CA. Its name is not looked at: certificates of Open vSwitch's and OVN's PKI
/// (ovs-pki(8)) name the switch or the controller, not the host, and Open vSwitch's own clients look at the CA alone.
/// So the CA must be one for this purpose only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The CA's certificates (`--ca-cert` of Open vSwitch's tools).
    pub ca: PathBuf,
    /// Our own certificate, with those between it and the CA that the server believes (`--certificate`).
    pub certificate: PathBuf,
    /// The certificate's private key (`--private-key`).
    pub private_key: PathBuf,
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// An endpoint begins with `ssl:`, and no files were given for it.
    #[error("no CA, certificate and private key are given")]
    NoFiles,
    /// A file cannot be read or has not what it should have.
    #[error("{path}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: pem::Error,
    },
    /// The files can be read, but not be used.
    #[error("the CA, the certificate and the private key cannot be used together")]
    Unusable(#[source] rustls::Error),
}

pub(super) fn connector(tls: Option<&Tls>) -> Result<TlsConnector, Ended> {
    let config = tls.ok_or(TlsError::NoFiles).and_then(config).map_err(|error| Ended::Tls(Arc::new(error)))?;
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The host's name as TLS wants it; the server learns it, and nobody compares it with anything.
pub(super) fn server_name(host: &str) -> io::Result<ServerName<'static>> {
    ServerName::try_from(host.to_owned()).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

fn config(tls: &Tls) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&tls.ca)? {
        roots.add(certificate).map_err(TlsError::Unusable)?;
    }
    let key = PrivateKeyDer::from_pem_file(&tls.private_key)
        .map_err(|source| TlsError::Pem { path: tls.private_key.clone(), source })?;
    let provider = Arc::new(crypto::ring::default_provider());
    let verifier = ChainOnly { roots, algorithms: provider.signature_verification_algorithms };
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Unusable)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(certificates(&tls.certificate)?, key)
        .map_err(TlsError::Unusable)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::Pem { path: path.to_owned(), source };
    let found: Vec<_> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(failed)?;
    if found.is_empty() { Err(failed(pem::Error::NoItemsFound)) } else { Ok(found) }
}

/// Believes a certificate that leads to the CA, whatever its name.
#[derive(Debug)]
struct ChainOnly {
    roots: RootCertStore,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for ChainOnly {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(certificate)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots, intermediates, now, algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
