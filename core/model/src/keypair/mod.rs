//! A keypair: an SSH public key that guests let in. Private keys are never here (law 11).

mod command;
mod decide;
mod event;
mod evolve;
#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use command::KeypairCommand;
pub(crate) use decide::decide;
pub use event::KeypairEvent;
pub(crate) use evolve::evolve;

use crate::{Id, Meta};

/// A keypair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keypair {
    /// Its id.
    pub id: Id<Keypair>,
    /// Name, labels, generation …
    pub meta: Meta,
    /// The public half.
    pub key: PublicKey,
}

/// A public key as the API has checked and normalized it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PublicKey {
    /// `ed25519`, `rsa`, `ecdsa`.
    pub key_type: String,
    /// One OpenSSH line: type, base64, comment. At most 16 KiB.
    pub openssh: String,
    /// `SHA256:…`, as `ssh-keygen -l` prints it.
    pub fingerprint: String,
}
