//! NICs of VMs as they travel.

use edgestack_model::{
    command::Reference,
    security_group::membership::GROUPS_MAX,
    vm::{self, NicState},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{Invalid, invalid};

/// A NIC of a VM on a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VmNic {
    /// Which of the VM's, from 0.
    pub number: u32,
    /// The network's name.
    pub network: String,
    /// The network.
    pub network_id: Uuid,
    /// Its first IP address.
    #[schema(example = "10.0.0.2")]
    pub fixed_ip: String,
    /// All of its IP addresses, one a prefix of the network.
    pub addresses: Vec<String>,
    /// Its MAC address.
    #[schema(example = "fa:16:3e:00:00:01")]
    pub mac: String,
    /// The names of its security groups; empty: nothing passes. Null where the NIC is from a time before there were any:
    /// everything passes, until its groups are set.
    pub security_groups: Option<Vec<String>>,
    /// Whether it is held to its own addresses: nothing leaves by it under another's, and nothing comes to it that is for an
    /// address which nobody on the network has.
    #[serde(default = "yes")]
    pub port_security: bool,
    /// Whether the nodes work by it.
    pub ready: bool,
    /// Where it is: in the VM (`attached`), not in the running VM yet (`attaching`), in it from its next start
    /// (`awaits_start`), or on its way out (`detaching`).
    #[serde(default = "attached")]
    #[schema(example = "attached")]
    pub state: String,
}

/// What servers that don't tell of it mean.
const fn yes() -> bool {
    true
}

/// What servers that tell no state mean.
fn attached() -> String {
    NicState::Attached.as_str().to_owned()
}

/// A network that a VM is to be on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VmNetwork {
    /// The network's name or id.
    #[schema(min_length = 1, max_length = 255)]
    pub network: String,
    /// The IP address wished for; a free one of the network's pool if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(
        example = "10.0.0.20",
        pattern = "^((25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\\.){3}(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])$|^([0-9a-f]{1,4}:){7}[0-9a-f]{1,4}$|^([0-9a-f]{1,4}:){1,6}:[0-9a-f]{1,4}$"
    )]
    pub fixed_ip: Option<String>,
    /// The MAC address wished for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(
        example = "fa:16:3e:00:00:20",
        pattern = "^[0-9a-fA-F][02468aceACE](:[0-9a-fA-F]{2}){4}:([0-9a-fA-F][1-9a-fA-F]|[1-9a-fA-F]0)$"
    )]
    pub mac: Option<String>,
    /// Its security groups, by name or id; the group `default` if absent. None if empty: nothing passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 16)]
    pub security_groups: Option<Vec<String>>,
    /// Whether it is held to its own addresses; as the network has it if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_security: Option<bool>,
}

impl VmNetwork {
    /// What the model takes; `field` stands before the names of its fields in the request.
    pub(crate) fn into_request(self, field: &str) -> Result<vm::NicRequest, Invalid> {
        let parse_ip = |text: &String| invalid::parse(&format!("{field}fixed_ip"), text);
        Ok(vm::NicRequest {
            network: invalid::reference(&format!("{field}network"), self.network)?,
            fixed_ip: self.fixed_ip.as_ref().map(parse_ip).transpose()?,
            mac: self.mac.map(|text| invalid::parse(&format!("{field}mac"), &text)).transpose()?,
            security_groups: self
                .security_groups
                .map(|named| groups(&format!("{field}security_groups"), named))
                .transpose()?,
            port_security: self.port_security,
        })
    }
}

/// Security groups of a NIC, by name or id.
pub(crate) fn groups(field: &str, named: Vec<String>) -> Result<Vec<Reference>, Invalid> {
    if named.len() > GROUPS_MAX {
        let got = named.len();
        return Err(Invalid::new(field, format_args!("a NIC is in at most {GROUPS_MAX} groups, got {got}")));
    }
    named.into_iter().enumerate().map(|(at, name)| invalid::reference(&format!("{field}.{at}"), name)).collect()
}
