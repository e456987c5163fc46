//! Labels: short key-value marks by which people select resources.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A resource's labels, in Kubernetes' syntax so that they carry over to it:
/// key `[prefix/]name`, prefix a DNS name of at most 253 characters, name and
/// value at most 63 of `A-Z a-z 0-9 - . _` with letter or digit at both ends
/// (a value may be empty); at most 64 of them.
/// Source: Kubernetes, "Labels and Selectors", syntax and character set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
#[schemars(extend(
    "maxProperties" = Self::COUNT_MAX,
    "propertyNames" = {"pattern": KEY_PATTERN},
    "additionalProperties" = {"type": "string", "pattern": VALUE_PATTERN},
))]
pub struct Labels(BTreeMap<String, String>);

/// The syntax of a key; a prefix's length is left out.
const KEY_PATTERN: &str = r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$";
/// The syntax of a value.
const VALUE_PATTERN: &str = r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$";

/// Why a set of labels was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelsError {
    /// More than 64.
    #[error("at most 64 labels, got {0}")]
    TooMany(usize),
    /// A key outside the syntax.
    #[error("label key {0:?} is not [prefix/]name with at most 63 letters, digits, '-', '.', '_' in the name")]
    Key(String),
    /// A value outside the syntax.
    #[error(
        "value of label {0:?} must have at most 63 letters, digits, '-', '.', '_', with a letter or digit at both ends"
    )]
    Value(String),
}

impl Labels {
    /// The most labels one resource may have.
    pub const COUNT_MAX: usize = 64;

    /// True when every label of `selector` is here with the same value.
    pub fn matches(&self, selector: &Labels) -> bool {
        selector.0.iter().all(|(key, value)| self.0.get(key) == Some(value))
    }

    /// The labels in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The value of one label.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<BTreeMap<String, String>> for Labels {
    type Error = LabelsError;
    fn try_from(map: BTreeMap<String, String>) -> Result<Self, LabelsError> {
        if map.len() > Self::COUNT_MAX {
            return Err(LabelsError::TooMany(map.len()));
        }
        for (key, value) in &map {
            if !is_key(key) {
                return Err(LabelsError::Key(key.clone()));
            }
            if !value.is_empty() && !is_mark(value) {
                return Err(LabelsError::Value(key.clone()));
            }
        }
        Ok(Self(map))
    }
}

impl From<Labels> for BTreeMap<String, String> {
    fn from(labels: Labels) -> Self {
        labels.0
    }
}

fn is_key(key: &str) -> bool {
    match key.split_once('/') {
        None => is_mark(key),
        Some((prefix, name)) => {
            let dns = |part: &str| {
                is_mark(part) && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            };
            prefix.len() <= 253 && prefix.split('.').all(dns) && is_mark(name)
        }
    }
}

fn is_mark(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_alphanumeric();
    (1..=63).contains(&text.len())
        && text.chars().all(|c| edge(c) || matches!(c, '-' | '.' | '_'))
        && text.starts_with(edge)
        && text.ends_with(edge)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Result<Labels, LabelsError> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>().try_into()
    }

    #[test]
    fn kubernetes_syntax_is_kept() {
        assert!(labels(&[("app", "db"), ("edgestack.io/site", "B-12"), ("empty", "")]).is_ok());
        for (key, value) in [("", "x"), ("-a", "x"), ("a b", "x"), ("Up.Case/a", "x"), ("a", "-x"), ("a", "ü")] {
            assert!(labels(&[(key, value)]).is_err(), "{key:?}={value:?} was taken");
        }
    }

    #[test]
    fn a_selector_asks_for_all_its_labels() {
        let here = labels(&[("a", "1"), ("b", "2")]).unwrap();
        assert!(here.matches(&labels(&[("a", "1")]).unwrap()));
        assert!(here.matches(&Labels::default()));
        assert!(!here.matches(&labels(&[("a", "1"), ("c", "3")]).unwrap()));
    }
}
