//! Security groups: the default one, who is in which, and when they can go.

use super::{CreateSecurityGroup, DEFAULT, SecurityGroupCommand, membership::GroupsChange};
use crate::{
    builders::*,
    realization::{RealizationReport, RealizationState},
    security_group_rule::{Direction, RemoteRequest, RuleRequest},
    vm::{CreateVm, VmCommand, VmReport},
};

fn remove(group: &str) -> SecurityGroupCommand {
    SecurityGroupCommand::Delete { group: group.into(), cascade: false }
}

fn cascade(group: &str) -> SecurityGroupCommand {
    SecurityGroupCommand::Delete { group: group.into(), cascade: true }
}

fn edit(vm: &str, nic: Option<u32>, change: GroupsChange) -> VmCommand {
    VmCommand::EditSecurityGroups { vm: vm.into(), nic, change }
}

fn set(groups: &[&str]) -> GroupsChange {
    GroupsChange { set: Some(groups.iter().map(|group| (*group).into()).collect()), ..GroupsChange::default() }
}

/// A world with network `blue`, groups `web` and `db`, and VM `a` with a NIC in `web`.
fn a_world_with_groups() -> Site {
    let mut site = a_world();
    site.has(a_network("blue", "10.0.0.0/24"));
    site.has(a_group("web"));
    site.has(a_group("db"));
    site.has(CreateVm { networks: vec![a_nic_in("blue", &["web"])], ..a_vm("a") });
    site
}

fn groups_of(site: &Site, vm: &str) -> Vec<Vec<String>> {
    let name = |id| site.world.security_groups[id].meta.name.to_string();
    site.vm(vm).nics.iter().map(|nic| nic.security_groups.iter().flatten().map(name).collect()).collect()
}

#[test]
fn a_new_group_lets_all_out_unless_it_says_otherwise() {
    let mut site = a_world();
    let events = site.has(a_group("web"));
    let two_rules = ["SecurityGroupCreated", "SecurityGroupRuleCreated", "SecurityGroupRuleCreated"];
    assert_eq!(types(&events), two_rules);
    let rules: Vec<_> = site.world.rules_of(site.group("web").id).collect();
    assert!(rules.iter().all(|rule| rule.spec.direction == Direction::Egress));
    let names: Vec<_> = rules.iter().map(|rule| rule.meta.name.as_str()).collect();
    assert!(names.contains(&"web-egress-ipv4") && names.contains(&"web-egress-ipv6"), "{names:?}");
    check(&site, CreateSecurityGroup { rules: Some(vec![]), ..a_group("shut") }, Ok(&["SecurityGroupCreated"]));
    check(&site, a_group("web"), Err("name-taken name"));
    check(&site, CreateSecurityGroup { description: too_long(), ..a_group("b") }, Err("invalid-value description"));
}

#[test]
fn a_nic_for_which_no_group_is_named_is_in_the_default_one_which_is_made_once() {
    let mut site = a_world();
    site.has(a_network("blue", "10.0.0.0/24"));
    site.has(a_vm_on("a", &["blue", "blue"]));
    assert_eq!(groups_of(&site, "a"), [[DEFAULT], [DEFAULT]]);
    assert_eq!(site.world.rules_of(site.group(DEFAULT).id).count(), 4);
    site.has(CreateVm { networks: vec![a_nic_in("blue", &[DEFAULT])], ..a_vm("b") });
    assert_eq!(groups_of(&site, "b"), [[DEFAULT]]);
    assert_eq!(site.world.security_groups.len(), 1);
    check(&site, SecurityGroupCommand::EnsureDefault {}, Ok(&[]));
    check(&site, remove(DEFAULT), Err("wrong-state"));
    check(&site, cascade(DEFAULT), Err("wrong-state"));
    // Named before it is there.
    let mut site = a_world();
    site.has(a_network("blue", "10.0.0.0/24"));
    site.has(CreateVm { networks: vec![a_nic_in("blue", &[DEFAULT])], ..a_vm("a") });
    assert_eq!(groups_of(&site, "a"), [[DEFAULT]]);
    let mut site = a_world();
    assert_eq!(site.has(SecurityGroupCommand::EnsureDefault {}).len(), 5);
}

