//! Routers as they travel.
//!
//! MM3 calls a router's way outside by a map, `{"192.0.2.5": "outside"}`; `external_network` and `external_ip` say the same.

use std::{collections::BTreeMap, net::IpAddr};

use edgestack_model::{
    Id, Name, Waiting as ModelWaiting,
    command::Reference,
    network::Network,
    router::{self as model, ExternalRequest, NETWORKS_MAX, RouterCommand},
};
use serde::{Deserialize, Serialize};
use utoipa::{
    ToSchema,
    openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, SchemaType, Type},
};
use uuid::Uuid;

use crate::{
    Invalid, invalid,
    meta::{self, Meta, Waiting},
};

/// A router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Router {
    /// Identity and bookkeeping.
    #[serde(flatten)]
    pub meta: Meta,
    /// `creating`, `active`, `updating`, `deleting`.
    #[schema(example = "active")]
    pub state: String,
    /// What it waits for, while it is not where it should be.
    pub waiting: Option<Waiting>,
    /// Whether what leaves by it has its own address outside.
    pub enable_snat: bool,
    /// The names of the networks that it joins.
    pub internal_networks: Vec<String>,
    /// The networks that it joins.
    pub internal_network_ids: Vec<Uuid>,
    /// Its way outside, as a request has it: its first address there, and the name of the network. Empty: none.
    #[schema(example = json!({"192.0.2.5": "outside"}))]
    pub external: BTreeMap<String, String>,
    /// The name of the network outside.
    pub external_network: Option<String>,
    /// The network outside.
    pub external_network_id: Option<Uuid>,
    /// All of its addresses outside, one a prefix of that network.
    pub external_ips: Vec<String>,
    /// The next hop outside, if it is another than the external network's gateway.
    pub peer_router: Option<PeerRouter>,
    /// Further routes.
    pub routes: Vec<Route>,
    /// The addresses of its floating IPs.
    pub floating_ips: Vec<String>,
}

/// The next hop outside, whom nobody need ask for his MAC address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"ip_address": "192.0.2.254", "mac_address": "02:00:00:00:00:01"}))]
pub struct PeerRouter {
    /// Its IP address, on the external network.
    #[schema(example = "192.0.2.254")]
    pub ip_address: String,
    /// Its MAC address.
    #[schema(
        example = "02:00:00:00:00:01",
        pattern = "^[0-9a-fA-F][02468aceACE](:[0-9a-fA-F]{2}){4}:([0-9a-fA-F][1-9a-fA-F]|[1-9a-fA-F]0)$"
    )]
    pub mac_address: String,
}

/// A route of a router's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Where to.
    #[schema(example = "192.168.0.0/16")]
    pub destination: String,
    /// By which address on one of its networks.
    #[schema(example = "10.0.0.254")]
    pub next_hop: String,
}

/// A router to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "edge", "internal_networks": ["blue"], "external_network": "outside"}))]
pub struct CreateRouter {
    /// Its name.
    #[schema(pattern = "^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$")]
    pub name: String,
    /// Free text of at most 1,024 characters.
    #[serde(default)]
    #[schema(max_length = 1024)]
    pub description: String,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Whether what leaves by it has its own address outside. IPv6 is routed as it is.
    #[serde(default = "yes")]
    pub enable_snat: bool,
    /// The networks that it joins, by name or id. It has the address `gateway_ip` on each.
    #[serde(default)]
    #[schema(schema_with = networks_schema)]
    pub internal_networks: Vec<String>,
    /// Its way outside: an address on a network of type FLAT or VLAN, and that network's name or id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = external_schema)]
    pub external: Option<BTreeMap<String, String>>,
    /// The network outside, by name or id; in place of `external`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 255)]
    pub external_network: Option<String>,
    /// The address wished for there; a free one of the network's pool if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "192.0.2.5")]
    pub external_ip: Option<String>,
    /// The next hop outside, if it is to be another than the external network's gateway.
    #[serde(default, deserialize_with = "meta::optional_object", skip_serializing_if = "Option::is_none")]
    pub peer_router: Option<PeerRouter>,
    /// Further routes.
    #[serde(default)]
    #[schema(max_items = 64)]
    pub routes: Vec<Route>,
}

