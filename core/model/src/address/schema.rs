//! How an address looks to programs.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// The schema of an IP address: the formats that JSON Schema has are one a family, and need not be checked.
pub(crate) struct Ip;

impl JsonSchema for Ip {
    fn schema_name() -> Cow<'static, str> {
        "IpAddress".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "anyOf": [
                {"format": "ipv4", "pattern": r"^((25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])$"},
                {"format": "ipv6", "pattern": "^[0-9a-fA-F]{0,4}(:[0-9a-fA-F]{0,4}){2,7}(:([0-9]{1,3}\\.){3}[0-9]{1,3})?$"},
            ],
        })
    }
}
