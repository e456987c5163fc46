//! What the API's certificate means for those who are to trust it: by which name they can reach the API, and
//! whether the CA that `client.json` names has signed it.

use std::{net::SocketAddr, path::Path, sync::Arc};

use rustls::{
    CertificateError, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
    pki_types::{CertificateDer, ServerName, UnixTime, pem, pem::PemObject as _},
};
use webpki::EndEntityCert;

use crate::failure::Failure;

/// The certificates of a PEM file, at least one.
///
/// # Errors
/// [`Failure::Certificate`].
pub fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let failed = |source| Failure::Certificate { path: path.to_owned(), source };
    let certificates =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(failed)?;
    if certificates.is_empty() { Err(failed(pem::Error::NoItemsFound)) } else { Ok(certificates) }
}

/// The host by which clients on this machine reach the API: one that the certificate is for, if there is one.
/// The address itself comes first, since a name may mean another machine; then `localhost`, then the first name.
pub fn host(chain: &[CertificateDer<'_>], address: SocketAddr) -> String {
    let ip = address.ip();
    let by_address = match address {
        SocketAddr::V4(_) => ip.to_string(),
        SocketAddr::V6(_) => format!("[{ip}]"),
    };
    let Some(certificate) = chain.first().and_then(|leaf| EndEntityCert::try_from(leaf).ok()) else {
        return by_address;
    };
    if certificate.verify_is_valid_for_subject_name(&ServerName::from(ip)).is_ok() {
        return by_address;
    }
    let names: Vec<&str> = certificate.valid_dns_names().filter(|name| !name.contains('*')).collect();
    let local = names.iter().find(|name| ip.is_loopback() && **name == "localhost");
    local.or(names.first()).map_or(by_address, |name| (*name).to_owned())
}

/// What a client that trusts this CA alone would say to the certificate.
///
/// # Errors
/// Why it would refuse it.
pub fn check(chain: &[CertificateDer<'_>], ca: &[CertificateDer<'_>], host: &str) -> Result<(), rustls::Error> {
    let unknown = || rustls::Error::from(CertificateError::UnknownIssuer);
    let mut roots = RootCertStore::empty();
    for certificate in ca {
        roots.add(certificate.clone().into_owned())?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().map_err(|_| unknown())?;
    let (leaf, rest) = chain.split_first().ok_or_else(unknown)?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(bare).map_err(|_| rustls::Error::from(CertificateError::NotValidForName))?;
    verifier.verify_server_cert(leaf, rest, &name, &[], UnixTime::now()).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    fn ca(name: &str) -> (CertificateDer<'static>, Issuer<'static, KeyPair>) {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        (certificate, Issuer::new(params, key))
    }

    fn signed(issuer: &Issuer<'_, KeyPair>, names: &[&str]) -> CertificateDer<'static> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        CertificateParams::new(names).unwrap().signed_by(&key, issuer).unwrap().der().clone()
    }

    #[test]
    fn clients_are_given_a_host_that_the_certificate_is_for() {
        let (_, issuer) = ca("ca");
        for (names, address, expected) in [
            (vec!["127.0.0.1", "edge.example"], "127.0.0.1:1", "127.0.0.1"),
            (vec!["edge.example", "localhost"], "127.0.0.1:1", "localhost"),
            (vec!["*.example", "edge.example", "localhost"], "192.0.2.1:1", "edge.example"),
            (vec!["::1"], "[::1]:1", "[::1]"),
            (vec!["*.example"], "[::1]:1", "[::1]"),
            (vec![], "127.0.0.1:1", "127.0.0.1"),
        ] {
            let chain = [signed(&issuer, &names)];
            assert_eq!(host(&chain, address.parse().unwrap()), expected, "{names:?}");
        }
    }

    #[test]
    fn a_certificate_is_checked_as_its_clients_will() {
        let ((root, issuer), (other, _)) = (ca("ca"), ca("other"));
        let chain = [signed(&issuer, &["127.0.0.1"])];
        assert_eq!(check(&chain, std::slice::from_ref(&root), "127.0.0.1"), Ok(()));
        let refused = check(&chain, &[other], "127.0.0.1");
        assert_eq!(refused, Err(CertificateError::UnknownIssuer.into()));
        let refused = check(&chain, std::slice::from_ref(&root), "localhost").unwrap_err();
        assert!(matches!(refused, rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. })));
        // A CA's own certificate is not a server's.
        assert!(check(std::slice::from_ref(&root), std::slice::from_ref(&root), "127.0.0.1").is_err());
    }
}
