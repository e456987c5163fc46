//! What can be done with a VM, as it travels.

use edgestack_model::{
    command::Reference,
    security_group::membership::GroupsChange,
    vm::{NicChoice, VmCommand},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Invalid, invalid,
    vm_nic::{VmNetwork, groups},
};

/// Something to do with a VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
#[schema(example = json!({"action": "stop", "grace_seconds": 30}))]
pub enum VmAction {
    /// Runs it.
    Start {},
    /// Asks the guest to shut down; after the grace it is cut off.
    Stop {
        /// How long the guest may take, seconds; 60 if absent, 0 cuts it off at once.
        #[serde(default = "grace_seconds")]
        #[schema(maximum = 3600)]
        grace_seconds: u32,
    },
    /// Stops and starts it.
    Restart {},
    /// Holds its vCPUs.
    Pause {},
    /// Lets them go on.
    Unpause {},
    /// Changes the security groups of its NICs: sets all of them, adds some, removes some; at least one of the three.
    EditSecurityGroups {
        /// Of which NIC, from 0; of all if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        nic: Option<u32>,
        /// All groups, by name or id, in place of the present ones; empty: nothing passes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(max_items = 16)]
        security_groups: Option<Vec<String>>,
        /// Also these.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schema(max_items = 16)]
        add: Vec<String>,
        /// Not these.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schema(max_items = 16)]
        remove: Vec<String>,
    },
    /// Changes its NICs, while it runs, too.
    EditNic {
        /// Which NIC, from 0; all if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        nic: Option<u32>,
        /// Whether it is held to its own addresses.
        port_security: bool,
    },
    /// Gives it one more NIC, while it runs, too.
    AttachNic {
        /// The network's name or id.
        #[schema(min_length = 1, max_length = 255)]
        network: String,
        /// The IP address wished for; a free one of the network's pool if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(
            example = "10.0.0.20",
            pattern = "^((25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\\.){3}(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])$|^([0-9a-f]{1,4}:){7}[0-9a-f]{1,4}$|^([0-9a-f]{1,4}:){1,6}:[0-9a-f]{1,4}$"
        )]
        fixed_ip: Option<String>,
        /// The MAC address wished for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(
            example = "fa:16:3e:00:00:20",
            pattern = "^[0-9a-fA-F][02468aceACE](:[0-9a-fA-F]{2}){4}:([0-9a-fA-F][1-9a-fA-F]|[1-9a-fA-F]0)$"
        )]
        mac: Option<String>,
        /// Its security groups, by name or id; the group `default` if absent. None if empty: nothing passes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(max_items = 16)]
        security_groups: Option<Vec<String>>,
        /// Whether it is held to its own addresses; as the network has it if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port_security: Option<bool>,
    },
    /// Takes a NIC away, while it runs, too: by its number, or the only one on a network.
    DetachNic {
        /// Which NIC, by its number.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        nic: Option<u32>,
        /// The network's name or id, in place of the number.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(min_length = 1, max_length = 255)]
        network: Option<String>,
    },
    /// Looks at it and its disk again now, whatever they wait for. Needs a reason.
    Reconcile {},
    /// Forgets it, whatever is left of it on its node, where the usual removal can't end. Needs a reason.
    ForceRemove {},
}

const fn grace_seconds() -> u32 {
    60
}