const fn yes() -> bool {
    true
}

/// A change of a router.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"enable_snat": false, "attach": ["red"]}))]
pub struct UpdateRouter {
    /// Free text of at most 1,024 characters; `null` clears it.
    #[serde(default, deserialize_with = "meta::present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, max_length = 1024)]
    pub description: Option<Option<String>>,
    /// All labels, in place of the present ones; `null` clears them.
    #[serde(default, deserialize_with = "meta::present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    pub labels: Option<Option<BTreeMap<String, String>>>,
    /// Whether what leaves by it has its own address outside.
    #[serde(default, deserialize_with = "meta::given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = bool, required = false)]
    pub enable_snat: Option<bool>,
    /// All networks that it joins, in place of the present ones; `null` is none.
    #[serde(default, deserialize_with = "meta::present", skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = networks_or_null_schema)]
    pub internal_networks: Option<Option<Vec<String>>>,
    /// Also these networks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(schema_with = networks_schema)]
    pub attach: Vec<String>,
    /// Not these networks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(schema_with = networks_schema)]
    pub detach: Vec<String>,
    /// Its way outside; `null` or an empty one is none.
    #[serde(default, deserialize_with = "meta::present", skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = external_schema)]
    pub external: Option<Option<BTreeMap<String, String>>>,
    /// The network outside, by name or id, in place of `external`; `null` is none.
    #[serde(default, deserialize_with = "meta::present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 255)]
    pub external_network: Option<Option<String>>,
    /// The address wished for on `external_network`; absent or `null`, the present one if it stays there, else a free one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "192.0.2.5")]
    pub external_ip: Option<String>,
    /// The next hop outside; `null` is none but the external network's gateway.
    #[serde(default, deserialize_with = "meta::present_object", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<PeerRouter>)]
    pub peer_router: Option<Option<PeerRouter>>,
    /// All further routes; `null` clears them.
    #[serde(default, deserialize_with = "meta::present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Route>>, max_items = 64)]
    pub routes: Option<Option<Vec<Route>>>,
}

/// Something to do with a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
#[schema(example = json!({"action": "reconcile"}))]
pub enum RouterAction {
    /// Looks at it again now, whatever it waits for. Needs a reason.
    Reconcile {},
    /// Forgets it, whatever is left of it in the virtual network, where the usual removal can't end. Needs a reason.
    ForceRemove {},
}

impl RouterAction {
    /// The command that this action on a router is.
    pub fn into_command(self, router: Reference) -> RouterCommand {
        match self {
            Self::Reconcile {} => RouterCommand::Reconcile { router },
            Self::ForceRemove {} => RouterCommand::ForceRemove { router },
        }
    }
}

impl TryFrom<CreateRouter> for RouterCommand {
    type Error = Invalid;
    fn try_from(create: CreateRouter) -> Result<Self, Invalid> {
        let external = external(create.external.map(Some), create.external_network.map(Some), create.external_ip)?;
        Ok(Self::Create(Box::new(model::CreateRouter {
            name: invalid::name(&create.name)?,
            description: create.description,
            labels: invalid::labels("labels", create.labels)?,
            enable_snat: create.enable_snat,
            internal: networks("internal_networks", create.internal_networks)?,
            external: external.flatten(),
            peer: create.peer_router.map(|peer| peer.parse("peer_router.")).transpose()?,
            routes: routes(create.routes)?,
        })))
    }
}

