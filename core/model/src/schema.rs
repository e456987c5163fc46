//! The log as a contract for programs in any language: a JSON Schema for each type and version of event and for the
//! commit around them, made from the very types that the log is written and read with.
//!
//! The schemas tell what a reader must accept: fields that may be absent are not required, and fields that nobody knows
//! yet are no fault.

use std::collections::BTreeSet;

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, transform::RecursiveTransform};
use serde_json::{Map, Value, json};

use crate::{
    Kind,
    commit::{ENVELOPE_VERSION, Envelope},
    event::{
        EventRecord, FlavorEvent, FloatingIpEvent, ImageEvent, KeypairEvent, LeaseEvent, LoadBalancerEvent,
        NetworkEvent, NodeEvent, RouterEvent, SecurityGroupEvent, SecurityGroupRuleEvent, VmEvent, VolumeEvent,
        WebhookEvent,
    },
    upcast::{NodeEventV1, newest},
};

/// The word by which the commit's own schema is asked for, among types of events.
pub const COMMIT: &str = "Commit";

/// In which words the schemas are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// JSON Schema 2020-12; what several share is in `$defs`.
    Draft202012,
    /// Draft 07, which every AsyncAPI tool reads; what several share is in `components.schemas` of its document.
    AsyncApi,
}

/// One schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedSchema {
    /// Of which kind of resource the event is; `None` for the commit.
    pub kind: Option<Kind>,
    /// The event's type, `VmCreated`, or [`COMMIT`].
    pub name: String,
    /// The version of the type's data, or of the commit's envelope.
    pub version: u32,
    /// The schema, referring to [`Schemas::definitions`]. An event's is that of the whole record in a commit.
    pub schema: Value,
}

/// All of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schemas {
    /// The events in order of kind and type, and the commit.
    pub all: Vec<NamedSchema>,
    /// What they share, by name.
    pub definitions: Map<String, Value>,
}

impl Schemas {
    /// Makes them.
    pub fn generate(dialect: Dialect) -> Self {
        let settings = match dialect {
            Dialect::Draft202012 => SchemaSettings::draft2020_12(),
            Dialect::AsyncApi => {
                SchemaSettings::draft07().with(|settings| settings.definitions_path = "/components/schemas".into())
            }
        };
        let mut generator = settings.with_transform(RecursiveTransform(complete)).into_generator();
        let mut all = Vec::new();
        for kind in Kind::ALL {
            all.extend(match kind {
                Kind::Vm => events_of::<VmEvent>(&mut generator, kind, newest),
                Kind::Image => events_of::<ImageEvent>(&mut generator, kind, newest),
                Kind::Flavor => events_of::<FlavorEvent>(&mut generator, kind, newest),
                Kind::Keypair => events_of::<KeypairEvent>(&mut generator, kind, newest),
                Kind::Node => events_of::<NodeEvent>(&mut generator, kind, newest),
                Kind::Volume => events_of::<VolumeEvent>(&mut generator, kind, newest),
                Kind::Network => events_of::<NetworkEvent>(&mut generator, kind, newest),
                Kind::SecurityGroup => events_of::<SecurityGroupEvent>(&mut generator, kind, newest),
                Kind::SecurityGroupRule => events_of::<SecurityGroupRuleEvent>(&mut generator, kind, newest),
                Kind::Router => events_of::<RouterEvent>(&mut generator, kind, newest),
                Kind::FloatingIp => events_of::<FloatingIpEvent>(&mut generator, kind, newest),
                Kind::LoadBalancer => events_of::<LoadBalancerEvent>(&mut generator, kind, newest),
                Kind::Webhook => events_of::<WebhookEvent>(&mut generator, kind, newest),
                Kind::Lease => events_of::<LeaseEvent>(&mut generator, kind, newest),
            });
            // Old versions stay served: from the Rust types that they are upcast from.
            if kind == Kind::Node {
                all.extend(events_of::<NodeEventV1>(&mut generator, kind, |_| 1));
            }
        }
        let mut commit = finished(&mut generator, Envelope::json_schema);
        commit["title"] = title(COMMIT, ENVELOPE_VERSION);
        all.push(NamedSchema { kind: None, name: COMMIT.to_owned(), version: ENVELOPE_VERSION, schema: commit });
        Self { all, definitions: generator.take_definitions(true) }
    }

