//! Names that people give to resources.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A resource's name, unique within its kind: 1 to 63 of `a-z 0-9 - . _`, first
/// and last a letter or digit, and not the form of a UUID (a path segment is
/// read as a name or an id, so the two must not meet).
///
/// VMs ask for more, no `.` and `_` ([`Name::is_dns_label`]): their name is the guest's host name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$"))]
pub struct Name(String);

/// Why a text is not a name; a sentence that tells the rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty, or longer than 63 characters.
    #[error("must have 1 to 63 characters, has {0}")]
    Length(usize),
    /// A character outside the alphabet, or a bad first or last one.
    #[error("must be lower-case letters, digits, '-', '.' and '_', beginning and ending with a letter or digit")]
    Alphabet,
    /// It would be read as an id.
    #[error("must not have the form of a UUID, since those are read as ids")]
    LooksLikeId,
}

impl Name {
    /// The longest name, in characters.
    pub const LENGTH_MAX: usize = 63;

    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is an RFC 1123 label (no `.` or `_`), as host names must be.
    pub fn is_dns_label(&self) -> bool {
        !self.0.contains(['.', '_'])
    }
}

impl FromStr for Name {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let length = text.chars().count();
        if length == 0 || length > Self::LENGTH_MAX {
            return Err(NameError::Length(length));
        }
        let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let inner = |c: char| edge(c) || matches!(c, '-' | '.' | '_');
        if !text.chars().all(inner) || !text.starts_with(edge) || !text.ends_with(edge) {
            return Err(NameError::Alphabet);
        }
        if uuid::Uuid::parse_str(text).is_ok() {
            return Err(NameError::LooksLikeId);
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_outside_the_rule_are_refused() {
        for bad in ["", "-a", "a-", "A", "a b", "a/b", "..", "ä", &"a".repeat(64)] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?} was taken");
        }
        assert_eq!("0197a5a0-0000-7000-8000-000000000001".parse::<Name>(), Err(NameError::LooksLikeId));
    }

    proptest::proptest! {
        #[test]
        fn parse_and_print_agree(text in "[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?") {
            if let Ok(name) = text.parse::<Name>() {
                assert_eq!(name.to_string(), text);
            }
        }
    }
}
