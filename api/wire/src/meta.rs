//! What every resource shows and takes besides its own fields.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use edgestack_model::{self as model, meta::MetaChange};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error as _},
};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{Invalid, invalid};

/// Identity and bookkeeping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Meta {
    /// Its id.
    pub id: Uuid,
    /// Its name, unique within the kind.
    #[schema(example = "hello")]
    pub name: String,
    /// Free text.
    pub description: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Grows with each change that people ask for.
    pub generation: u64,
    /// The log sequence of the last commit that touched it.
    pub revision: u64,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was last touched.
    pub updated_at: DateTime<Utc>,
    /// Finds the last wish and all that followed from it in logs and history.
    pub correlation_id: Uuid,
}

impl Meta {
    /// A resource's bookkeeping, as it travels.
    pub fn of(id: Uuid, meta: &model::Meta) -> Self {
        Self {
            id,
            name: meta.name.to_string(),
            description: meta.description.clone(),
            labels: meta.labels.clone().into(),
            generation: meta.generation.0,
            revision: meta.revision.0,
            created_at: meta.created_at,
            updated_at: meta.updated_at,
            correlation_id: meta.correlation_id,
        }
    }
}

/// Tells an absent field (`None`) from `null` (`Some(None)`).
pub(crate) fn present<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some)
}

/// A field of an update that can be absent, and can't be cleared by `null`.
pub(crate) fn given<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// As [`given`], of a nested object.
pub(crate) fn given_object<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: DeserializeOwned,
    D: Deserializer<'de>,
{
    object(deserializer).map(Some)
}

/// Reads a nested object. serde itself would take an array for a struct too, field by field.
pub(crate) fn object<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: DeserializeOwned,
    D: Deserializer<'de>,
{
    let map = Map::deserialize(deserializer)?;
    serde_json::from_value(Value::Object(map)).map_err(D::Error::custom)
}

/// As [`object`], of a field that may be null.
pub(crate) fn optional_object<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: DeserializeOwned,
    D: Deserializer<'de>,
{
    let Some(map) = Option::<Map<String, Value>>::deserialize(deserializer)? else {
        return Ok(None);
    };
    serde_json::from_value(Value::Object(map)).map(Some).map_err(D::Error::custom)
}

/// As [`present`], of a nested object.
pub(crate) fn present_object<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: DeserializeOwned,
    D: Deserializer<'de>,
{
    optional_object(deserializer).map(Some)
}

/// Description and labels of an update.
pub(crate) fn change(
    description: Option<Option<String>>,
    labels: Option<Option<BTreeMap<String, String>>>,
) -> Result<MetaChange, Invalid> {
    Ok(MetaChange {
        description: description.map(Option::unwrap_or_default),
        labels: labels.map(Option::unwrap_or_default).map(|map| invalid::labels("labels", map)).transpose()?,
    })
}

/// An update of a resource whose own fields never change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"description": "for the demo", "labels": {"team": "core"}}))]
pub struct UpdateMeta {
    /// Free text of at most 1,024 characters; `null` clears it.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, max_length = 1024)]
    pub description: Option<Option<String>>,
    /// All labels, in place of the present ones; `null` clears them.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    pub labels: Option<Option<BTreeMap<String, String>>>,
}

impl TryFrom<UpdateMeta> for MetaChange {
    type Error = Invalid;
    fn try_from(update: UpdateMeta) -> Result<Self, Invalid> {
        change(update.description, update.labels)
    }
}

/// Law 8: what a resource that is not where it should be waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Waiting {
    /// Whose turn it is.
    #[schema(example = "worker.vm@edge-1")]
    pub owner: String,
    /// Why, in words.
    pub reason: String,
    /// What a person can do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// When the owner tries next; absent when an event is awaited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// How often it was tried in vain.
    pub attempts: u32,
}

impl Waiting {
    /// What the model says, with the number of failed attempts.
    pub fn of(waiting: model::Waiting, attempts: u32) -> Self {
        Self {
            owner: waiting.owner,
            reason: waiting.reason,
            fix: waiting.fix,
            next_attempt_at: waiting.next_attempt_at,
            attempts,
        }
    }
}
