//! Facts, as the log keeps them.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{
        DeserializeSeed, MapAccess,
        value::{BorrowedStrDeserializer, MapAccessDeserializer},
    },
};
use serde_json::{Value, value::RawValue};
use uuid::Uuid;

use crate::{Generation, Kind, Name, upcast};
pub use crate::{
    flavor::FlavorEvent, floating_ip::FloatingIpEvent, image::ImageEvent, keypair::KeypairEvent, lease::LeaseEvent,
    load_balancer::LoadBalancerEvent, network::NetworkEvent, node::NodeEvent, router::RouterEvent,
    security_group::SecurityGroupEvent, security_group_rule::SecurityGroupRuleEvent, vm::VmEvent, volume::VolumeEvent,
    webhook::WebhookEvent,
};

/// One fact about one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// About which resource.
    pub resource_id: Uuid,
    /// Its name at that time.
    pub name: Name,
    /// Its generation after the fact.
    pub generation: Generation,
    /// What happened.
    pub fact: Fact,
}

/// What happened, by kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// To a VM.
    Vm(VmEvent),
    /// To an image.
    Image(ImageEvent),
    /// To a flavor.
    Flavor(FlavorEvent),
    /// To a keypair.
    Keypair(KeypairEvent),
    /// To a node.
    Node(NodeEvent),
    /// To a volume.
    Volume(VolumeEvent),
    /// To a network.
    Network(NetworkEvent),
    /// To a security group.
    SecurityGroup(SecurityGroupEvent),
    /// To a security group rule.
    SecurityGroupRule(SecurityGroupRuleEvent),
    /// To a router.
    Router(RouterEvent),
    /// To a floating IP.
    FloatingIp(FloatingIpEvent),
    /// Of a load balancer.
    LoadBalancer(LoadBalancerEvent),
    /// To a webhook.
    Webhook(WebhookEvent),
    /// To a lease.
    Lease(LeaseEvent),
}

impl Fact {
    /// The kind of resource that it is about.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Vm(_) => Kind::Vm,
            Self::Image(_) => Kind::Image,
            Self::Flavor(_) => Kind::Flavor,
            Self::Keypair(_) => Kind::Keypair,
            Self::Node(_) => Kind::Node,
            Self::Volume(_) => Kind::Volume,
            Self::Network(_) => Kind::Network,
            Self::SecurityGroup(_) => Kind::SecurityGroup,
            Self::SecurityGroupRule(_) => Kind::SecurityGroupRule,
            Self::Router(_) => Kind::Router,
            Self::FloatingIp(_) => Kind::FloatingIp,
            Self::LoadBalancer(_) => Kind::LoadBalancer,
            Self::Webhook(_) => Kind::Webhook,
            Self::Lease(_) => Kind::Lease,
        }
    }

    /// Its type, `VmCreated`.
    pub fn event_type(&self) -> &'static str {
        match self {
            Self::Vm(event) => event.into(),
            Self::Image(event) => event.into(),
            Self::Flavor(event) => event.into(),
            Self::Keypair(event) => event.into(),
            Self::Node(event) => event.into(),
            Self::Volume(event) => event.into(),
            Self::Network(event) => event.into(),
            Self::SecurityGroup(event) => event.into(),
            Self::SecurityGroupRule(event) => event.into(),
            Self::Router(event) => event.into(),
            Self::FloatingIp(event) => event.into(),
            Self::LoadBalancer(event) => event.into(),
            Self::Webhook(event) => event.into(),
            Self::Lease(event) => event.into(),
        }
    }
}

/// An event as it stands in a commit's JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventRecord {
    /// The kind's word.
    pub kind: String,
    /// The resource.
    pub resource_id: Uuid,
    /// Its name at that time.
    pub name: Name,
    /// The event's type, `VmCreated`.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The version of this type's data.
    pub version: u32,
    /// The resource's generation after it.
    pub generation: Generation,
    /// The event's own fields.
    pub data: Value,
}