impl UpdateRouter {
    /// The command that this update of a router is.
    ///
    /// # Errors
    /// [`Invalid`] names the field.
    pub fn into_command(self, router: Reference) -> Result<RouterCommand, Invalid> {
        let all = self.internal_networks.map(Option::unwrap_or_default);
        let peer = self.peer_router.map(|peer| peer.map(|peer| peer.parse("peer_router.")).transpose());
        Ok(RouterCommand::Update(Box::new(model::UpdateRouter {
            change: meta::change(self.description, self.labels)?,
            enable_snat: self.enable_snat,
            internal: all.map(|all| networks("internal_networks", all)).transpose()?,
            attach: networks("attach", self.attach)?,
            detach: networks("detach", self.detach)?,
            external: external(self.external, self.external_network, self.external_ip)?,
            peer: peer.transpose()?,
            routes: self.routes.map(|all| routes(all.unwrap_or_default())).transpose()?,
            ..nothing(router)
        })))
    }
}

/// The command that gives a router a next hop outside, or takes it.
///
/// # Errors
/// [`Invalid`] names the field.
pub fn peer_command(router: Reference, peer: Option<&PeerRouter>) -> Result<RouterCommand, Invalid> {
    let peer = peer.map(|peer| peer.parse("")).transpose()?;
    Ok(RouterCommand::Update(Box::new(model::UpdateRouter { peer: Some(peer), ..nothing(router) })))
}

/// An update that leaves all as it is.
fn nothing(router: Reference) -> model::UpdateRouter {
    model::UpdateRouter {
        router,
        change: edgestack_model::meta::MetaChange::default(),
        enable_snat: None,
        internal: None,
        attach: vec![],
        detach: vec![],
        external: None,
        peer: None,
        routes: None,
    }
}

/// Networks by name or id.
fn networks(field: &str, named: Vec<String>) -> Result<Vec<Reference>, Invalid> {
    if named.len() > NETWORKS_MAX {
        let got = named.len();
        return Err(Invalid::new(field, format_args!("a router joins at most {NETWORKS_MAX} networks, got {got}")));
    }
    named.into_iter().enumerate().map(|(at, name)| invalid::reference(&format!("{field}.{at}"), name)).collect()
}

/// A way outside, in one of its two forms: absent, none, or one.
fn external(
    map: Option<Option<BTreeMap<String, String>>>,
    network: Option<Option<String>>,
    fixed_ip: Option<String>,
) -> Result<Option<Option<ExternalRequest>>, Invalid> {
    match (map, network, fixed_ip) {
        (None, None, None) => Ok(None),
        (Some(_), Some(_), _) | (Some(_), None, Some(_)) => {
            let other = "give external, or external_network with or without external_ip, not both";
            Err(Invalid::new("external", other))
        }
        (Some(map), None, None) => {
            let mut entries = map.unwrap_or_default().into_iter();
            match (entries.next(), entries.next()) {
                (None, _) => Ok(Some(None)),
                (Some((ip, network)), None) => Ok(Some(Some(ExternalRequest {
                    network: invalid::reference("external", network)?,
                    fixed_ip: Some(invalid::parse("external", &ip)?),
                }))),
                (Some(_), Some(_)) => {
                    Err(Invalid::new("external", "a router has one way outside; name one address and its network"))
                }
            }
        }
        (None, None | Some(None), Some(_)) => {
            Err(Invalid::new("external_ip", "it is an address on external_network; name that, too"))
        }
        (None, Some(None), None) => Ok(Some(None)),
        (None, Some(Some(network)), fixed_ip) => Ok(Some(Some(ExternalRequest {
            network: invalid::reference("external_network", network)?,
            fixed_ip: fixed_ip.map(|ip| invalid::parse("external_ip", &ip)).transpose()?,
        }))),
    }
}

fn routes(routes: Vec<Route>) -> Result<Vec<model::Route>, Invalid> {
    let parse = |(at, route): (usize, Route)| {
        Ok(model::Route {
            destination: invalid::parse(&format!("routes.{at}.destination"), &route.destination)?,
            next_hop: invalid::parse(&format!("routes.{at}.next_hop"), &route.next_hop)?,
        })
    };
    routes.into_iter().enumerate().map(parse).collect()
}

