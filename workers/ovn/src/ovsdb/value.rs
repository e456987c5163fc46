//! The value of a column: `<value>` of RFC 7047 section 5.1.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor},
};
use uuid::Uuid;

use super::atom::{self, Atom, Tag};

/// The value of a column (RFC 7047 section 5.1, `<value>`): a set of atoms or a map from atoms to atoms.
///
/// A single atom *is* a set of one: OVSDB's notation makes no difference. Sets and maps are kept in order and without
/// duplicates, so that equal values compare equal however a server or a caller wrote them. Two things stay apart: an
/// empty set and an empty map, because a server takes only the latter for a column of maps.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(Form);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Form {
    One(Atom),
    /// In order, without duplicates, and never of exactly one.
    Set(Box<[Atom]>),
    /// In order of the keys, without duplicate ones.
    Map(Box<[(Atom, Atom)]>),
}

impl Value {
    /// The set of nothing; what an optional column without a value has.
    #[must_use]
    pub fn empty() -> Self {
        Self(Form::Set(Box::default()))
    }

    /// The map of nothing.
    #[must_use]
    pub fn empty_map() -> Self {
        Self(Form::Map(Box::default()))
    }

    /// One text.
    pub fn text(text: impl Into<String>) -> Self {
        Self(Form::One(Atom::String(text.into())))
    }

    /// One integer.
    #[must_use]
    pub fn integer(integer: i64) -> Self {
        Self(Form::One(Atom::Integer(integer)))
    }

    /// One truth value.
    #[must_use]
    pub fn boolean(boolean: bool) -> Self {
        Self(Form::One(Atom::Boolean(boolean)))
    }

    /// A reference to one row.
    #[must_use]
    pub fn uuid(uuid: Uuid) -> Self {
        Self(Form::One(Atom::Uuid(uuid)))
    }

    /// References to rows.
    pub fn uuids(uuids: impl IntoIterator<Item = Uuid>) -> Self {
        Self::set(uuids)
    }

    /// A reference to a row that the same transaction inserts under this name ([`super::Operation::insert`]).
    pub fn named(name: impl Into<String>) -> Self {
        Self(Form::One(Atom::NamedUuid(name.into())))
    }

    /// A set of texts.
    pub fn texts<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Self {
        Self::set(texts.into_iter().map(Into::into))
    }

    /// A set of atoms; of an `Option`, the value of an optional column.
    pub fn set<A: Into<Atom>>(atoms: impl IntoIterator<Item = A>) -> Self {
        let mut atoms: Vec<Atom> = atoms.into_iter().map(Into::into).collect();
        atoms.sort_unstable();
        atoms.dedup();
        if atoms.len() == 1
            && let Some(atom) = atoms.pop()
        {
            return Self(Form::One(atom));
        }
        Self(Form::Set(atoms.into_boxed_slice()))
    }

