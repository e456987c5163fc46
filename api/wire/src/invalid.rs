//! A request field that breaks a rule.

use std::{collections::BTreeMap, fmt::Display, str::FromStr};

use edgestack_model::{Labels, Name};

/// Which field of a request is wrong, and how to make it right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Invalid {
    /// The field as in the JSON body, nested ones with dots.
    pub field: String,
    /// The rule, and what came.
    pub reason: String,
}

impl Invalid {
    /// A field and what is wrong with it.
    pub fn new(field: &str, reason: impl Display) -> Self {
        Self { field: field.to_owned(), reason: reason.to_string() }
    }
}

/// Parses one field.
pub(crate) fn parse<T: FromStr>(field: &str, text: &str) -> Result<T, Invalid>
where
    T::Err: Display,
{
    text.parse().map_err(|error| Invalid::new(field, format_args!("{error}; got {}", shortened(text))))
}

/// A name field, called `name`.
///
/// # Errors
/// [`Invalid`].
pub fn name(text: &str) -> Result<Name, Invalid> {
    parse("name", text)
}

/// A labels field.
///
/// # Errors
/// [`Invalid`].
pub fn labels(field: &str, map: BTreeMap<String, String>) -> Result<Labels, Invalid> {
    map.try_into().map_err(|error| Invalid::new(field, error))
}

/// A reference to another resource: a name or an id. Whether it exists, the model says.
pub(crate) fn reference(field: &str, text: String) -> Result<edgestack_model::command::Reference, Invalid> {
    if text.is_empty() || text.chars().count() > 255 {
        return Err(Invalid::new(field, format_args!("must be a name or an id, got {}", shortened(&text))));
    }
    Ok(text.into())
}

fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(80).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}
