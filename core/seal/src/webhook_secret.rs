//! Secrets that deliveries of webhooks are signed with. Source: Standard Webhooks 1.0.0, "Signature scheme": `whsec_` and
//! the base64 of 24 to 64 random bytes.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use crate::{SealError, random};

/// What a secret begins with when it is written.
const PREFIX: &str = "whsec_";
const LENGTH_MIN: usize = 24;
const LENGTH_MAX: usize = 64;

/// A text that is no such secret; it isn't told, as it may be nearly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be whsec_ and the base64 of {LENGTH_MIN} to {LENGTH_MAX} random bytes; leave it out to have one made")]
pub struct BadSecret;

/// A new secret of 32 random bytes, as it is written.
///
/// # Errors
/// [`SealError::NoRandomness`].
pub fn generate() -> Result<String, SealError> {
    Ok(format!("{PREFIX}{}", BASE64.encode(random::<32>()?)))
}

/// The bytes of a secret as it is written.
///
/// # Errors
/// [`BadSecret`].
pub fn key(secret: &str) -> Result<Vec<u8>, BadSecret> {
    let bytes = secret.strip_prefix(PREFIX).and_then(|text| BASE64.decode(text).ok()).ok_or(BadSecret)?;
    if (LENGTH_MIN..=LENGTH_MAX).contains(&bytes.len()) { Ok(bytes) } else { Err(BadSecret) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_secret_is_one_and_another_each_time() {
        let secret = generate().unwrap();
        assert_eq!(key(&secret).unwrap().len(), 32);
        assert_ne!(generate().unwrap(), secret);
    }

    #[test]
    fn what_is_short_long_or_otherwise_written_is_refused_and_not_repeated() {
        let written = |length: usize| format!("{PREFIX}{}", BASE64.encode(vec![7_u8; length]));
        assert!(key(&written(24)).is_ok() && key(&written(64)).is_ok());
        for bad in
            [written(23), written(65), String::new(), "whsec_".into(), BASE64.encode([7_u8; 32]), "whsec_%%".into()]
        {
            let error = key(&bad).unwrap_err().to_string();
            assert!(bad.len() < 10 || !error.contains(&bad), "{error}");
        }
    }
}
