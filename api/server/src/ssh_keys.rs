//! SSH keys: given ones checked and normalized, new ones generated. A private key
//! is made here, handed over and forgotten (law 11).

use edgestack_model::keypair::PublicKey;
use edgestack_wire::{Invalid, keypair::KeyType};
use ssh_key::{
    Algorithm, HashAlg, LineEnding, PrivateKey,
    private::{KeypairData, RsaKeypair},
    public::KeyData,
    rand_core::OsRng,
};

/// RSA keys below this are refused. Source: NIST SP 800-131A rev. 2.
const RSA_BITS_MIN: usize = 2048;
/// RSA keys above this cost guests and clients more than they give; OpenSSH's own bound.
const RSA_BITS_MAX: usize = 16384;
/// RSA keys that we generate, as `ssh-keygen` does.
const RSA_BITS: usize = 3072;
/// The longest line, bytes.
const LINE_LENGTH_MAX: usize = 16 << 10;
/// The longest comment, characters.
const COMMENT_LENGTH_MAX: usize = 255;

/// The lines that the API's schema promises to take, without comment: what their base64 begins with follows
/// from the key's type and size (RFC 4253, 6.6; RFC 5656, 3.1; RFC 8709, 4), the RSA ones with the usual exponent
/// 65537. RSA keys of other sizes are taken as well, but no pattern can tell them.
const PATTERNS: [(&str, &[&str]); 3] = [
    ("ed25519", &["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI[A-P][A-Za-z0-9+/]{42}"]),
    (
        "ecdsa",
        &[
            "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBB[A-P][A-Za-z0-9+/]{84}[048AEIMQUYcgkosw]=",
            "ecdsa-sha2-nistp384 AAAAE2VjZHNhLXNoYTItbmlzdHAzODQAAAAIbmlzdHAzODQAAABhB[A-P][A-Za-z0-9+/]{127}[AQgw]==",
            "ecdsa-sha2-nistp521 AAAAE2VjZHNhLXNoYTItbmlzdHA1MjEAAAAIbmlzdHA1MjEAAACFB[A-P][A-Za-z0-9+/]{175}[AQgw]==",
        ],
    ),
    (
        "rsa",
        &[
            "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQ[CD][A-Za-z0-9+/]{341}",
            "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQ[CD][A-Za-z0-9+/]{511}[048AEIMQUYcgkosw]=",
            "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAACAQ[CD][A-Za-z0-9+/]{682}[AQgw]==",
        ],
    ),
];

/// The patterns of the schema, each with the type of key that it is of.
pub(crate) fn patterns() -> impl Iterator<Item = (&'static str, String)> {
    PATTERNS.iter().map(|(key_type, lines)| (*key_type, format!("^({})( [!-~]{{1,200}})?$", lines.join("|"))))
}

/// A keypair's halves.
pub(crate) struct Keys {
    pub public: PublicKey,
    /// OpenSSH's PEM form; only of a generated one.
    pub private_pem: Option<String>,
}

