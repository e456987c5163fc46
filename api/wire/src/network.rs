//! Networks as they travel.
//!
//! A network of one prefix has its fields beside the others, as MM3 names them; `ipv6` is a second prefix.

use std::{collections::BTreeMap, net::IpAddr};

use edgestack_model::{
    Waiting as ModelWaiting,
    address::{Cidr, IpRange},
    command::Reference,
    network::{self, NetworkCommand, SubnetRequest},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Invalid, invalid,
    meta::{self, Meta, Waiting},
};

/// A network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Network {
    /// Identity and bookkeeping.
    #[serde(flatten)]
    pub meta: Meta,
    /// `creating`, `active`, `updating`, `deleting`.
    #[schema(example = "active")]
    pub state: String,
    /// What it waits for, while it is not where it should be.
    pub waiting: Option<Waiting>,
    /// How it is carried.
    #[serde(rename = "type")]
    pub network_type: NetworkType,
    /// The number of its segment (see `type`), or its VLAN; none for a flat one.
    pub segment_id: Option<u32>,
    /// The network outside that it is.
    pub external: Option<External>,
    /// The nodes that lead to it, of one outside; those that tell nothing of networks left out.
    #[serde(default)]
    pub reached_by: Vec<String>,
    /// The largest packet, bytes.
    pub mtu: u32,
    /// Its prefix.
    #[schema(example = "10.0.0.0/24")]
    pub cidr: String,
    /// Its router's address.
    pub gateway_ip: Option<String>,
    /// What addresses are given from: the first range.
    pub ip_pool: Option<IpPool>,
    /// What addresses are given from: all ranges.
    pub ip_pools: Vec<IpPool>,
    /// Its second prefix.
    pub ipv6: Option<Ipv6>,
    /// How guests get their addresses, where its prefix is of IPv6.
    pub address_mode: Option<AddressMode>,
    /// Name servers that DHCP tells.
    pub dns_servers: Vec<String>,
    /// Routes that DHCP tells.
    pub host_routes: Vec<HostRoute>,
    /// Whether guests get their addresses by DHCP.
    pub dhcp: bool,
    /// Whether NICs that say nothing of it are held to their own addresses.
    #[serde(default = "yes")]
    pub port_security: bool,
    /// Who holds which of its addresses, in order of address.
    pub addresses: Vec<HeldAddress>,
}

/// An address of a network, and who holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeldAddress {
    /// The IP address.
    pub ip: String,
    /// `vm "web"`, `the gateway`.
    pub holder: String,
}

/// How a network is carried. Lower case is taken, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum NetworkType {
    /// Between nodes, by segment id.
    #[serde(alias = "vxlan")]
    Vxlan,
    /// Between nodes, by segment id.
    #[serde(alias = "gre")]
    Gre,
    /// Between nodes, by segment id.
    #[serde(alias = "geneve")]
    Geneve,
    /// A network outside, as it is.
    #[serde(alias = "flat")]
    Flat,
    /// A network outside, by VLAN.
    #[serde(alias = "vlan")]
    Vlan,
}

/// A network outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct External {
    /// Its name, by which nodes know the bridge that leads to it.
    #[schema(example = "external", pattern = "^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$")]
    pub physical_network: String,
}

/// A range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IpPool {
    /// The first address.
    #[schema(example = "10.0.0.100")]
    pub start: String,
    /// The last address.
    #[schema(example = "10.0.0.199")]
    pub end: String,
}

/// A second prefix, of IPv6.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Ipv6 {
    /// The prefix.
    #[schema(example = "fd00:1::/64")]
    pub cidr: String,
    /// Its router's address; the first host's if absent, none if `null`.
    #[serde(default, deserialize_with = "meta::present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub gateway_ip: Option<Option<String>>,
    /// What addresses are given from; all hosts' if absent.
    #[serde(default, deserialize_with = "meta::optional_object")]
    pub ip_pool: Option<IpPool>,
    /// How guests get their addresses.
    #[serde(default)]
    pub address_mode: AddressMode,
}

/// How guests get their IPv6 addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AddressMode {
    /// They make them of their MAC address.
    #[default]
    Slaac,
    /// By DHCP.
    Dhcpv6Stateful,
}

/// A route that guests are told of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HostRoute {
    /// Where to.
    #[schema(example = "192.168.0.0/16")]
    pub destination: String,
    /// By which address on the network.
    #[schema(example = "10.0.0.254")]
    pub next_hop: String,
}