    /// A map; of two pairs with the same key the last counts. Without pairs, [`Value::empty_map`].
    pub fn map<K: Into<Atom>, V: Into<Atom>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        let pairs: BTreeMap<Atom, Atom> = pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        Self(Form::Map(pairs.into_iter().collect()))
    }

    /// The atoms of a set, in order; none of a map.
    #[must_use]
    pub fn atoms(&self) -> &[Atom] {
        match &self.0 {
            Form::One(atom) => std::slice::from_ref(atom),
            Form::Set(atoms) => atoms,
            Form::Map(_) => &[],
        }
    }

    /// The pairs of a map, in order of the keys; none of a set.
    #[must_use]
    pub fn pairs(&self) -> &[(Atom, Atom)] {
        match &self.0 {
            Form::Map(pairs) => pairs,
            Form::One(_) | Form::Set(_) => &[],
        }
    }

    /// Whether it is the set or the map of nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.atoms().is_empty() && self.pairs().is_empty()
    }

    /// The text, if it is exactly one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        if let Form::One(Atom::String(text)) = &self.0 { Some(text) } else { None }
    }

    /// The integer, if it is exactly one.
    #[must_use]
    pub fn as_integer(&self) -> Option<i64> {
        if let Form::One(Atom::Integer(integer)) = &self.0 { Some(*integer) } else { None }
    }

    /// The truth value, if it is exactly one.
    #[must_use]
    pub fn as_boolean(&self) -> Option<bool> {
        if let Form::One(Atom::Boolean(boolean)) = &self.0 { Some(*boolean) } else { None }
    }

    /// The row referred to, if it is exactly one.
    #[must_use]
    pub fn as_uuid(&self) -> Option<Uuid> {
        if let Form::One(Atom::Uuid(uuid)) = &self.0 { Some(*uuid) } else { None }
    }

    /// The rows that the set refers to.
    pub fn as_uuids(&self) -> impl Iterator<Item = Uuid> {
        self.atoms().iter().filter_map(|atom| if let Atom::Uuid(uuid) = atom { Some(*uuid) } else { None })
    }

    /// The texts of the set, in order.
    pub fn as_texts(&self) -> impl Iterator<Item = &str> {
        self.atoms().iter().filter_map(text)
    }

    /// The pairs of texts of the map, in order of the keys.
    pub fn text_map(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs().iter().filter_map(|(key, value)| Some((text(key)?, text(value)?)))
    }

    /// What the map has under this text as its key, such as an entry of `external_ids`.
    #[must_use]
    pub fn text_at(&self, key: &str) -> Option<&str> {
        self.text_map().find_map(|(at, value)| (at == key).then_some(value))
    }

    /// As it travels.
    pub(super) fn to_json(&self) -> serde_json::Value {
        match &self.0 {
            Form::One(atom) => atom.to_json(),
            Form::Set(atoms) => serde_json::json!(["set", atoms.iter().map(Atom::to_json).collect::<Vec<_>>()]),
            Form::Map(pairs) => {
                let pairs: Vec<_> = pairs.iter().map(|(key, value)| [key.to_json(), value.to_json()]).collect();
                serde_json::json!(["map", pairs])
            }
        }
    }
}

fn text(atom: &Atom) -> Option<&str> {
    if let Atom::String(text) = atom { Some(text) } else { None }
}

impl From<Atom> for Value {
    fn from(atom: Atom) -> Self {
        Self(Form::One(atom))
    }
}

impl fmt::Display for Value {
    /// As it travels.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_json().fmt(f)
    }
}

