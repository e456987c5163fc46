//! Secrets that must not stand in the log in clear (law 11): user data and the
//! secrets of webhooks are sealed here before it becomes part of a command, and opened by the worker
//! that hands it to the guest, or signs with it. The key lies outside the log.
//!
//! XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha) with a random 192-bit nonce a
//! text; HMAC-SHA-256 (RFC 2104) for fingerprints of requests. Both keys are
//! derived from the one in the file by HMAC with a label.

pub mod webhook_secret;

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce, aead::Aead as _};
use edgestack_model::sealed::SealedText;
use hmac::{Hmac, Mac as _};
use rand::TryRngCore as _;
use sha2::Sha256;

const NONCE_LENGTH: usize = 24;
const KEY_LENGTH: usize = 32;

/// Why a text could not be sealed or opened, or a key not be read.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The file of a key or token could not be read or made.
    #[error("the secret {path} cannot be read or made")]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The key file does not hold 64 hex digits.
    #[error("the key {path} is damaged (64 hex digits expected); restore it from your backup of the secrets folder")]
    KeyDamaged {
        /// The file.
        path: PathBuf,
    },
    /// The text was sealed with another key.
    #[error(
        "sealed with key {sealed_with}, this site has key {ours}; restore the key from your backup of the secrets folder"
    )]
    OtherKey {
        /// The text's key.
        sealed_with: String,
        /// Our key.
        ours: String,
    },
    /// The sealed text was changed, or is not one.
    #[error("the sealed text is damaged")]
    TextDamaged,
    /// The operating system gave no randomness.
    #[error("the operating system gives no randomness")]
    NoRandomness,
}

/// The site's sealing key.
#[derive(Clone)]
pub struct SealingKey {
    id: String,
    cipher: XChaCha20Poly1305,
    fingerprint_key: [u8; KEY_LENGTH],
}

impl SealingKey {
    /// Reads the key file, or makes it (0600, synced) when there is none.
    ///
    /// # Errors
    /// [`SealError::KeyFile`], [`SealError::KeyDamaged`].
    pub fn load_or_create(path: &Path) -> Result<Self, SealError> {
        Ok(Self::from_bytes(&key_file(path)?))
    }

    fn from_bytes(key: &[u8; KEY_LENGTH]) -> Self {
        let derive = |label: &[u8]| authenticate(key, label);
        Self {
            id: hex::encode(&derive(b"edgestack key id")[..4]),
            cipher: XChaCha20Poly1305::new(&derive(b"edgestack seal").into()),
            fingerprint_key: derive(b"edgestack fingerprint"),
        }
    }

    /// Seals a text.
    ///
    /// # Errors
    /// [`SealError::NoRandomness`].
    pub fn seal(&self, text: &str) -> Result<SealedText, SealError> {
        let nonce = random::<NONCE_LENGTH>()?;
        let sealed =
            self.cipher.encrypt(XNonce::from_slice(&nonce), text.as_bytes()).map_err(|_| SealError::TextDamaged)?;
        let mut bytes = nonce.to_vec();
        bytes.extend_from_slice(&sealed);
        Ok(SealedText { key_id: self.id.clone(), ciphertext: BASE64.encode(bytes), length_bytes: text.len() as u64 })
    }

    /// Opens a sealed text.
    ///
    /// # Errors
    /// [`SealError::OtherKey`], [`SealError::TextDamaged`].
    pub fn open(&self, sealed: &SealedText) -> Result<String, SealError> {
        if sealed.key_id != self.id {
            return Err(SealError::OtherKey { sealed_with: sealed.key_id.clone(), ours: self.id.clone() });
        }
        let bytes = BASE64.decode(&sealed.ciphertext).map_err(|_| SealError::TextDamaged)?;
        let (nonce, ciphertext) = bytes.split_at_checked(NONCE_LENGTH).ok_or(SealError::TextDamaged)?;
        let text = self.cipher.decrypt(XNonce::from_slice(nonce), ciphertext).map_err(|_| SealError::TextDamaged)?;
        String::from_utf8(text).map_err(|_| SealError::TextDamaged)
    }