impl VmAction {
    /// The command that this action on a VM is.
    ///
    /// # Errors
    /// [`Invalid`] names the field.
    pub fn into_command(self, vm: Reference) -> Result<VmCommand, Invalid> {
        Ok(match self {
            Self::Start {} => VmCommand::Start { vm },
            Self::Stop { grace_seconds } => VmCommand::Stop { vm, grace_seconds },
            Self::Restart {} => VmCommand::Restart { vm },
            Self::Pause {} => VmCommand::Pause { vm },
            Self::Unpause {} => VmCommand::Unpause { vm },
            Self::EditSecurityGroups { security_groups: None, add, remove, .. }
                if add.is_empty() && remove.is_empty() =>
            {
                return Err(Invalid::new("security_groups", "say which: give security_groups, add or remove"));
            }
            Self::EditSecurityGroups { nic, security_groups, add, remove } => {
                let change = GroupsChange {
                    set: security_groups.map(|named| groups("security_groups", named)).transpose()?,
                    add: groups("add", add)?,
                    remove: groups("remove", remove)?,
                };
                VmCommand::EditSecurityGroups { vm, nic, change }
            }
            Self::EditNic { nic, port_security } => VmCommand::EditNics { vm, nic, port_security },
            Self::AttachNic { network, fixed_ip, mac, security_groups, port_security } => {
                let nic = VmNetwork { network, fixed_ip, mac, security_groups, port_security }.into_request("")?;
                VmCommand::AttachNic { vm, nic }
            }
            Self::DetachNic { nic: Some(number), network: None } => {
                VmCommand::DetachNic { vm, nic: NicChoice::Number(number) }
            }
            Self::DetachNic { nic: None, network: Some(network) } => {
                VmCommand::DetachNic { vm, nic: NicChoice::Network(invalid::reference("network", network)?) }
            }
            Self::DetachNic { nic: None, network: None } => {
                return Err(Invalid::new("nic", "say which: give nic, its number, or network"));
            }
            Self::DetachNic { nic: Some(_), network: Some(_) } => {
                return Err(Invalid::new("nic", "give nic or network, not both"));
            }
            Self::Reconcile {} => VmCommand::Reconcile { vm },
            Self::ForceRemove {} => VmCommand::ForceRemove { vm },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn command(body: Value) -> Result<VmCommand, Invalid> {
        serde_json::from_value::<VmAction>(body).unwrap().into_command("web".into())
    }

    #[test]
    fn an_edit_of_groups_says_what_is_to_change() {
        let edit = json!({"action": "edit_security_groups", "nic": 1, "add": ["a"], "remove": ["b"]});
        let change = GroupsChange { set: None, add: vec!["a".into()], remove: vec!["b".into()] };
        assert_eq!(command(edit), Ok(VmCommand::EditSecurityGroups { vm: "web".into(), nic: Some(1), change }));
        let clear = json!({"action": "edit_security_groups", "security_groups": []});
        let change = GroupsChange { set: Some(vec![]), ..GroupsChange::default() };
        assert_eq!(command(clear), Ok(VmCommand::EditSecurityGroups { vm: "web".into(), nic: None, change }));
        for (edit, field) in [
            (json!({}), "security_groups"),
            (json!({"nic": 0}), "security_groups"),
            (json!({"security_groups": null, "add": []}), "security_groups"),
            (json!({"security_groups": ["a", ""]}), "security_groups.1"),
            (json!({"add": vec!["a"; 17]}), "add"),
            (json!({"remove": [""]}), "remove.0"),
        ] {
            let mut body = edit.clone();
            body["action"] = "edit_security_groups".into();
            assert_eq!(command(body).unwrap_err().field, field, "{edit}");
        }
    }

    #[test]
    fn a_nic_is_asked_for_as_on_create_and_detached_by_its_number_or_its_network() {
        let attach =
            json!({"action": "attach_nic", "network": "blue", "fixed_ip": "10.0.0.9", "security_groups": ["web"]});
        let Ok(VmCommand::AttachNic { nic, .. }) = command(attach) else { panic!("it attaches a NIC") };
        assert_eq!((nic.network, nic.fixed_ip), ("blue".into(), "10.0.0.9".parse().ok()));
        assert_eq!(nic.security_groups, Some(vec!["web".into()]));
        let detach = |nic| Ok(VmCommand::DetachNic { vm: "web".into(), nic });
        assert_eq!(command(json!({"action": "detach_nic", "nic": 1})), detach(NicChoice::Number(1)));
        assert_eq!(
            command(json!({"action": "detach_nic", "network": "blue"})),
            detach(NicChoice::Network("blue".into()))
        );
        for (body, field) in [
            (json!({"action": "attach_nic", "network": ""}), "network"),
            (json!({"action": "attach_nic", "network": "blue", "fixed_ip": "10.0.0"}), "fixed_ip"),
            (json!({"action": "attach_nic", "network": "blue", "mac": "x"}), "mac"),
            (json!({"action": "attach_nic", "network": "blue", "security_groups": [""]}), "security_groups.0"),
            (json!({"action": "detach_nic"}), "nic"),
            (json!({"action": "detach_nic", "nic": 1, "network": "blue"}), "nic"),
            (json!({"action": "detach_nic", "network": ""}), "network"),
        ] {
            assert_eq!(command(body.clone()).unwrap_err().field, field, "{body}");
        }
    }
}
