//! What every resource carries besides its own fields.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Generation, Labels, Name, Sequence};

/// Identity and bookkeeping of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Unique within the kind.
    pub name: Name,
    /// Free text of at most 1,024 characters.
    pub description: String,
    /// The user's labels.
    pub labels: Labels,
    /// Grows with each change of the wish.
    pub generation: Generation,
    /// The last commit that touched it.
    pub revision: Sequence,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When the last commit touched it.
    pub updated_at: DateTime<Utc>,
    /// The commit of the last wish: what a worker's report names as its cause.
    pub cause: Uuid,
    /// What that wish belongs to; reports carry it on.
    pub correlation_id: Uuid,
}

/// The longest description, in characters.
pub const DESCRIPTION_LENGTH_MAX: usize = 1024;

/// A change of name-independent bookkeeping: an absent field leaves what is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MetaChange {
    /// The new description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The new labels, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Labels>,
}

impl MetaChange {
    /// Leaves out what is already so.
    pub fn against(self, meta: &Meta) -> Self {
        Self {
            description: self.description.filter(|new| *new != meta.description),
            labels: self.labels.filter(|new| *new != meta.labels),
        }
    }

    /// True when nothing would change.
    pub fn is_empty(&self) -> bool {
        self.description.is_none() && self.labels.is_none()
    }

    /// Takes the change over into `meta`.
    pub fn apply(&self, meta: &mut Meta) {
        if let Some(description) = &self.description {
            meta.description.clone_from(description);
        }
        if let Some(labels) = &self.labels {
            meta.labels.clone_from(labels);
        }
    }
}
