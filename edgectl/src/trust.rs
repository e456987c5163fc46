//! Whom edgectl believes to be the site: the public CAs, or the one CA that it was told of.

use std::{error::Error, fs, io};

use reqwest::{Certificate, ClientBuilder};
use rustls::{
    CertificateError, InvalidMessage, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use crate::config::{ConfigError, Setting};

/// Lets a client believe only certificates that lead to one in this file.
///
/// # Errors
/// The file cannot be read, or has no certificate.
pub fn only(builder: ClientBuilder, ca_file: &Setting) -> Result<ClientBuilder, ConfigError> {
    let (path, from) = (ca_file.value.clone(), ca_file.from.clone());
    let pem = match fs::read(&path) {
        Ok(pem) => pem,
        Err(source) => return Err(ConfigError::CaUnreadable { path, from, source }),
    };
    let certificates: Result<Vec<CertificateDer<'_>>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let mut roots = RootCertStore::empty();
    // A bundle of many may hold one that rustls cannot use; the others count.
    let usable: Vec<Certificate> = certificates
        .unwrap_or_default()
        .into_iter()
        .filter(|certificate| roots.add(certificate.clone()).is_ok())
        .filter_map(|certificate| Certificate::from_der(&certificate).ok())
        .collect();
    if usable.is_empty() {
        return Err(ConfigError::CaWithoutCertificate { path, from });
    }
    Ok(usable.into_iter().fold(builder.tls_built_in_root_certs(false), ClientBuilder::add_root_certificate))
}

/// Why the other side cannot be trusted; each with what helps.
#[derive(Debug, thiserror::Error)]
pub enum Untrusted {
    /// Its certificate leads to no public CA.
    #[error(
        "the certificate of {url} is signed by no public CA; if the site has a CA of its own, give that CA's certificate: --ca-file FILE, EDGESTACK_CA_FILE, or \"ca_file\" in the config file"
    )]
    NotPublic {
        /// The site.
        url: String,
    },
    /// Its certificate leads to another CA than we were told of.
    #[error(
        "the certificate of {url} is not signed by the CA in {ca_file} (from {from}); give the file of the CA that signed it: --ca-file FILE, EDGESTACK_CA_FILE, or \"ca_file\" in the config file"
    )]
    OtherCa {
        /// The site.
        url: String,
        /// The CA file.
        ca_file: String,
        /// Where we were told of it.
        from: String,
    },
    /// Its certificate is for other names.
    #[error(
        "the certificate of {url} is not for {host}, but for {names}; name the site as its certificate does: --url or EDGESTACK_URL"
    )]
    OtherName {
        /// The site.
        url: String,
        /// How we called it.
        host: String,
        /// What its certificate says.
        names: String,
    },
    /// Its certificate was good once.
    #[error("the certificate of {url} has expired; the site needs a new one (edgestackd --tls-cert, --tls-key)")]
    Expired {
        /// The site.
        url: String,
    },
    /// Its certificate will be good.
    #[error("the certificate of {url} is not valid yet; is this machine's clock right?")]
    NotYet {
        /// The site.
        url: String,
    },
    /// Its certificate is a CA's, as `openssl req -x509` makes them.
    #[error(
        "the certificate of {url} is a CA's own, which may sign but not serve; the site needs one that the CA has signed, or one made with basicConstraints=CA:FALSE"
    )]
    CaItself {
        /// The site.
        url: String,
    },
    /// What answers knows no TLS.
    #[error(
        "what answers at {url} does not speak TLS; if the site is meant to be without, its URL begins with http://"
    )]
    NoTls {
        /// The site.
        url: String,
    },
    /// Anything else about certificates and TLS.
    #[error("no trusted connection to {url}; its certificate, key and CA should be checked")]
    Otherwise {
        /// The site.
        url: String,
        /// What rustls says.
        #[source]
        source: rustls::Error,
    },
}