    /// A schema that stands alone, with what it refers to (in [`Dialect::Draft202012`] only).
    pub fn document(&self, named: &NamedSchema) -> Value {
        let mut wanted = BTreeSet::new();
        self.collect(&named.schema, &mut wanted);
        let mut document = json!({"$schema": "https://json-schema.org/draft/2020-12/schema"});
        if let (Some(document), Some(schema)) = (document.as_object_mut(), named.schema.as_object()) {
            document.extend(schema.clone());
            let shared = wanted.iter().filter_map(|name| Some((name.clone(), self.definitions.get(name)?.clone())));
            let shared: Map<String, Value> = shared.collect();
            if !shared.is_empty() {
                document.insert("$defs".to_owned(), shared.into());
            }
        }
        document
    }

    /// The names of all that a schema refers to, however far down.
    fn collect(&self, schema: &Value, wanted: &mut BTreeSet<String>) {
        match schema {
            Value::Object(fields) => {
                let reference = fields.get("$ref").and_then(Value::as_str);
                let name = reference.and_then(|reference| reference.rsplit('/').next());
                if let Some(name) = name
                    && wanted.insert(name.to_owned())
                    && let Some(definition) = self.definitions.get(name)
                {
                    self.collect(definition, wanted);
                }
                fields.values().for_each(|value| self.collect(value, wanted));
            }
            Value::Array(values) => values.iter().for_each(|value| self.collect(value, wanted)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

/// What schemars makes, with the settings' transforms.
fn finished(generator: &mut SchemaGenerator, make: impl FnOnce(&mut SchemaGenerator) -> Schema) -> Value {
    let mut schema = make(generator);
    for transform in generator.transforms_mut() {
        transform.transform(&mut schema);
    }
    schema.to_value()
}

/// The schema of each type of a kind's events: the record that every event has, narrowed by the type's variant.
///
/// `version` tells that of a type.
fn events_of<E: JsonSchema>(
    generator: &mut SchemaGenerator,
    kind: Kind,
    version: impl Fn(&str) -> u32,
) -> Vec<NamedSchema> {
    let types = finished(generator, E::json_schema);
    let record = finished(generator, EventRecord::json_schema);
    let variants = types["oneOf"].as_array().into_iter().flatten();
    let schemas = variants.filter_map(|variant| {
        let name = variant["properties"]["type"]["const"].as_str()?;
        let version = version(name);
        let mut schema = record.clone();
        schema["title"] = title(name, version);
        schema["description"] = variant["description"].clone();
        for (field, value) in [("kind", json!(kind)), ("type", json!(name)), ("version", json!(version))] {
            schema["properties"][field]["const"] = value;
        }
        let mut data = variant["properties"]["data"].clone();
        data["description"] = record["properties"]["data"]["description"].clone();
        schema["properties"]["data"] = data;
        Some(NamedSchema { kind: Some(kind), name: name.to_owned(), version, schema })
    });
    schemas.collect()
}

fn title(name: &str, version: u32) -> Value {
    format!("{name}, version {version}").into()
}

/// What schemars doesn't say: the largest number of 32 bits. And comments without what only their source needs: links, and
/// the ends of its lines.
fn complete(schema: &mut Schema) {
    if schema.get("format").and_then(Value::as_str) == Some("uint32") {
        schema.insert("maximum".to_owned(), u32::MAX.into());
    }
    if let Some(Value::String(text)) = schema.get_mut("description") {
        let paragraphs = text.split("\n\n").map(|paragraph| paragraph.replace('\n', " "));
        *text = paragraphs.collect::<Vec<_>>().join("\n\n").replace("[`", "`").replace("`]", "`");
    }
}