/// Reads one OpenSSH public key line (sshd(8), AUTHORIZED_KEYS FILE FORMAT, without options).
pub(crate) fn parse(text: &str, expected: Option<KeyType>) -> Result<PublicKey, Invalid> {
    let invalid = |reason: &str| Invalid::new("public_key", reason);
    let line = text.trim();
    if line.len() > LINE_LENGTH_MAX {
        return Err(invalid("must have at most 16384 bytes"));
    }
    if line.contains("PRIVATE KEY") {
        return Err(invalid(
            "this is a private key, which must not leave its owner: treat it as known to others, make a new one and give its .pub file",
        ));
    }
    if line.lines().count() != 1 {
        return Err(invalid("must be one line of OpenSSH's form, as in a .pub file: TYPE BASE64 COMMENT"));
    }
    let key = ssh_key::PublicKey::from_openssh(line).map_err(|error| {
        Invalid::new("public_key", format_args!("must be one line of OpenSSH's form, as in a .pub file: {error}"))
    })?;
    let comment = key.comment();
    if comment.chars().count() > COMMENT_LENGTH_MAX || comment.chars().any(char::is_control) {
        return Err(invalid("its comment must have at most 255 characters and no control characters"));
    }
    let key_type = match key.key_data() {
        KeyData::Ed25519(_) => "ed25519",
        KeyData::Ecdsa(_) => "ecdsa",
        KeyData::Rsa(rsa) => {
            let bits = rsa.n.as_positive_bytes().map_or(0, bit_length);
            if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
                return Err(Invalid::new(
                    "public_key",
                    format_args!("an RSA key must have {RSA_BITS_MIN} to {RSA_BITS_MAX} bits, this one has {bits}"),
                ));
            }
            "rsa"
        }
        other => {
            return Err(Invalid::new(
                "public_key",
                format_args!("keys of the type {} are not taken; give an ed25519, ecdsa or rsa key", other.algorithm()),
            ));
        }
    };
    let expected = expected.map(|expected| match expected {
        KeyType::Ed25519 => "ed25519",
        KeyType::Rsa => "rsa",
    });
    if let Some(expected) = expected.filter(|expected| *expected != key_type) {
        return Err(Invalid::new(
            "type",
            format_args!("public_key is an {key_type} key, not {expected}; leave type out"),
        ));
    }
    public(&key, key_type).map_err(|error| Invalid::new("public_key", error))
}

/// Makes a new keypair. An RSA key takes a core for about a second: call it on a thread that may block.
pub(crate) fn generate(key_type: KeyType, comment: &str) -> Result<Keys, ssh_key::Error> {
    let (data, word): (KeypairData, _) = match key_type {
        KeyType::Ed25519 => {
            let key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519)?;
            (key.key_data().clone(), "ed25519")
        }
        KeyType::Rsa => (RsaKeypair::random(&mut OsRng, RSA_BITS)?.into(), "rsa"),
    };
    let private = PrivateKey::new(data, comment)?;
    Ok(Keys {
        public: public(private.public_key(), word)?,
        private_pem: Some(private.to_openssh(LineEnding::LF)?.to_string()),
    })
}

fn public(key: &ssh_key::PublicKey, key_type: &str) -> Result<PublicKey, ssh_key::Error> {
    Ok(PublicKey {
        key_type: key_type.to_owned(),
        openssh: key.to_openssh()?,
        fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
    })
}