/// A network to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "blue", "cidr": "10.0.0.0/24", "dns_servers": ["9.9.9.9"]}))]
pub struct CreateNetwork {
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
    /// How it is carried; GENEVE if absent.
    #[serde(default = "geneve", rename = "type")]
    pub network_type: NetworkType,
    /// The number of its segment (1 to 16,777,215) or its VLAN (1 to 4094); a free number if absent.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 16_777_215)]
    pub segment_id: Option<u32>,
    /// The network outside that it is; of types FLAT and VLAN, and needed there.
    #[serde(default, deserialize_with = "meta::optional_object")]
    pub external: Option<External>,
    /// The largest packet, bytes; the largest that fits if absent.
    #[serde(default)]
    #[schema(minimum = 576, maximum = 1500)]
    pub mtu: Option<u32>,
    /// Its prefix.
    #[schema(example = "10.0.0.0/24")]
    pub cidr: String,
    /// Its router's address; the first host's if absent, none if `null`.
    #[serde(default, deserialize_with = "meta::present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub gateway_ip: Option<Option<String>>,
    /// What addresses are given from; all hosts' if absent.
    #[serde(default, deserialize_with = "meta::optional_object")]
    pub ip_pool: Option<IpPool>,
    /// The same, where there are several ranges; in place of `ip_pool`.
    #[serde(default)]
    #[schema(max_items = 16)]
    pub ip_pools: Vec<IpPool>,
    /// A second prefix.
    #[serde(default, deserialize_with = "meta::optional_object")]
    pub ipv6: Option<Ipv6>,
    /// How guests get their addresses, where `cidr` is of IPv6.
    #[serde(default)]
    pub address_mode: Option<AddressMode>,
    /// Name servers that DHCP tells.
    #[serde(default)]
    #[schema(max_items = 16)]
    pub dns_servers: Vec<String>,
    /// Routes that DHCP tells.
    #[serde(default)]
    #[schema(max_items = 16)]
    pub host_routes: Vec<HostRoute>,
    /// Whether guests get their addresses by DHCP.
    #[serde(default = "yes")]
    pub dhcp: bool,
    /// Whether NICs that say nothing of it are held to their own addresses: nothing leaves by them under another's.
    #[serde(default = "yes")]
    pub port_security: bool,
}

const fn geneve() -> NetworkType {
    NetworkType::Geneve
}

const fn yes() -> bool {
    true
}

/// A change of a network. Its prefixes, type and segment never change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"dns_servers": ["9.9.9.9", "149.112.112.112"]}))]
pub struct UpdateNetwork {
    /// Free text of at most 1,024 characters; `null` clears it.
    #[serde(default, deserialize_with = "meta::present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, max_length = 1024)]
    pub description: Option<Option<String>>,
    /// All labels, in place of the present ones; `null` clears them.
    #[serde(default, deserialize_with = "meta::present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    pub labels: Option<Option<BTreeMap<String, String>>>,
    /// The largest packet, bytes. VMs that run have it from their next start on.
    #[serde(default, deserialize_with = "meta::given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u32, required = false, minimum = 576, maximum = 1500)]
    pub mtu: Option<u32>,
    /// What addresses are given from; those that are held stay held.
    #[serde(default, deserialize_with = "meta::given_object", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = IpPool, required = false)]
    pub ip_pool: Option<IpPool>,
    /// The same, where there are several ranges; in place of `ip_pool`.
    #[serde(default, deserialize_with = "meta::given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Vec<IpPool>, required = false, min_items = 1, max_items = 16)]
    pub ip_pools: Option<Vec<IpPool>>,
    /// All name servers; `null` clears them.
    #[serde(default, deserialize_with = "meta::present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>, max_items = 16)]
    pub dns_servers: Option<Option<Vec<String>>>,
    /// All routes; `null` clears them.
    #[serde(default, deserialize_with = "meta::present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<HostRoute>>, max_items = 16)]
    pub host_routes: Option<Option<Vec<HostRoute>>>,
    /// Whether guests get their addresses by DHCP. VMs that run have it so from their next start on.
    #[serde(default, deserialize_with = "meta::given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = bool, required = false)]
    pub dhcp: Option<bool>,
    /// Whether NICs that come, and say nothing of it, are held to their own addresses. Those that are there stay as they are.
    #[serde(default, deserialize_with = "meta::given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = bool, required = false)]
    pub port_security: Option<bool>,
}

/// Something to do with a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
#[schema(example = json!({"action": "reconcile"}))]
pub enum NetworkAction {
    /// Looks at it again now, whatever it waits for. Needs a reason.
    Reconcile {},
    /// Forgets it, whatever is left of it in the virtual network, where the usual removal can't end. Needs a reason.
    ForceRemove {},
}