impl PeerRouter {
    /// What the model takes; `at` is where it stands in the request, `peer_router.` with its dot.
    fn parse(&self, at: &str) -> Result<model::PeerRouter, Invalid> {
        Ok(model::PeerRouter {
            ip_address: invalid::parse(&format!("{at}ip_address"), &self.ip_address)?,
            mac_address: invalid::parse(&format!("{at}mac_address"), &self.mac_address)?,
        })
    }
}

impl From<model::PeerRouter> for PeerRouter {
    fn from(peer: model::PeerRouter) -> Self {
        Self { ip_address: peer.ip_address.to_string(), mac_address: peer.mac_address.to_string() }
    }
}

impl Router {
    /// A router, what it waits for, the names of its networks, and the addresses of its floating IPs.
    pub fn of(
        router: &model::Router,
        waiting: Option<ModelWaiting>,
        names: &BTreeMap<Id<Network>, Name>,
        floating_ips: &[IpAddr],
    ) -> Self {
        let spec = &router.spec;
        let attempts = router.realization.failure.as_ref().map_or(0, |failure| failure.attempt);
        let name = |id: &Id<Network>| names.get(id).map_or_else(|| id.to_string(), ToString::to_string);
        let outside = spec.external.as_ref();
        let addresses: Vec<String> =
            outside.map(|outside| outside.addresses.iter().map(ToString::to_string).collect()).unwrap_or_default();
        let external_network = outside.map(|outside| name(&outside.network));
        Self {
            meta: Meta::of(router.id.uuid(), &router.meta),
            state: router.realization.state.as_str().to_owned(),
            waiting: waiting.map(|waiting| Waiting::of(waiting, attempts)),
            enable_snat: spec.enable_snat,
            internal_networks: spec.internal.iter().map(name).collect(),
            internal_network_ids: spec.internal.iter().map(|id| id.uuid()).collect(),
            external: addresses.first().cloned().zip(external_network.clone()).into_iter().collect(),
            external_network,
            external_network_id: outside.map(|outside| outside.network.uuid()),
            external_ips: addresses,
            peer_router: spec.peer.map(Into::into),
            routes: spec
                .routes
                .iter()
                .map(|route| Route { destination: route.destination.to_string(), next_hop: route.next_hop.to_string() })
                .collect(),
            floating_ips: floating_ips.iter().map(ToString::to_string).collect(),
        }
    }
}

fn network_schema() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(255))
}

fn networks_schema() -> Schema {
    ArrayBuilder::new()
        .items(network_schema())
        .max_items(Some(NETWORKS_MAX))
        .description(Some("Networks, by name or id. The router has the address `gateway_ip` on each."))
        .build()
        .into()
}

fn networks_or_null_schema() -> Schema {
    ArrayBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Array, Type::Null]))
        .items(network_schema())
        .max_items(Some(NETWORKS_MAX))
        .description(Some("All networks that it joins, by name or id, in place of the present ones; `null` is none."))
        .build()
        .into()
}

fn external_schema() -> Schema {
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Object, Type::Null]))
        .property_names(Some(ObjectBuilder::new().schema_type(Type::String).pattern(Some(ADDRESS_PATTERN)).build()))
        .additional_properties(Some(network_schema()))
        .max_properties(Some(1))
        .description(Some(
            "Its way outside: an address on a network of type FLAT or VLAN, and that network's name or id.",
        ))
        .examples([serde_json::json!({"192.0.2.5": "outside"})])
        .build()
        .into()
}

/// The commoner forms of addresses.
const ADDRESS_PATTERN: &str = "^((25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\\.){3}(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])$|^([0-9a-f]{1,4}:){7}[0-9a-f]{1,4}$|^([0-9a-f]{1,4}:){1,6}:[0-9a-f]{1,4}$";

#[cfg(test)]
mod tests;
