//! Targets over TLS.

use std::sync::Arc;

use edgestack_model::webhook::WebhookState;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ServerConfig, pki_types::CertificateDer};
use tokio_rustls::TlsAcceptor;

use crate::{
    receiver::Receiver,
    site::{SECRET, Site},
};

/// A CA's certificate, and a receiver with one of its for a name.
async fn a_receiver_named(name: &str) -> (CertificateDer<'static>, Receiver) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(vec![]).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = ca.self_signed(&ca_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &Issuer::from_params(&ca, &ca_key)).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key.serialize_der().try_into().unwrap())
        .unwrap();
    let tls = TlsAcceptor::from(Arc::new(config));
    (root.der().clone(), Receiver::at("127.0.0.1:0".parse().unwrap(), Some(tls)).await)
}

#[tokio::test]
async fn a_certificate_of_the_operators_ca_is_trusted_for_its_name() {
    let (root, receiver) = a_receiver_named("receiver.test").await;
    let mut site = Site::new();
    site.roots = vec![root];
    site.names.lead("receiver.test", &["127.0.0.1"]);
    site.start_worker();
    site.add_webhook_with("hook", &format!("https://receiver.test:{}/", receiver.address.port()), |_| {}).await;
    site.add("a").await;
    assert!(receiver.await_count(1).await[0].is_signed_with(SECRET));
}

#[tokio::test]
async fn a_certificate_for_another_name_or_of_another_ca_is_refused() {
    let (root, receiver) = a_receiver_named("other.test").await;
    let port = receiver.address.port();
    for roots in [vec![root], vec![]] {
        let mut site = Site::new();
        site.roots = roots;
        site.names.lead("receiver.test", &["127.0.0.1"]);
        site.start_worker();
        site.add_webhook_with("hook", &format!("https://receiver.test:{port}/"), |_| {}).await;
        site.add("a").await;
        let WebhookState::Failing { failure } = site.await_state("hook", "failing").await else { panic!("it fails") };
        assert!(failure.reason.contains("certificate"), "{}", failure.reason);
    }
    assert!(receiver.received().is_empty());
}