#[test]
fn a_nics_groups_are_there_and_stay() {
    let mut site = a_world_with_groups();
    let vm = |groups: &[&str]| CreateVm { networks: vec![a_nic_in("blue", groups)], ..a_vm("b") };
    check(&site, vm(&["web", "nope"]), Err("reference-not-found networks.0.security_groups.1"));
    let many: Vec<String> = (0..17).map(|n| format!("g{n}")).collect();
    many.iter().for_each(|group| drop(site.has(a_group(group))));
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    check(&site, vm(&many), Err("invalid-value networks.0.security_groups"));
    check(&site, edit("a", None, set(&many)), Err("invalid-value security_groups"));
    site.has(vm(&["web", "db", "web"]));
    assert_eq!(groups_of(&site, "b"), [["web", "db"]]);
    site.has(remove("g0"));
    check(&site, edit("b", None, set(&["g0"])), Err("wrong-state"));
    site.has(CreateVm { name: name("none"), ..vm(&[]) });
    assert_eq!(site.vm("none").nics[0].security_groups, Some(vec![]));
}

#[test]
fn groups_of_a_vm_are_changed_of_all_nics_or_of_one() {
    let mut site = a_world_with_groups();
    site.has(CreateVm { networks: vec![a_nic_in("blue", &["web"]), a_nic_in("blue", &["db"])], ..a_vm("b") });
    site.has(site.told("b", VmReport::NicsReady { numbers: vec![0, 1] }));
    let changed = "VmNicSecurityGroupsChanged";
    let add = |group: &str| GroupsChange { add: vec![group.into()], ..GroupsChange::default() };
    let without = |group: &str| GroupsChange { remove: vec![group.into()], ..GroupsChange::default() };
    check(&site, edit("b", None, add("db")), Ok(&[changed]));
    check(&site, edit("b", Some(1), add("db")), Ok(&[]));
    check(&site, edit("b", None, set(&["db"])), Ok(&[changed]));
    check(&site, edit("b", None, without("web")), Ok(&[changed]));
    check(&site, edit("b", Some(2), set(&[])), Err("reference-not-found nic"));
    check(&site, edit("b", None, add("nope")), Err("reference-not-found add.0"));
    check(&site, edit("b", None, GroupsChange { remove: vec!["db".into()], ..add("db") }), Err("invalid-value remove"));
    site.has(edit("b", Some(0), add("db")));
    assert_eq!(groups_of(&site, "b"), [vec!["web", "db"], vec!["db"]]);
    let ready: Vec<bool> = site.vm("b").nics.iter().map(|nic| nic.ready).collect();
    assert_eq!(ready, [false, true], "the nodes work by the old groups until they say otherwise");
    site.has(a_vm("alone"));
    check(&site, edit("alone", None, set(&[])), Err("wrong-state"));
}

#[test]
fn a_group_in_use_goes_by_cascade_only() {
    let mut site = a_world_with_groups();
    check(&site, remove("web"), Err("in-use"));
    let about_web = RuleRequest { remote: RemoteRequest::Group("web".into()), ..a_rule() };
    site.has(a_rule_of("db", about_web));
    let refusal = site.decide(&remove("web").into()).unwrap_err().to_string();
    assert!(refusal.contains("vm \"a\"") && refusal.contains("security_group_rule \"db-ingress-ipv4\""), "{refusal}");
    let goes = "SecurityGroupRuleDeleteRequested";
    check(&site, cascade("web"), Ok(&["VmNicSecurityGroupsChanged", goes, goes, goes, "SecurityGroupDeleteRequested"]));
    site.has(cascade("web"));
    assert_eq!(groups_of(&site, "a"), [[""; 0]]);
    check(&site, remove("web"), Ok(&[]));
    let gone = site.told_of_group("web", RealizationReport::Removed);
    let gone_rule = "SecurityGroupRuleDeleted";
    check(&site, gone.clone(), Ok(&[gone_rule, gone_rule, "SecurityGroupDeleted"]));
    site.has(gone);
    // A rule that is about it may be told as gone later.
    assert_eq!(site.world.unsound(), None);
    site.has(site.told_of_rule("db-ingress-ipv4", RealizationReport::Removed));
    site.has(a_group("web"));
}

#[test]
fn a_group_is_ready_when_the_nodes_say_so_and_goes_by_force_where_they_never_do() {
    let mut site = a_world_with_groups();
    site.has(site.told_of_group("db", RealizationReport::Realized));
    assert_eq!(site.group("db").realization.state, RealizationState::Active);
    let drifted = RealizationReport::Drifted { what: vec!["a row".into()] };
    check(&site, site.told_of_group("db", drifted), Ok(&["SecurityGroupDrifted"]));
    let force = || SecurityGroupCommand::ForceRemove { group: "db".into() };
    check(&site, force(), Err("reason-required EdgeStack-Reason"));
    check(&site.clone().because("gone"), force(), Err("force-not-needed"));
    site.has(remove("db"));
    site.has(site.told_of_group("db", RealizationReport::AttemptFailed(failed("remove"))));
    let by_force = "SecurityGroupRuleForceRemoved";
    check(&site.because("gone"), force(), Ok(&[by_force, by_force, "SecurityGroupForceRemoved"]));
}