impl NetworkAction {
    /// The command that this action on a network is.
    pub fn into_command(self, network: Reference) -> NetworkCommand {
        match self {
            Self::Reconcile {} => NetworkCommand::Reconcile { network },
            Self::ForceRemove {} => NetworkCommand::ForceRemove { network },
        }
    }
}

impl TryFrom<CreateNetwork> for NetworkCommand {
    type Error = Invalid;
    fn try_from(create: CreateNetwork) -> Result<Self, Invalid> {
        let pools = pools(create.ip_pool, create.ip_pools)?;
        let mut subnets = vec![SubnetRequest {
            cidr: invalid::parse("cidr", &create.cidr)?,
            gateway_ip: gateway("gateway_ip", create.gateway_ip)?,
            pools,
            ipv6_mode: create.address_mode.map(Into::into),
        }];
        if let Some(ipv6) = create.ipv6 {
            subnets.push(SubnetRequest {
                cidr: invalid::parse("ipv6.cidr", &ipv6.cidr)?,
                gateway_ip: gateway("ipv6.gateway_ip", ipv6.gateway_ip)?,
                pools: ipv6.ip_pool.map(|pool| pool.parse("ipv6.ip_pool")).transpose()?.into_iter().collect(),
                ipv6_mode: Some(ipv6.address_mode.into()),
            });
        }
        let physical_network =
            create.external.map(|external| invalid::parse("external.physical_network", &external.physical_network));
        Ok(Self::Create(Box::new(network::CreateNetwork {
            name: invalid::name(&create.name)?,
            description: create.description,
            labels: invalid::labels("labels", create.labels)?,
            network_type: create.network_type.into(),
            segment_id: create.segment_id,
            physical_network: physical_network.transpose()?,
            mtu: create.mtu,
            subnets,
            dns_servers: addresses("dns_servers", &create.dns_servers)?,
            host_routes: host_routes(create.host_routes)?,
            dhcp: create.dhcp,
            port_security: create.port_security,
        })))
    }
}

impl UpdateNetwork {
    /// The command that this update of a network is.
    ///
    /// # Errors
    /// [`Invalid`] names the field.
    pub fn into_command(self, network: Reference) -> Result<NetworkCommand, Invalid> {
        let pools = match (self.ip_pool, self.ip_pools) {
            (None, None) => None,
            (Some(_), Some(_)) => return Err(Invalid::new("ip_pools", "give ip_pool or ip_pools, not both")),
            (one, several) => Some(pools(one, several.unwrap_or_default())?),
        };
        Ok(NetworkCommand::Update(Box::new(network::UpdateNetwork {
            network,
            change: meta::change(self.description, self.labels)?,
            mtu: self.mtu,
            dns_servers: self
                .dns_servers
                .map(|servers| addresses("dns_servers", &servers.unwrap_or_default()))
                .transpose()?,
            host_routes: self.host_routes.map(|routes| host_routes(routes.unwrap_or_default())).transpose()?,
            dhcp: self.dhcp,
            pools,
            port_security: self.port_security,
        })))
    }
}

impl IpPool {
    fn parse(&self, field: &str) -> Result<IpRange, Invalid> {
        let start = invalid::parse(&format!("{field}.start"), &self.start)?;
        let end = invalid::parse(&format!("{field}.end"), &self.end)?;
        IpRange::new(start, end).map_err(|error| Invalid::new(field, error))
    }

    fn of(range: IpRange) -> Self {
        Self { start: range.start().to_string(), end: range.end().to_string() }
    }
}

fn pools(one: Option<IpPool>, several: Vec<IpPool>) -> Result<Vec<IpRange>, Invalid> {
    match (one, several.is_empty()) {
        (Some(_), false) => Err(Invalid::new("ip_pools", "give ip_pool or ip_pools, not both")),
        (Some(pool), true) => Ok(vec![pool.parse("ip_pool")?]),
        (None, _) => several.iter().enumerate().map(|(at, pool)| pool.parse(&format!("ip_pools.{at}"))).collect(),
    }
}

/// An absent one is the model's to choose; `null` is none.
fn gateway(field: &str, given: Option<Option<String>>) -> Result<Option<Option<IpAddr>>, Invalid> {
    given.map(|given| given.map(|text| invalid::parse(field, &text)).transpose()).transpose()
}

fn addresses(field: &str, texts: &[String]) -> Result<Vec<IpAddr>, Invalid> {
    texts.iter().enumerate().map(|(at, text)| invalid::parse(&format!("{field}.{at}"), text)).collect()
}

