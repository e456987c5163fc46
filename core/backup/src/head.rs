//! The head of a log, signed: proof, when kept elsewhere, of what the log held.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use crate::{PublicKey, SigningKey};

/// The last commit of a log at some time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedHead {
    /// Of which site.
    pub site: String,
    /// The last commit.
    pub sequence: u64,
    /// Its SHA-256, 64 hex digits.
    pub hash: String,
    /// When it was signed, to the millisecond.
    pub signed_at: String,
    /// By which key.
    pub public_key: PublicKey,
    /// Ed25519 over the lines `edgestack head 1`, site, sequence, hash and `signed_at`, 128 hex digits.
    pub signature: String,
}

impl SignedHead {
    /// Signs one.
    pub fn sign(key: &SigningKey, site: String, sequence: u64, hash: String, now: DateTime<Utc>) -> Self {
        let signed_at = now.to_rfc3339_opts(SecondsFormat::Millis, true);
        let signature = key.sign(message(&site, sequence, &hash, &signed_at).as_bytes());
        Self { site, sequence, hash, signed_at, public_key: key.public(), signature }
    }

    /// Whether its signature is of its key.
    pub fn verifies(&self) -> bool {
        let message = message(&self.site, self.sequence, &self.hash, &self.signed_at);
        self.public_key.verifies(message.as_bytes(), &self.signature)
    }
}

fn message(site: &str, sequence: u64, hash: &str, signed_at: &str) -> String {
    format!("edgestack head 1\n{site}\n{sequence}\n{hash}\n{signed_at}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_head_does_not_verify() {
        let key = SigningKey::from_seed(&[3; 32]);
        let now = DateTime::from_timestamp(1_790_000_000, 0).unwrap_or_default();
        let head = SignedHead::sign(&key, "local".into(), 17, "ab".repeat(32), now);
        assert!(head.verifies());
        let other = SigningKey::from_seed(&[4; 32]).public();
        for changed in [
            SignedHead { site: "other".into(), ..head.clone() },
            SignedHead { sequence: 16, ..head.clone() },
            SignedHead { hash: "ac".repeat(32), ..head.clone() },
            SignedHead { signed_at: "2026-01-01T00:00:00.000Z".into(), ..head.clone() },
            SignedHead { public_key: other, ..head.clone() },
            SignedHead { signature: "00".repeat(64), ..head.clone() },
            SignedHead { signature: "x".into(), ..head.clone() },
        ] {
            assert!(!changed.verifies(), "{changed:?}");
        }
    }
}
