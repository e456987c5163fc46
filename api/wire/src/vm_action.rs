//! What can be done with a VM, as it travels.

use edgestack_model::{command::Reference, security_group::membership::GroupsChange, vm::VmCommand};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Invalid, vm_nic::groups};

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
}