fn bit_length(big_endian: &[u8]) -> usize {
    let digits = big_endian.iter().position(|byte| *byte != 0);
    digits.map_or(0, |first| {
        let zeros = big_endian.get(first).map_or(0, |byte| byte.leading_zeros() as usize);
        (big_endian.len() - first) * 8 - zeros
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made with ssh-keygen (OpenSSH 9.2); their private halves were thrown away.
    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBrS/aHTOO8AybtmnFD72GYUExxqhC2aZN1B1EVlrsYT ed";
    const ECDSA: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBCwY3XC8oSvoYqf/XtPuRWgedDkTq7rLf55IXehuUeZqQUfRCB9S1b2mITzbUTGIAtIqemXvDCSkqnw8DMBnXsk= ec";
    const RSA_2048: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQC4W1DjVA59yCfg21lIVS+SwulTIuX/sod8quQhJ+rKPMO97CeJ3R3NVx2m5378i66Sh87n7Z4wdCkyBt5EZoi2VDaHQAgqYsOq8q8Q9f+JePYcJtBOsi9+zteOsTEuOthAVywi+SEAOdN+RmyxXUiMFrIlqG+rdqyU5lP8b4LICS8NIc9i/gb/aEdWNMpYpej2vy0uzbXlZjq6HPqTMcOVYEQt8hlCdlGheALq+k2+W1JXdVbj98L/3wIKMXGs/JJ/s+LycGki4ABCiLfDfnC1za2/SS2Zp5IfeaG6NLo8W7ji7svGAUlykzp7C1zOegWn3PrBrOFMQ9Bz5AKVXMkl r2";
    const RSA_1024: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC/60nbfWLsyIfW1nXBSdycLhrEaypaexACtR1IQxVAOgPGYJJ/biRXjMJs3PcFiu2Ub0XLEOteJVBY3EJSa6WN6O66QkiHdFbMYas9Zyji0iv41mHDSQ/Kan/wYMVnrigr84AskzqSxQNlsrepfRixA+LxkbMk7gjQgInoUc9cww== r1";

    #[test]
    fn given_keys_are_normalized_with_the_fingerprint_of_ssh_keygen() {
        for (line, key_type, fingerprint) in [
            (ED25519, "ed25519", "SHA256:LvUHEHKjmUjyN5fGoFTER1Ee4KFAdivIxlLLM6Y0d7s"),
            (ECDSA, "ecdsa", "SHA256:yzm+qfKREWvEJ6sZtd6w+5dsXZ6Mbc1VvY3EMmSQV6M"),
            (RSA_2048, "rsa", "SHA256:QLcAZZGHpBzhEnzn9FE5ZQVm5jRhFTMt3f9t9SIrkq8"),
        ] {
            let key = parse(&format!("  {line}\n"), None).unwrap();
            assert_eq!((key.key_type.as_str(), key.fingerprint.as_str()), (key_type, fingerprint));
            assert_eq!(key.openssh, line);
        }
    }

    #[test]
    fn what_is_no_good_public_key_is_refused_with_the_reason() {
        let long = format!("{ED25519}{}", "x".repeat(300));
        for (text, why) in [
            ("", "one line"),
            ("ssh-ed25519", "OpenSSH's form"),
            ("ssh-ed25519 AAAA me", "OpenSSH's form"),
            (RSA_1024, "1024"),
            (&format!("{ED25519}\n{ECDSA}"), "one line"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----\nx", "private key"),
            (&long, "comment"),
            (&"x".repeat(20_000), "16384"),
        ] {
            let error = parse(text, None).unwrap_err();
            assert_eq!(error.field, "public_key");
            assert!(error.reason.contains(why), "{text:?}: {}", error.reason);
        }
        assert_eq!(parse(ED25519, Some(KeyType::Rsa)).unwrap_err().field, "type");
    }

    #[test]
    fn a_generated_key_is_read_by_its_own_reader() {
        let keys = generate(KeyType::Ed25519, "laptop").unwrap();
        let private = PrivateKey::from_openssh(keys.private_pem.unwrap()).unwrap();
        assert_eq!(private.public_key().to_openssh().unwrap(), keys.public.openssh);
        let again = parse(&keys.public.openssh, Some(KeyType::Ed25519)).unwrap();
        assert_eq!(again, keys.public);
        assert!(keys.public.openssh.ends_with(" laptop"));
    }

    #[test]
    fn whatever_the_schemas_patterns_allow_is_taken() {
        for (key_type, pattern) in patterns() {
            let lines = proptest::string::string_regex(pattern.trim_matches(['^', '$'])).unwrap();
            let config = proptest::prelude::ProptestConfig::with_cases(64);
            let mut runner = proptest::test_runner::TestRunner::new(config);
            runner
                .run(&lines, |line| {
                    let key = parse(&line, None).unwrap();
                    assert_eq!((key.key_type.as_str(), key.openssh.as_str()), (key_type, line.as_str()));
                    Ok(())
                })
                .unwrap();
        }
    }

    #[test]
    fn bits_are_counted_from_the_first_set_one() {
        assert_eq!(bit_length(&[]), 0);
        assert_eq!(bit_length(&[0, 1]), 1);
        assert_eq!(bit_length(&[0x80, 0]), 16);
    }
}
