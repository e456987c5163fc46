//! The resource in the path: a name or an id.

use axum::{
    extract::{FromRequestParts, RawPathParams},
    http::request::Parts,
};
use edgestack_model::{Kind, command::Reference};

use crate::{codes, problem::Failure};

/// The longest path segment, characters.
const SEGMENT_LENGTH_MAX: usize = 255;

/// The `{name}` of the route.
pub(crate) struct Named(pub Reference);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        segment(parts, state).await.map(|text| Self(text.into()))
    }
}

/// The `{kind}/{name}` of a route that is for all kinds.
pub(crate) struct KindAndName(pub Kind, pub Reference);

impl<S: Send + Sync> FromRequestParts<S> for KindAndName {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let mut segments = segments(parts, state).await?.into_iter();
        let (kind, name) = (segments.next().unwrap_or_default(), segments.next().unwrap_or_default());
        let kind = kind_of(&kind).ok_or_else(|| {
            let kinds: Vec<_> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
            Failure::new(&codes::NO_SUCH_PATH, format!("there is no such kind; the kinds are {}", kinds.join(", ")))
        })?;
        Ok(Self(kind, name.into()))
    }
}

/// The kind of a word, singular or plural.
pub(crate) fn kind_of(word: &str) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| kind.as_str() == word || kind.plural() == word)
}

/// The one parameter of the route, decoded and of a sane form.
pub(crate) async fn segment<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<String, Failure> {
    Ok(segments(parts, state).await?.into_iter().next().unwrap_or_default())
}

/// All parameters of the route, decoded and of a sane form.
async fn segments<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<Vec<String>, Failure> {
    let invalid = |why: &str| Failure::new(&codes::INVALID_PATH, format!("the path's name {why}"));
    let parameters = RawPathParams::from_request_parts(parts, state).await.map_err(|_| invalid("is not UTF-8"))?;
    let mut segments = Vec::new();
    for (_, text) in parameters.iter() {
        let length = text.chars().count();
        if length == 0 || length > SEGMENT_LENGTH_MAX {
            return Err(invalid(&format!("must have 1 to {SEGMENT_LENGTH_MAX} characters, has {length}")));
        }
        if text.chars().any(|c| c == '/' || c == '\\' || c.is_control()) {
            return Err(invalid("must not hold slashes or control characters"));
        }
        segments.push(text.to_owned());
    }
    Ok(segments)
}
