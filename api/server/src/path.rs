//! The resource in the path: a name or an id.

use axum::{
    extract::{FromRequestParts, RawPathParams},
    http::request::Parts,
};
use edgestack_model::command::Reference;

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

/// The one parameter of the route, decoded and of a sane form.
pub(crate) async fn segment<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<String, Failure> {
    let invalid = |why: &str| Failure::new(&codes::INVALID_PATH, format!("the path's name {why}"));
    let parameters = RawPathParams::from_request_parts(parts, state).await.map_err(|_| invalid("is not UTF-8"))?;
    let text = parameters.iter().next().map_or("", |(_, value)| value);
    let length = text.chars().count();
    if length == 0 || length > SEGMENT_LENGTH_MAX {
        return Err(invalid(&format!("must have 1 to {SEGMENT_LENGTH_MAX} characters, has {length}")));
    }
    if text.chars().any(|c| c == '/' || c == '\\' || c.is_control()) {
        return Err(invalid("must not hold slashes or control characters"));
    }
    Ok(text.to_owned())
}