impl fmt::Debug for Value {
    /// As it travels, which is shorter than what a derived one says.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_json().fmt(f)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of OVSDB")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::text(text))
    }

    fn visit_i64<E: de::Error>(self, integer: i64) -> Result<Value, E> {
        Ok(Value::integer(integer))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Value, E> {
        atom::integer(number).map(Value::from)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Value, E> {
        atom::real(number).map(Value::from)
    }

    fn visit_bool<E: de::Error>(self, boolean: bool) -> Result<Value, E> {
        Ok(Value::boolean(boolean))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Value, A::Error> {
        let missing = |length| de::Error::invalid_length(length, &"two elements");
        let value = match array.next_element()?.ok_or_else(|| missing(0))? {
            Tag::Set => Value::set(array.next_element::<Vec<Atom>>()?.ok_or_else(|| missing(1))?),
            Tag::Map => {
                let pairs: Vec<(Atom, Atom)> = array.next_element()?.ok_or_else(|| missing(1))?;
                let count = pairs.len();
                let map = Value::map(pairs);
                if map.pairs().len() != count {
                    return Err(de::Error::custom("a map has a key twice"));
                }
                map
            }
            tag @ (Tag::Uuid | Tag::NamedUuid) => atom::tagged(tag, &mut array)?.into(),
        };
        atom::end(&mut array)?;
        Ok(value)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Value, serde_json::Error> {
        serde_json::from_str(text)
    }

    fn an_atom() -> impl Strategy<Value = Atom> {
        prop_oneof![
            any::<String>().prop_map(Atom::String),
            any::<i64>().prop_map(Atom::Integer),
            // Short ones: neither serde_json nor ovsdb-server keeps the seventeenth digit.
            any::<i32>().prop_filter_map("finite", |eighths| Atom::real(f64::from(eighths) / 8.0)),
            any::<bool>().prop_map(Atom::Boolean),
            any::<u128>().prop_map(|bits| Atom::Uuid(Uuid::from_u128(bits))),
            "[a-z_][a-z0-9_]{0,8}".prop_map(Atom::NamedUuid),
        ]
    }

    fn a_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            an_atom().prop_map(Value::from),
            prop::collection::vec(an_atom(), 0..8).prop_map(Value::set),
            prop::collection::vec((an_atom(), an_atom()), 0..8).prop_map(Value::map),
        ]
    }

    proptest! {
        #[test]
        fn what_is_printed_is_parsed_as_the_same(value in a_value()) {
            prop_assert_eq!(parse(&value.to_string()).unwrap(), value);
        }
    }

    #[test]
    fn equal_values_are_equal_however_they_are_written() {
        let uuid = Uuid::from_u128(7);
        for (written, value) in [
            (r#""a""#, Value::text("a")),
            (r#"["set",["a"]]"#, Value::text("a")),
            (r#"["set",["b","a","b"]]"#, Value::texts(["a", "b"])),
            (r#"["set",[]]"#, Value::empty()),
            (r#"["set",[]]"#, Value::set(None::<i64>)),
            (r#"["map",[]]"#, Value::empty_map()),
            (r#"["map",[["k","2"],["a","1"]]]"#, Value::map([("a", "1"), ("k", "2")])),
            ("1", Value::integer(1)),
            ("1.0", Value::integer(1)),
            ("-0.0", Value::integer(0)),
            ("0.5", Value::set(Atom::real(0.5))),
            ("true", Value::boolean(true)),
            (r#"["uuid","00000000-0000-0000-0000-000000000007"]"#, Value::uuid(uuid)),
            (r#"["set",[["uuid","00000000-0000-0000-0000-000000000007"]]]"#, Value::uuids([uuid])),
            (r#"["named-uuid","row"]"#, Value::named("row")),
        ] {
            assert_eq!(parse(written).unwrap(), value, "{written}");
        }
        assert_ne!(Value::empty(), Value::empty_map(), "a server takes only the latter for a map");
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for written in [
            "null",
            "{}",
            "[]",
            r#"["set"]"#,
            r#"["set",[],1]"#,
            r#"["set",[["set",[]]]]"#,
            r#"["map",[["k"]]]"#,
            r#"["map",[["k",1],["k",2]]]"#,
            r#"["uuid"]"#,
            r#"["uuid","x"]"#,
            r#"["uuid","00000000-0000-0000-0000-000000000007",1]"#,
            r#"["bag",[]]"#,
            "9223372036854775808",
        ] {
            assert!(parse(written).is_err(), "{written}");
        }
    }

    #[test]
    fn readers_answer_only_for_their_own_kind() {
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert_eq!(Value::text("a").as_text(), Some("a"));
        assert_eq!(Value::texts(["a", "b"]).as_text(), None);
        assert_eq!(Value::integer(5).as_integer(), Some(5));
        assert_eq!(Value::text("5").as_integer(), None);
        assert_eq!(Value::boolean(true).as_boolean(), Some(true));
        assert_eq!(Value::empty().as_boolean(), None);
        assert_eq!(Value::uuids([b, a]).as_uuids().collect::<Vec<_>>(), [a, b]);
        assert_eq!(Value::map([("k", "v")]).text_at("k"), Some("v"));
        assert_eq!(Value::map([("k", "v")]).text_at("v"), None);
        assert!(Value::empty().is_empty() && Value::empty_map().is_empty() && !Value::text("").is_empty());
    }
}
