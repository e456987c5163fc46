//! Query parameters, strictly: an unknown one, one given twice or one of a wrong
//! type is an error that names it, never silently left out.

use std::{fmt::Display, ops::RangeInclusive, str::FromStr};

use axum::{extract::FromRequestParts, http::request::Parts};

use crate::{observe::is_well_encoded, problem::Failure};

/// The parameters that nobody has taken yet. Call [`Self::finish`] when all are.
#[derive(Debug)]
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Parses `application/x-www-form-urlencoded` (WHATWG URL, 5.1), without forgiving broken codes.
    pub fn parse(query: &str) -> Result<Self, Failure> {
        query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                match (decode(name), decode(value)) {
                    (Some(name), Some(value)) => Ok((name, value)),
                    (Some(name), None) => Err(Failure::parameter(&name, "its value is not percent-encoded UTF-8")),
                    (None, _) => Err(Failure::parameter(name, "this name is not percent-encoded UTF-8")),
                }
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Takes a parameter.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, Failure> {
        let Some(at) = self.0.iter().position(|(given, _)| given == name) else {
            return Ok(None);
        };
        let (_, value) = self.0.remove(at);
        if self.0.iter().any(|(given, _)| given == name) {
            return Err(Failure::parameter(name, "it is given twice"));
        }
        Ok(Some(value))
    }

    /// Takes a parameter that is `true` or `false`; absent is false.
    pub fn flag(&mut self, name: &str) -> Result<bool, Failure> {
        match self.text(name)?.as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => {
                Err(Failure::parameter(name, format_args!("must be true or false, got {:?}", shortened(other))))
            }
        }
    }

    /// Takes a whole number within a range.
    pub fn number<N>(&mut self, name: &str, range: RangeInclusive<N>) -> Result<Option<N>, Failure>
    where
        N: FromStr + PartialOrd + Display,
    {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        // `parse` takes a leading plus, which the schema's integers have not.
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse::<N>() {
            Ok(number) if digits && range.contains(&number) => Ok(Some(number)),
            Ok(_) | Err(_) => Err(Failure::parameter(
                name,
                format_args!(
                    "must be a whole number from {} to {}, got {:?}",
                    range.start(),
                    range.end(),
                    shortened(&text)
                ),
            )),
        }
    }

    /// Whatever is left is unknown.
    pub fn finish(self) -> Result<(), Failure> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(Failure::parameter(
                &shortened(name),
                "there is no such parameter here; /docs lists those of each operation",
            )),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        Self::parse(parts.uri.query().unwrap_or(""))
    }
}

fn decode(text: &str) -> Option<String> {
    if !is_well_encoded(text) {
        return None;
    }
    let text = text.replace('+', " ");
    let decoded = percent_encoding::percent_decode_str(&text).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

/// At most 80 characters of a text that came from outside.
pub(crate) fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(80).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(query: &str, take: impl Fn(&mut Parameters) -> Result<(), Failure>) -> String {
        let outcome = Parameters::parse(query).and_then(|mut parameters| {
            take(&mut parameters)?;
            parameters.finish()
        });
        match outcome {
            Ok(()) => "fine".to_owned(),
            Err(failure) => format!("{failure:?}"),
        }
    }

    #[test]
    fn wrong_parameters_are_named() {
        let take = |parameters: &mut Parameters| {
            parameters.flag("watch")?;
            parameters.number("limit", 1..=1000_u32)?;
            parameters.text("label").map(drop)
        };
        for good in ["", "watch=true&limit=1000", "label=a%3Db%2Cc+d", "&&"] {
            assert_eq!(field(good, take), "fine", "{good}");
        }
        for (bad, name) in [
            ("watch=1", "watch"),
            ("watch", "watch"),
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("limit=+5", "limit"),
            ("limit=-5", "limit"),
            ("limit=1e3", "limit"),
            ("limit=99999999999999999999", "limit"),
            ("limit=1&limit=1", "limit"),
            ("label=%ff", "label"),
            ("label=%2", "label"),
            ("colour=red", "colour"),
        ] {
            assert!(field(bad, take).contains(&format!("field: Some(\"{name}\")")), "{bad}");
        }
    }
}
