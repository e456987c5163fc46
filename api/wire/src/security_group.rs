//! Security groups as they travel.

use std::collections::BTreeMap;

use edgestack_model::{
    Waiting as ModelWaiting,
    command::Reference,
    security_group::{self as model, SecurityGroupCommand},
    security_group_rule::RULES_MAX,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    Invalid, invalid,
    meta::{Meta, Waiting},
    security_group_rule::{RuleRequest, SecurityGroupRule},
};

/// A security group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecurityGroup {
    /// Identity and bookkeeping.
    #[serde(flatten)]
    pub meta: Meta,
    /// `creating`, `active`, `updating`, `deleting`.
    #[schema(example = "active")]
    pub state: String,
    /// What it waits for, while it is not where it should be.
    pub waiting: Option<Waiting>,
    /// What it lets through, in order of age. What no rule lets through is dropped.
    pub rules: Vec<SecurityGroupRule>,
    /// The NICs that are in it.
    pub members: Vec<Member>,
}

/// A NIC that is in a security group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Member {
    /// The VM's name.
    pub vm: String,
    /// The VM.
    pub vm_id: Uuid,
    /// Which of the VM's NICs, from 0.
    pub nic: u32,
}

/// A security group to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "name": "web",
    "rules": [{"direction": "ingress", "protocol": "tcp", "port_range_min": 443}, {"direction": "egress"}],
}))]
pub struct CreateSecurityGroup {
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
    /// Its first rules, none if empty. If absent all that its NICs send is let through, and the answers to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 200)]
    pub rules: Option<Vec<RuleRequest>>,
}

/// Something to do with a security group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
#[schema(example = json!({"action": "reconcile"}))]
pub enum SecurityGroupAction {
    /// Looks at it again now, whatever it waits for. Needs a reason.
    Reconcile {},
    /// Forgets it with its rules, whatever is left of it in the virtual network, where the usual removal can't end. Needs
    /// a reason.
    ForceRemove {},
}

impl SecurityGroupAction {
    /// The command that this action on a group is.
    pub fn into_command(self, group: Reference) -> SecurityGroupCommand {
        match self {
            Self::Reconcile {} => SecurityGroupCommand::Reconcile { group },
            Self::ForceRemove {} => SecurityGroupCommand::ForceRemove { group },
        }
    }
}

impl TryFrom<CreateSecurityGroup> for SecurityGroupCommand {
    type Error = Invalid;
    fn try_from(create: CreateSecurityGroup) -> Result<Self, Invalid> {
        let name = invalid::name(&create.name)?;
        let labels = invalid::labels("labels", create.labels)?;
        if let Some(rules) = create.rules.as_ref().filter(|rules| rules.len() > RULES_MAX) {
            let (got, most) = (rules.len(), RULES_MAX);
            return Err(Invalid::new("rules", format_args!("a group has at most {most} rules, got {got}")));
        }
        let parse = |(at, rule): (usize, RuleRequest)| rule.parse(&format!("rules.{at}."));
        let rules = create.rules.map(|rules| rules.into_iter().enumerate().map(parse).collect()).transpose()?;
        Ok(Self::Create(Box::new(model::CreateSecurityGroup { name, description: create.description, labels, rules })))
    }
}

impl SecurityGroup {
    /// A group, what it waits for, its rules, and who is in it.
    pub fn of(
        group: &model::SecurityGroup,
        waiting: Option<ModelWaiting>,
        rules: Vec<SecurityGroupRule>,
        members: Vec<Member>,
    ) -> Self {
        let attempts = group.realization.failure.as_ref().map_or(0, |failure| failure.attempt);
        Self {
            meta: Meta::of(group.id.uuid(), &group.meta),
            state: group.realization.state.as_str().to_owned(),
            waiting: waiting.map(|waiting| Waiting::of(waiting, attempts)),
            rules,
            members,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn command(body: Value) -> Result<SecurityGroupCommand, Invalid> {
        serde_json::from_value::<CreateSecurityGroup>(body).unwrap().try_into()
    }

    #[test]
    fn absent_rules_are_left_to_the_model_and_empty_ones_are_none() {
        let rules_of = |body: Value| match command(body) {
            Ok(SecurityGroupCommand::Create(create)) => create.rules.map(|rules| rules.len()),
            other => panic!("{other:?}"),
        };
        assert_eq!(rules_of(json!({"name": "web"})), None);
        assert_eq!(rules_of(json!({"name": "web", "rules": null})), None);
        assert_eq!(rules_of(json!({"name": "web", "rules": []})), Some(0));
        assert_eq!(rules_of(json!({"name": "web", "rules": [{"direction": "egress"}]})), Some(1));
    }

    #[test]
    fn a_wrong_rule_is_told_by_its_place() {
        let fine = json!({"direction": "egress"});
        let wrong = json!({"direction": "egress", "protocol": "x"});
        let error = command(json!({"name": "web", "rules": [fine, wrong]})).unwrap_err();
        assert_eq!(error.field, "rules.1.protocol");
        let error = command(json!({"name": "web", "rules": vec![fine; 201]})).unwrap_err();
        assert_eq!(error.field, "rules");
    }
}