/// An event that this version cannot read: the reader stops rather than guess.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// A kind from a later version.
    #[error("event of unknown kind {0:?}: this EdgeStack is older than the log; install the version that wrote it")]
    UnknownKind(String),
    /// A version of an event that is newer than this program.
    #[error(
        "event {event_type} has version {version}, and this EdgeStack reads it up to version {newest}: it is older than \
         the log; install the edgestackd that wrote it, or a newer one"
    )]
    UnknownVersion {
        /// The event's type.
        event_type: String,
        /// Its version.
        version: u32,
        /// The newest that this program reads.
        newest: u32,
    },
    /// A version of which no EdgeStack ever wrote events of this kind.
    #[error("no {kind} has an event {event_type} of version {version}")]
    NeverWritten {
        /// The kind.
        kind: Kind,
        /// The event's type.
        event_type: String,
        /// Its version.
        version: u32,
    },
    /// The data does not have the type's fields, or the type is unknown.
    #[error("event {event_type} version {version} cannot be read")]
    Unreadable {
        /// The event's type.
        event_type: String,
        /// Its version.
        version: u32,
        /// What the decoder said.
        #[source]
        source: serde_json::Error,
    },
}

impl Event {
    /// The event as it is stored.
    ///
    /// # Errors
    /// Only if serde_json refuses a value, which the event types give no cause for.
    pub fn to_record(&self) -> Result<EventRecord, serde_json::Error> {
        let tagged = match &self.fact {
            Fact::Vm(event) => serde_json::to_value(event)?,
            Fact::Image(event) => serde_json::to_value(event)?,
            Fact::Flavor(event) => serde_json::to_value(event)?,
            Fact::Keypair(event) => serde_json::to_value(event)?,
            Fact::Node(event) => serde_json::to_value(event)?,
            Fact::Volume(event) => serde_json::to_value(event)?,
            Fact::Network(event) => serde_json::to_value(event)?,
            Fact::SecurityGroup(event) => serde_json::to_value(event)?,
            Fact::SecurityGroupRule(event) => serde_json::to_value(event)?,
            Fact::Router(event) => serde_json::to_value(event)?,
            Fact::FloatingIp(event) => serde_json::to_value(event)?,
            Fact::LoadBalancer(event) => serde_json::to_value(event)?,
            Fact::Webhook(event) => serde_json::to_value(event)?,
            Fact::Lease(event) => serde_json::to_value(event)?,
        };
        let Tagged { event_type, data } = serde_json::from_value(tagged)?;
        let version = upcast::newest(&event_type);
        Ok(EventRecord {
            kind: self.fact.kind().to_string(),
            resource_id: self.resource_id,
            name: self.name.clone(),
            event_type,
            version,
            generation: self.generation,
            data,
        })
    }

    /// The event in a record, upcast if it is of an older version.
    ///
    /// # Errors
    /// See [`EventError`]; a reader stops there.
    pub fn from_record(record: &EventRecord) -> Result<Self, EventError> {
        let EventRecord { kind, resource_id, name, event_type, version, generation, data } = record;
        let fact = fact(kind, event_type, *version, data)?;
        Ok(Self { resource_id: *resource_id, name: name.clone(), generation: *generation, fact })
    }

    /// The same from a commit's bytes, without taking the data apart twice.
    pub(crate) fn from_stored(record: StoredRecord<'_>) -> Result<Self, EventError> {
        let StoredRecord { kind, resource_id, name, event_type, version, generation, data } = record;
        let fact = fact(&kind, &event_type, version, data)?;
        Ok(Self { resource_id, name, generation, fact })
    }
}

/// An [`EventRecord`] as it lies in a commit's bytes.
#[derive(Deserialize)]
pub(crate) struct StoredRecord<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
    resource_id: Uuid,
    name: Name,
    #[serde(rename = "type", borrow)]
    event_type: Cow<'a, str>,
    version: u32,
    generation: Generation,
    #[serde(borrow)]
    data: &'a RawValue,
}

