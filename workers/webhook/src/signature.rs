//! What proves to a receiver that a delivery is ours. Source: Standard Webhooks 1.0.0, "Signature scheme".

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use chrono::{DateTime, Utc};
use edgestack_model::{sealed::SealedText, webhook::Webhook};
use edgestack_seal::{
    SealError, SealingKey,
    webhook_secret::{BadSecret, key},
};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// Why a webhook's secret can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    /// It was sealed with another key, or is damaged.
    #[error("the secret cannot be opened")]
    Sealed(#[from] SealError),
    /// It is none.
    #[error("the secret is not of the form whsec_…")]
    Form(#[from] BadSecret),
}

/// Signs the deliveries of one webhook.
pub(crate) struct Signer {
    key: Vec<u8>,
    /// The key before the last rotation, and until when it counts.
    previous: Option<(Vec<u8>, DateTime<Utc>)>,
}

impl Signer {
    /// Opens a webhook's secrets.
    pub fn open(seal: &SealingKey, webhook: &Webhook) -> Result<Self, SecretError> {
        let open = |sealed: &SealedText| Ok::<_, SecretError>(key(&seal.open(sealed)?)?);
        let previous = webhook.previous_secret.as_ref();
        let previous = previous.map(|previous| Ok::<_, SecretError>((open(&previous.secret)?, previous.until)));
        Ok(Self { key: open(&webhook.secret)?, previous: previous.transpose()? })
    }

    /// The header `webhook-signature` of a delivery; two signatures in the time after a rotation.
    pub fn sign(&self, id: &str, now: DateTime<Utc>, body: &[u8]) -> String {
        let signature = |key: &[u8]| format!("v1,{}", BASE64.encode(authenticate(key, id, now.timestamp(), body)));
        let mut header = signature(&self.key);
        if let Some((key, _)) = self.previous.as_ref().filter(|(_, until)| now < *until) {
            header = format!("{header} {}", signature(key));
        }
        header
    }
}

fn authenticate(key: &[u8], id: &str, timestamp: i64, body: &[u8]) -> Vec<u8> {
    // HMAC takes keys of every length, so there is no failure to report.
    let Ok(mut mac) = <Hmac<Sha256> as hmac::Mac>::new_from_slice(key) else {
        return Vec::new();
    };
    mac.update(id.as_bytes());
    mac.update(format!(".{timestamp}.").as_bytes());
    mac.update(body);
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_example_in_the_standard_libraries() {
        // The vector that the reference libraries of Standard Webhooks test themselves with.
        let key = key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signer = Signer { key, previous: None };
        let now = DateTime::from_timestamp(1_614_265_330, 0).unwrap();
        let header = signer.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", now, br#"{"test": 2432232314}"#);
        assert_eq!(header, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn the_old_secret_signs_as_well_until_its_time_is_over() {
        let until = DateTime::from_timestamp(1_000, 0).unwrap();
        let signer = Signer { key: b"new".to_vec(), previous: Some((b"old".to_vec(), until)) };
        let at = |second| signer.sign("id", DateTime::from_timestamp(second, 0).unwrap(), b"body");
        assert_eq!(at(999).split(' ').count(), 2);
        assert_eq!(at(1_000).split(' ').count(), 1);
        assert!(!at(999).contains(&at(1_000)), "the time is signed too");
    }
}
