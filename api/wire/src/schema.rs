//! The schemas of what the log holds, for programs in any language.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /schemas`: the schemas there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SchemaList {
    /// One for each type and version of event ever written, and for the commit around them.
    pub items: Vec<SchemaLink>,
}

/// Where a schema is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SchemaLink {
    /// The event's type, or `Commit`.
    #[schema(example = "VmStarted")]
    pub name: String,
    /// The version of the type's data.
    #[schema(example = 1)]
    pub version: u32,
    /// Of which kind of resource the event is; absent for the commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "vm")]
    pub kind: Option<String>,
    /// What it describes, in words.
    pub description: String,
    /// The schema itself; its `$id`, and the `dataschema` of its events' CloudEvents.
    #[schema(example = "http://127.0.0.1:9080/schemas/VmStarted/1")]
    pub url: String,
}