fn fact<'de, D>(kind: &str, event_type: &'de str, version: u32, data: D) -> Result<Fact, EventError>
where
    D: Deserializer<'de, Error = serde_json::Error>,
{
    let kind: Kind = kind.parse().map_err(|_| EventError::UnknownKind(kind.to_owned()))?;
    let newest = upcast::newest(event_type);
    if version == 0 || version > newest {
        return Err(EventError::UnknownVersion { event_type: event_type.to_owned(), version, newest });
    }
    let tagged = MapAccessDeserializer::new(TypeAndData { event_type: Some(event_type), data: Some(data) });
    let read =
        if version == newest { newest_form(kind, tagged) } else { older_form(kind, event_type, version, tagged)? };
    read.map_err(|source| EventError::Unreadable { event_type: event_type.to_owned(), version, source })
}

/// What the types of today read.
fn newest_form<'de, D>(kind: Kind, tagged: D) -> Result<Fact, D::Error>
where
    D: Deserializer<'de>,
{
    match kind {
        Kind::Vm => VmEvent::deserialize(tagged).map(Fact::Vm),
        Kind::Image => ImageEvent::deserialize(tagged).map(Fact::Image),
        Kind::Flavor => FlavorEvent::deserialize(tagged).map(Fact::Flavor),
        Kind::Keypair => KeypairEvent::deserialize(tagged).map(Fact::Keypair),
        Kind::Node => NodeEvent::deserialize(tagged).map(Fact::Node),
        Kind::Volume => VolumeEvent::deserialize(tagged).map(Fact::Volume),
        Kind::Network => NetworkEvent::deserialize(tagged).map(Fact::Network),
        Kind::SecurityGroup => SecurityGroupEvent::deserialize(tagged).map(Fact::SecurityGroup),
        Kind::SecurityGroupRule => SecurityGroupRuleEvent::deserialize(tagged).map(Fact::SecurityGroupRule),
        Kind::Router => RouterEvent::deserialize(tagged).map(Fact::Router),
        Kind::FloatingIp => FloatingIpEvent::deserialize(tagged).map(Fact::FloatingIp),
        Kind::LoadBalancer => LoadBalancerEvent::deserialize(tagged).map(Fact::LoadBalancer),
        Kind::Webhook => WebhookEvent::deserialize(tagged).map(Fact::Webhook),
        Kind::Lease => LeaseEvent::deserialize(tagged).map(Fact::Lease),
    }
}

/// What was written by an older EdgeStack, upcast.
fn older_form<'de, D>(
    kind: Kind,
    event_type: &str,
    version: u32,
    tagged: D,
) -> Result<Result<Fact, D::Error>, EventError>
where
    D: Deserializer<'de>,
{
    upcast::read(kind, event_type, version, tagged).ok_or_else(|| EventError::NeverWritten {
        kind,
        event_type: event_type.to_owned(),
        version,
    })
}

/// The map `{"type": …, "data": …}` that the event enums are read from, without one being made.
struct TypeAndData<'de, D> {
    event_type: Option<&'de str>,
    data: Option<D>,
}

impl<'de, D: Deserializer<'de, Error = serde_json::Error>> MapAccess<'de> for TypeAndData<'de, D> {
    type Error = serde_json::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Self::Error> {
        let key = match (self.event_type, &self.data) {
            (Some(_), _) => "type",
            (None, Some(_)) => "data",
            (None, None) => return Ok(None),
        };
        seed.deserialize(BorrowedStrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Self::Error> {
        if let Some(event_type) = self.event_type.take() {
            return seed.deserialize(BorrowedStrDeserializer::new(event_type));
        }
        match self.data.take() {
            Some(data) => seed.deserialize(data),
            None => Err(serde::de::Error::custom("there is no further value")),
        }
    }
}

#[derive(Deserialize)]
struct Tagged {
    #[serde(rename = "type")]
    event_type: String,
    #[serde(default)]
    data: Value,
}
