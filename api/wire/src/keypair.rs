//! Keypairs as they travel.

use std::collections::BTreeMap;

use edgestack_model::keypair;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::meta::Meta;

/// A keypair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Keypair {
    /// Identity and bookkeeping.
    #[serde(flatten)]
    pub meta: Meta,
    /// The key's algorithm: `ed25519`, `rsa`, `ecdsa`.
    #[serde(rename = "type")]
    pub key_type: String,
    /// One OpenSSH line.
    pub public_key: String,
    /// As `ssh-keygen -l` prints it.
    #[schema(example = "SHA256:4aMOb1+Vw4hZp7rtwS1RVb1p3R0J0J0L2lsl0q8mXnI")]
    pub fingerprint: String,
    /// The private half in OpenSSH format: only in the answer that generated it, and never kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key: Option<String>,
}

/// A keypair to be registered (with `public_key`) or generated (without).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "laptop", "type": "ed25519"}))]
pub struct CreateKeypair {
    /// Its name.
    #[schema(pattern = "^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$")]
    pub name: String,
    /// Free text of at most 1,024 characters.
    #[serde(default)]
    #[schema(max_length = 1024)]
    pub description: String,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What to generate, or what the given key must be; ed25519 if absent and nothing is given.
    #[serde(rename = "type", default)]
    pub key_type: Option<KeyType>,
    /// An OpenSSH public key line.
    #[serde(default)]
    #[schema(max_length = 16384)]
    pub public_key: Option<String>,
}

/// An algorithm of SSH keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyType {
    /// Ed25519.
    Ed25519,
    /// RSA; 3072 bits when generated.
    Rsa,
}

impl From<&keypair::Keypair> for Keypair {
    fn from(keypair: &keypair::Keypair) -> Self {
        Self {
            meta: Meta::of(keypair.id.uuid(), &keypair.meta),
            key_type: keypair.key.key_type.clone(),
            public_key: keypair.key.openssh.clone(),
            fingerprint: keypair.key.fingerprint.clone(),
            private_key: None,
        }
    }
}