    /// A keyed hash of a request, so that the log can tell two requests apart
    /// without telling anything of what they hold. 64 hex digits.
    pub fn fingerprint(&self, parts: &[&[u8]]) -> String {
        let mut bytes = Vec::new();
        for part in parts {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        hex::encode(authenticate(&self.fingerprint_key, &bytes))
    }
}

/// Reads a file with a key of 32 bytes as hex digits, or makes it (0600, synced) when there is none.
///
/// # Errors
/// [`SealError::KeyFile`], [`SealError::KeyDamaged`].
pub fn key_file(path: &Path) -> Result<[u8; KEY_LENGTH], SealError> {
    let failed = |source| SealError::KeyFile { path: path.to_owned(), source };
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = random::<KEY_LENGTH>()?;
            write_secret(path, hex::encode(key).as_bytes()).map_err(failed)?;
            // Another process of this site may have been first: its key counts.
            fs::read_to_string(path).map_err(failed)?
        }
        other => other.map_err(failed)?,
    };
    let mut key = [0_u8; KEY_LENGTH];
    hex::decode_to_slice(text.trim(), &mut key).map_err(|_| SealError::KeyDamaged { path: path.to_owned() })?;
    Ok(key)
}

/// A random token of 256 bits, as hex digits.
///
/// # Errors
/// [`SealError::NoRandomness`].
pub fn random_token() -> Result<String, SealError> {
    Ok(hex::encode(random::<KEY_LENGTH>()?))
}

/// Writes a secret so that only its owner can read it, whole or not at all, and
/// never over one that is there already.
///
/// # Errors
/// An I/O error.
pub fn write_secret(path: &Path, secret: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    let draft = path.with_extension(format!("draft.{}", std::process::id()));
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(secret)?;
    file.sync_all()?;
    // A hard link fails when the name is taken, a rename would replace it.
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }?;
    fs::File::open(folder)?.sync_all()
}

fn random<const N: usize>() -> Result<[u8; N], SealError> {
    let mut bytes = [0_u8; N];
    rand::rngs::OsRng.try_fill_bytes(&mut bytes).map_err(|_| SealError::NoRandomness)?;
    Ok(bytes)
}

fn authenticate(key: &[u8; KEY_LENGTH], message: &[u8]) -> [u8; 32] {
    // HMAC takes keys of every length, so there is no failure to report.
    let Ok(mut mac) = <Hmac<Sha256> as hmac::Mac>::new_from_slice(key) else {
        return [0; 32];
    };
    mac.update(message);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_with_the_same_key_only() {
        let folder = tempfile::tempdir().unwrap();
        let ours = SealingKey::load_or_create(&folder.path().join("a/key")).unwrap();
        let again = SealingKey::load_or_create(&folder.path().join("a/key")).unwrap();
        let other = SealingKey::load_or_create(&folder.path().join("b/key")).unwrap();
        let sealed = ours.seal("#cloud-config\npassword: x\n").unwrap();
        assert_eq!(again.open(&sealed).unwrap(), "#cloud-config\npassword: x\n");
        assert!(matches!(other.open(&sealed), Err(SealError::OtherKey { .. })));
        assert!(!serde_json_text(&sealed).contains("password"));
    }

    #[test]
    fn a_changed_text_does_not_open() {
        let folder = tempfile::tempdir().unwrap();
        let key = SealingKey::load_or_create(&folder.path().join("key")).unwrap();
        let mut sealed = key.seal("secret").unwrap();
        let mut bytes = BASE64.decode(&sealed.ciphertext).unwrap();
        bytes[30] ^= 1;
        sealed.ciphertext = BASE64.encode(bytes);
        assert!(matches!(key.open(&sealed), Err(SealError::TextDamaged)));
    }

    #[test]
    fn the_key_file_is_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets/key");
        SealingKey::load_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    fn serde_json_text(sealed: &SealedText) -> String {
        format!("{sealed:?}{}", sealed.ciphertext)
    }
}
