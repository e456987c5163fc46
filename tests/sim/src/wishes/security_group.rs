//! Security groups and rules that clients wish for, and NICs in them.

use edgestack_model::{
    Command, Labels, World,
    command::Reference,
    meta::MetaChange,
    security_group::{CreateSecurityGroup, DEFAULT, SecurityGroupCommand, membership::GroupsChange},
    security_group_rule::{
        CreateRule, Direction, EtherType, Ports, Protocol, RemoteRequest, RuleRequest, SecurityGroupRuleCommand,
    },
    vm::VmCommand,
};

use crate::random::Random;

/// Those that they know.
const GROUPS: [&str; 4] = ["group-0", "group-1", "group-2", DEFAULT];

/// Anything about groups and their rules.
pub fn a_wish(random: &Random, world: &World) -> Command {
    match random.below(24) {
        0..7 => Command::SecurityGroup(SecurityGroupCommand::Create(Box::new(some_group(random)))),
        7..14 => {
            let create = CreateRule { group: a_group(random), rule: some_rule(random) };
            Command::SecurityGroupRule(SecurityGroupRuleCommand::Create(Box::new(create)))
        }
        14..18 => {
            Command::SecurityGroupRule(SecurityGroupRuleCommand::Delete { rule: one_of_the_rules(random, world) })
        }
        18..22 => {
            let cascade = random.per_mille(500);
            Command::SecurityGroup(SecurityGroupCommand::Delete { group: a_group(random), cascade })
        }
        22 => {
            Command::SecurityGroup(SecurityGroupCommand::Update { group: a_group(random), change: other_words(random) })
        }
        _ => {
            let (rule, change) = (one_of_the_rules(random, world), other_words(random));
            Command::SecurityGroupRule(SecurityGroupRuleCommand::Update { rule, change })
        }
    }
}

/// Other groups for a VM's NICs, mostly one that has some; at times of a NIC that it doesn't have, or such as contradict
/// each other.
pub fn an_edit(random: &Random, world: &World, any: Reference) -> Command {
    let with_nics: Vec<_> = world.vms.values().filter(|vm| !vm.nics.is_empty()).collect();
    let vm =
        if with_nics.is_empty() || random.per_mille(100) { any } else { Reference::id(random.one_of(&with_nics).id) };
    let there: Vec<Reference> = world.security_groups.keys().map(|group| Reference::id(*group)).collect();
    let some = || match there.is_empty() || random.per_mille(100) {
        true => some_groups(random),
        false => (0..random.below(3)).map(|_| random.one_of(&there).clone()).collect(),
    };
    let mut change = GroupsChange::default();
    match random.below(8) {
        0..3 => change.set = Some(some()),
        3..5 => change.add = some(),
        5..7 => change.remove = some(),
        _ => (change.add, change.remove) = (some(), some()),
    }
    let nic = random.per_mille(400).then(|| u32::try_from(random.below(3)).unwrap());
    Command::Vm(VmCommand::EditSecurityGroups { vm, nic, change })
}

/// The groups of a new NIC: mostly none is named.
pub fn of_a_nic(random: &Random) -> Option<Vec<Reference>> {
    random.per_mille(350).then(|| some_groups(random))
}

/// A group with these rules, or with those that one has by itself.
pub fn a_group_of(name: &str, rules: Option<Vec<RuleRequest>>) -> CreateSecurityGroup {
    CreateSecurityGroup { name: name.parse().unwrap(), description: String::new(), labels: Labels::default(), rules }
}

/// All of a family that comes from somebody.
pub fn a_rule(ether_type: EtherType, remote: RemoteRequest) -> RuleRequest {
    RuleRequest {
        name: None,
        description: String::new(),
        labels: Labels::default(),
        direction: Direction::Ingress,
        ether_type,
        protocol: Protocol::Any,
        remote,
    }
}

fn a_group(random: &Random) -> Reference {
    (*random.one_of(&GROUPS)).into()
}

/// None, one or two.
fn some_groups(random: &Random) -> Vec<Reference> {
    (0..random.below(3)).map(|_| a_group(random)).collect()
}

fn some_group(random: &Random) -> CreateSecurityGroup {
    let rules = random.per_mille(600).then(|| (0..random.below(4)).map(|_| some_rule(random)).collect());
    a_group_of(random.one_of::<&str>(&GROUPS), rules)
}

/// Such as cannot be, too: a prefix of the other family, a code without its type, a group that isn't there.
fn some_rule(random: &Random) -> RuleRequest {
    let remote = match random.below(8) {
        0..2 => RemoteRequest::Any,
        2..5 => RemoteRequest::Group(a_group(random)),
        _ => {
            let prefixes = ["10.0.0.0/30", "10.0.1.0/24", "192.0.2.0/24", "0.0.0.0/0", "fd00:9::/64", "::/0"];
            RemoteRequest::Prefix(random.one_of(&prefixes).parse().unwrap())
        }
    };
    let mut rule = a_rule(*random.one_of(&[EtherType::Ipv4, EtherType::Ipv4, EtherType::Ipv6]), remote);
    rule.name = random.per_mille(200).then(|| format!("rule-{}", random.below(4)).parse().unwrap());
    rule.direction = *random.one_of(&[Direction::Ingress, Direction::Egress]);
    let ports = *random.one_of(&[None, Some((22, 22)), Some((80, 90)), Some((8000, 8100))]);
    let ports = ports.map(|(min, max)| Ports::new(min, max).unwrap());
    rule.protocol = match random.below(9) {
        0..3 => Protocol::Any,
        3..5 => Protocol::Tcp { ports },
        5 => Protocol::Udp { ports },
        6 => Protocol::Sctp { ports },
        7 => {
            let (icmp_type, icmp_code) =
                *random.one_of(&[(None, None), (Some(8), None), (Some(3), Some(4)), (None, Some(0))]);
            Protocol::Icmp { icmp_type, icmp_code }
        }
        _ => Protocol::Number { number: *random.one_of(&[1, 6, 47, 58, 132]) },
    };
    rule
}

/// Most have made-up names, so one is chosen by what there is.
fn one_of_the_rules(random: &Random, world: &World) -> Reference {
    let rules: Vec<_> = world.security_group_rules.keys().collect();
    if rules.is_empty() { "rule-0".into() } else { Reference::id(**random.one_of(&rules)) }
}

fn other_words(random: &Random) -> MetaChange {
    MetaChange { description: Some(random.below(9).to_string()), labels: None }
}
