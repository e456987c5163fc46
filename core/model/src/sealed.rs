//! Text that the log holds only sealed.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A secret of the user's (cloud-init user data) encrypted outside the model
/// with a key that is not in the log. The model passes it on, unread.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SealedText {
    /// Which key opens it.
    pub key_id: String,
    /// Base64 of nonce and XChaCha20-Poly1305 ciphertext.
    pub ciphertext: String,
    /// Length of the clear text in bytes, so that views can tell without opening it.
    pub length_bytes: u64,
}

impl fmt::Debug for SealedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedText({} bytes, key {})", self.length_bytes, self.key_id)
    }
}