fn host_routes(routes: Vec<HostRoute>) -> Result<Vec<network::HostRoute>, Invalid> {
    let parse = |(at, route): (usize, HostRoute)| {
        Ok(network::HostRoute {
            destination: invalid::parse::<Cidr>(&format!("host_routes.{at}.destination"), &route.destination)?,
            next_hop: invalid::parse(&format!("host_routes.{at}.next_hop"), &route.next_hop)?,
        })
    };
    routes.into_iter().enumerate().map(parse).collect()
}

impl Network {
    /// A network, what it waits for, and who holds its addresses.
    pub fn of(network: &network::Network, waiting: Option<ModelWaiting>, holders: BTreeMap<IpAddr, String>) -> Self {
        let spec = &network.spec;
        let attempts = network.realization.failure.as_ref().map_or(0, |failure| failure.attempt);
        let first = spec.subnets.first();
        let pools: Vec<IpPool> = first.map(shown_pools).unwrap_or_default();
        Self {
            meta: Meta::of(network.id.uuid(), &network.meta),
            state: network.realization.state.as_str().to_owned(),
            waiting: waiting.map(|waiting| Waiting::of(waiting, attempts)),
            network_type: spec.network_type.into(),
            segment_id: spec.segment_id,
            external: spec.physical_network.as_ref().map(|name| External { physical_network: name.to_string() }),
            reached_by: vec![],
            mtu: spec.mtu,
            cidr: first.map(|subnet| subnet.cidr.to_string()).unwrap_or_default(),
            gateway_ip: first.and_then(|subnet| subnet.gateway_ip).map(|address| address.to_string()),
            ip_pool: pools.first().cloned(),
            ip_pools: pools,
            address_mode: first.and_then(|subnet| subnet.ipv6_mode).map(Into::into),
            ipv6: spec.subnets.get(1).map(|subnet| Ipv6 {
                cidr: subnet.cidr.to_string(),
                gateway_ip: Some(subnet.gateway_ip.map(|address| address.to_string())),
                ip_pool: shown_pools(subnet).into_iter().next(),
                address_mode: subnet.ipv6_mode.unwrap_or_default().into(),
            }),
            dns_servers: spec.dns_servers.iter().map(ToString::to_string).collect(),
            host_routes: spec
                .host_routes
                .iter()
                .map(|route| HostRoute {
                    destination: route.destination.to_string(),
                    next_hop: route.next_hop.to_string(),
                })
                .collect(),
            dhcp: spec.dhcp,
            port_security: spec.port_security,
            addresses: holders
                .into_iter()
                .map(|(address, holder)| HeldAddress { ip: address.to_string(), holder })
                .collect(),
        }
    }
}

/// What addresses are given from: nothing where hosts make them.
fn shown_pools(subnet: &network::Subnet) -> Vec<IpPool> {
    match subnet.ipv6_mode {
        Some(network::Ipv6Mode::Slaac) => vec![],
        Some(network::Ipv6Mode::Dhcpv6Stateful) | None => subnet.pools.iter().map(|pool| IpPool::of(*pool)).collect(),
    }
}

impl From<NetworkType> for network::NetworkType {
    fn from(of: NetworkType) -> Self {
        match of {
            NetworkType::Vxlan => Self::Vxlan,
            NetworkType::Gre => Self::Gre,
            NetworkType::Geneve => Self::Geneve,
            NetworkType::Flat => Self::Flat,
            NetworkType::Vlan => Self::Vlan,
        }
    }
}

impl From<network::NetworkType> for NetworkType {
    fn from(of: network::NetworkType) -> Self {
        match of {
            network::NetworkType::Vxlan => Self::Vxlan,
            network::NetworkType::Gre => Self::Gre,
            network::NetworkType::Geneve => Self::Geneve,
            network::NetworkType::Flat => Self::Flat,
            network::NetworkType::Vlan => Self::Vlan,
        }
    }
}

impl From<AddressMode> for network::Ipv6Mode {
    fn from(of: AddressMode) -> Self {
        match of {
            AddressMode::Slaac => Self::Slaac,
            AddressMode::Dhcpv6Stateful => Self::Dhcpv6Stateful,
        }
    }
}

impl From<network::Ipv6Mode> for AddressMode {
    fn from(of: network::Ipv6Mode) -> Self {
        match of {
            network::Ipv6Mode::Slaac => Self::Slaac,
            network::Ipv6Mode::Dhcpv6Stateful => Self::Dhcpv6Stateful,
        }
    }
}