impl Untrusted {
    /// What to tell people about an error of rustls.
    pub fn new(url: String, why: rustls::Error, ca_file: Option<&Setting>) -> Self {
        match (why, ca_file) {
            (rustls::Error::InvalidCertificate(why), ca_file) => Self::certificate(url, why, ca_file),
            (rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType), _) => Self::NoTls { url },
            (source, _) => Self::Otherwise { url, source },
        }
    }

    fn certificate(url: String, why: CertificateError, ca_file: Option<&Setting>) -> Self {
        match (why, ca_file) {
            (CertificateError::UnknownIssuer, None) => Self::NotPublic { url },
            (CertificateError::UnknownIssuer | CertificateError::BadSignature, Some(ca)) => {
                Self::OtherCa { url, ca_file: ca.value.clone(), from: ca.from.clone() }
            }
            (CertificateError::NotValidForNameContext { expected, presented }, _) => {
                Self::OtherName { url, host: host(&expected), names: names(&presented) }
            }
            (CertificateError::Expired | CertificateError::ExpiredContext { .. }, _) => Self::Expired { url },
            (CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }, _) => Self::NotYet { url },
            (CertificateError::Other(other), _)
                if other.0.downcast_ref() == Some(&webpki::Error::CaUsedAsEndEntity) =>
            {
                Self::CaItself { url }
            }
            (why, _) => Self::Otherwise { url, source: rustls::Error::InvalidCertificate(why) },
        }
    }
}

fn host(name: &ServerName<'_>) -> String {
    name.to_str().into_owned()
}

/// rustls gives names as `DnsName("edge")` and `IpAddress(192.0.2.1)`.
fn names(presented: &[String]) -> String {
    let bare = |name: &String| {
        let inner = name.split_once('(').map_or(name.as_str(), |(_, inner)| inner.trim_end_matches(')'));
        inner.trim_matches('"').to_owned()
    };
    match presented {
        [] => "no host at all".to_owned(),
        presented => presented.iter().map(bare).collect::<Vec<_>>().join(", "),
    }
}

/// The error of TLS that lies below one of HTTP, if that is what it came from.
pub fn why_not(error: &reqwest::Error) -> Option<rustls::Error> {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found.clone());
        }
        // An I/O error's source is that of the error in it, not that error.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use rustls::OtherError;

    fn told(why: CertificateError, ca_file: Option<&Setting>) -> String {
        Untrusted::new("https://edge:1".to_owned(), why.into(), ca_file).to_string()
    }

    #[test]
    fn each_reason_not_to_trust_a_site_says_what_helps() {
        let ca = Setting { value: "ca.pem".to_owned(), from: "EDGESTACK_CA_FILE".to_owned() };
        let ca_itself = OtherError(Arc::new(webpki::Error::CaUsedAsEndEntity));
        let other_name = CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("edge").unwrap(),
            presented: vec!["DnsName(\"a.example\")".to_owned(), "IpAddress(192.0.2.1)".to_owned()],
        };
        let no_name = CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("192.0.2.2").unwrap(),
            presented: vec![],
        };
        for (why, ca_file, part) in [
            (CertificateError::UnknownIssuer, None, "give that CA's certificate: --ca-file"),
            (CertificateError::UnknownIssuer, Some(&ca), "not signed by the CA in ca.pem (from EDGESTACK_CA_FILE)"),
            (CertificateError::BadSignature, Some(&ca), "not signed by the CA in ca.pem"),
            (other_name, None, "is not for edge, but for a.example, 192.0.2.1;"),
            (no_name, None, "is not for 192.0.2.2, but for no host at all;"),
            (CertificateError::Expired, None, "expired"),
            (CertificateError::NotValidYet, None, "clock"),
            (CertificateError::Other(ca_itself), Some(&ca), "is a CA's own"),
            (CertificateError::BadEncoding, None, "should be checked"),
        ] {
            let told = told(why, ca_file);
            assert!(told.contains(part), "{told}");
        }
    }
}
