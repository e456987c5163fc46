//! Who calls: bearer tokens (RFC 6750).

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, header};
use sha2::{Digest, Sha256};

use crate::{codes, problem::Failure};

/// The tokens that are let in. Only their SHA-256 is kept.
#[derive(Clone)]
pub struct Tokens(Arc<[Token]>);

struct Token {
    sha256: [u8; 32],
    actor: String,
}

/// Who was let in, without where from.
pub(crate) struct Caller {
    pub name: String,
    /// `token:` and the first 8 hex digits of the token's SHA-256.
    pub credential: String,
}

impl Tokens {
    /// Tokens in clear, each with the name of the actor that it stands for.
    pub fn new<'a>(tokens: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self(
            tokens
                .into_iter()
                .map(|(token, actor)| Token {
                    sha256: Sha256::digest(token.as_bytes()).into(),
                    actor: actor.to_owned(),
                })
                .collect(),
        )
    }

    /// Who the request's `Authorization` header stands for.
    pub(crate) fn caller(&self, headers: &HeaderMap) -> Result<Caller, Failure> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(unauthorized("send it once, as Authorization: Bearer TOKEN"));
        };
        let Some(token) = bearer(value.as_bytes()) else {
            return Err(unauthorized("the scheme is Bearer"));
        };
        let presented: [u8; 32] = Sha256::digest(token).into();
        // Every token is compared, in constant time: neither which nor how much of it agrees shows.
        let mut found = None;
        for known in self.0.iter() {
            if differ(&known.sha256, &presented) == 0 {
                found = Some(known);
            }
        }
        let token = found.ok_or_else(|| unauthorized("this site does not know the token"))?;
        Ok(Caller { name: token.actor.clone(), credential: format!("token:{}", hex::encode(&token.sha256[..4])) })
    }
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// 0 when equal; `black_box` keeps the compiler from leaving the loop early.
fn differ(a: &[u8; 32], b: &[u8; 32]) -> u8 {
    let difference = a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b));
    std::hint::black_box(difference)
}

fn unauthorized(why: &str) -> Failure {
    Failure::new(
        &codes::UNAUTHORIZED,
        format!("a valid token is needed ({why}); `edgectl config view` shows the one of this site"),
    )
    .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"edgestack\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_token_stands_for_its_actor_and_nothing_else_is_let_in() {
        let tokens = Tokens::new([("secret-a", "admin"), ("secret-b", "robot")]);
        let caller = tokens.caller(&headers(&["bearer  secret-b"])).unwrap();
        assert_eq!(caller.name, "robot");
        let digits = hex::encode(Sha256::digest("secret-b"));
        assert_eq!(caller.credential, format!("token:{}", &digits[..8]));
        for wrong in [
            &["Bearer secret-c"][..],
            &["Bearer "],
            &["Bearer"],
            &["Basic c2VjcmV0LWE="],
            &["secret-a"],
            &["Bearer secret-a", "Bearer secret-a"],
            &[],
        ] {
            assert!(tokens.caller(&headers(wrong)).is_err(), "{wrong:?} was let in");
        }
    }
}
