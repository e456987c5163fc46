//! One atom of a column's value: `<atom>` of RFC 7047 section 5.1.

use std::{cmp::Ordering, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor},
};
use uuid::Uuid;

/// A real number that is finite and not whole; a whole one is an [`Atom::Integer`].
///
/// OVSDB's notation makes no difference between the integer 1 and the real 1 (ovsdb-server prints both as `1` and takes
/// either for a real column), so that two equal columns compare equal only if this client makes none either.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Real(f64);

/// One atom of a column's value (RFC 7047 section 5.1, `<atom>`).
///
/// The order is that of the variants here, then that of the contents; it is this client's own and means nothing to a
/// server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Atom {
    /// A text.
    String(String),
    /// An integer, or a real that is whole.
    Integer(i64),
    /// A real that is not whole.
    Real(Real),
    /// A truth value.
    Boolean(bool),
    /// A row that exists.
    Uuid(Uuid),
    /// A row that the same transaction inserts, by the name that the insertion gave it; never part of an answer.
    NamedUuid(String),
}

impl Atom {
    /// The atom of a real; none for infinities and for what is not a number, which JSON cannot say.
    #[must_use]
    pub fn real(real: f64) -> Option<Self> {
        // Both bounds are powers of two, so they are exact as reals.
        const BEYOND: f64 = 9_223_372_036_854_775_808.0;
        if !real.is_finite() {
            None
        } else if real.fract() == 0.0 && (-BEYOND..BEYOND).contains(&real) {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "whole and within the bounds of i64, as just looked at"
            )]
            Some(Self::Integer(real as i64))
        } else {
            Some(Self::Real(Real(real)))
        }
    }

    /// As it travels.
    pub(super) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::String(text) => text.as_str().into(),
            Self::Integer(integer) => (*integer).into(),
            Self::Real(Real(real)) => (*real).into(),
            Self::Boolean(boolean) => (*boolean).into(),
            Self::Uuid(uuid) => serde_json::json!(["uuid", uuid.to_string()]),
            Self::NamedUuid(name) => serde_json::json!(["named-uuid", name]),
        }
    }
}

impl Real {
    /// The number.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

// Neither infinities nor NaN nor a zero are ever in here, so the total order is the usual one.
impl Eq for Real {}

impl Ord for Real {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Real {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl std::hash::Hash for Real {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

impl fmt::Display for Atom {
    /// As it travels.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_json().fmt(f)
    }
}

impl From<&str> for Atom {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for Atom {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<i64> for Atom {
    fn from(integer: i64) -> Self {
        Self::Integer(integer)
    }
}

impl From<bool> for Atom {
    fn from(boolean: bool) -> Self {
        Self::Boolean(boolean)
    }
}

impl From<Uuid> for Atom {
    fn from(uuid: Uuid) -> Self {
        Self::Uuid(uuid)
    }
}

/// The word that an array of the notation begins with.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Tag {
    Uuid,
    NamedUuid,
    Set,
    Map,
}

/// What follows the tag of an atom that is an array.
pub(super) fn tagged<'de, A: SeqAccess<'de>>(tag: Tag, rest: &mut A) -> Result<Atom, A::Error> {
    let missing = || de::Error::invalid_length(1, &"two elements");
    match tag {
        Tag::Uuid => rest.next_element()?.map(Atom::Uuid).ok_or_else(missing),
        Tag::NamedUuid => rest.next_element()?.map(Atom::NamedUuid).ok_or_else(missing),
        Tag::Set | Tag::Map => Err(de::Error::custom("a set or a map stands where an atom must")),
    }
}

/// Nothing may follow.
pub(super) fn end<'de, A: SeqAccess<'de>>(rest: &mut A) -> Result<(), A::Error> {
    match rest.next_element::<de::IgnoredAny>()? {
        None => Ok(()),
        Some(_) => Err(de::Error::invalid_length(3, &"two elements")),
    }
}

pub(super) fn integer<E: de::Error>(integer: u64) -> Result<Atom, E> {
    let number = i64::try_from(integer).map_err(|_| E::custom("an integer exceeds 64 bits with sign"))?;
    Ok(Atom::Integer(number))
}

pub(super) fn real<E: de::Error>(real: f64) -> Result<Atom, E> {
    Atom::real(real).ok_or_else(|| E::custom("a real is not finite"))
}

struct AtomVisitor;

impl<'de> Visitor<'de> for AtomVisitor {
    type Value = Atom;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an atom of OVSDB")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Atom, E> {
        Ok(text.into())
    }

    fn visit_i64<E: de::Error>(self, integer: i64) -> Result<Atom, E> {
        Ok(integer.into())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Atom, E> {
        integer(number)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Atom, E> {
        real(number)
    }

    fn visit_bool<E: de::Error>(self, boolean: bool) -> Result<Atom, E> {
        Ok(boolean.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Atom, A::Error> {
        let tag = array.next_element()?.ok_or_else(|| de::Error::invalid_length(0, &"two elements"))?;
        let atom = tagged(tag, &mut array)?;
        end(&mut array)?;
        Ok(atom)
    }
}

impl<'de> Deserialize<'de> for Atom {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AtomVisitor)
    }
}
