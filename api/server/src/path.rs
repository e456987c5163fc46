//! The resource in the path: a name or an id.

use axum::{
    extract::{FromRequestParts, RawPathParams},
    http::request::Parts,
};
use edgestack_model::{Kind, command::Reference};

use crate::{codes, problem::Failure, query::shortened};

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

/// What of a resource the route is about: the parameter after its name.
pub(crate) struct Part(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Part {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let part = segments(parts, state).await?.into_iter().nth(1);
        part.map(Self).ok_or_else(|| Failure::internal("a route without a part"))
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

/// The kind that the parameter `name` names.
pub(crate) fn the_kind(name: &str, word: &str) -> Result<Kind, Failure> {
    kind_of(word).ok_or_else(|| {
        let kinds: Vec<_> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        Failure::parameter(name, format_args!("{:?} is none of {}", shortened(word), kinds.join(", ")))
    })
}

/// `vm/hello`; the plural is understood as well.
pub(crate) fn object(name: &str, text: &str) -> Result<(Kind, Reference), Failure> {
    let wrong = |why: String| Failure::parameter(name, why);
    let Some((kind, reference)) = text.split_once('/') else {
        return Err(wrong(format!("must be kind/name, as vm/hello, got {:?}", shortened(text))));
    };
    let kind = kind_of(kind).ok_or_else(|| {
        let kinds: Vec<_> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        wrong(format!("the kind must be one of {}, got {:?}", kinds.join(", "), shortened(text)))
    })?;
    Ok((kind, Reference(reference.to_owned())))
}

/// The one parameter of the route, decoded and of a sane form.
pub(crate) async fn segment<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<String, Failure> {
    Ok(segments(parts, state).await?.into_iter().next().unwrap_or_default())
}

/// All parameters of the route, decoded and of a sane form.
pub(crate) async fn segments<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<Vec<String>, Failure> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_a_kind_and_a_name() {
        assert_eq!(object("object", "vm/hello").unwrap(), (Kind::Vm, "hello".into()));
        assert_eq!(object("object", "vms/hello").unwrap().0, Kind::Vm);
        for bad in ["", "hello", "vmx/hello", "/"] {
            assert!(object("object", bad).is_err(), "{bad}");
        }
    }
}
