//! The pool on a real engine: what is asked for comes to be, what others do is told and mended, and nothing is written
//! without need.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

#[path = "pool/site.rs"]
mod site;
mod world;

use std::sync::atomic::Ordering;

use edgestack_model::{
    Command,
    event::Fact,
    meta::MetaChange,
    network::NetworkEvent,
    security_group::{CreateSecurityGroup, SecurityGroupCommand, SecurityGroupEvent, membership::GroupsChange},
    security_group_rule::{Direction, EtherType, SecurityGroupRuleEvent},
    vm::{VmCommand, VmEvent, port_name},
};
use edgestack_ovn::ovsdb::Value;
use edgestack_worker_gateway::{
    driver::NorthboundDriver as _,
    plan::Change,
    rows::{Key, Table},
};
use site::{NEVER, OFTEN, Site, Step, eventually};
use world::{a_group, a_nic, a_nic_in, a_rule, create_group, create_vm, reconcile, remove, remove_vm, update};

fn switch(site: &Site, network: &str) -> Key {
    Key::new(Table::LogicalSwitch, site.world().network(&network.into()).unwrap().id.to_string())
}

fn port(site: &Site, vm: &str) -> Key {
    Key::new(Table::LogicalSwitchPort, port_name(site.world().vm(&vm.into()).unwrap().id, 0))
}

#[tokio::test]
async fn a_network_and_its_nics_come_to_be_and_go() {
    let site = Site::with_pool(NEVER).await;
    site.has_network("blue", "10.0.0.0/24").await;
    site.await_state("blue", "active").await;
    site.has(create_vm("web", &[a_nic("blue"), a_nic("blue")])).await;
    site.await_ready("web").await;
    site.settles().await;
    assert_eq!(
        site.story().await,
        ["blue NetworkBecameReady", "web VmNicBecameReady", "web VmNicBecameReady"],
        "each is told once"
    );
    site.has(remove_vm("web")).await;
    site.has(remove("blue")).await;
    site.await_state("blue", "gone").await;
    let left = site.driver.sim.rows().await.unwrap().rows;
    assert!(left.values().all(|row| row.label.starts_with("default")), "the default group stays: {left:?}");
    let end = site.story().await.split_off(3);
    assert_eq!(end, ["blue NetworkDeleteRequested", "blue NetworkDeleted"]);
}

#[tokio::test]
async fn a_change_goes_by_updating_and_back() {
    let site = Site::with_pool(NEVER).await;
    site.has_network("blue", "10.0.0.0/24").await;
    site.has_vm("web", &["blue"]).await;
    site.settles().await;
    site.driver.hold();
    site.has(update("blue", |update| update.mtu = Some(1300))).await;
    site.driver.held.notified().await;
    assert_eq!(site.state("blue"), "updating", "until the nodes have said so");
    site.driver.let_go();
    site.await_state("blue", "active").await;
    site.settles().await;
    site.has(update("blue", |update| update.dhcp = Some(false))).await;
    site.await_state("blue", "active").await;
    site.settles().await;
    let rows = site.driver.sim.rows().await.unwrap().rows;
    assert!(!rows.keys().any(|key| key.table == Table::DhcpOptions));
    let end = site.story().await.split_off(2);
    let once = ["blue NetworkUpdated", "blue NetworkBecameReady"];
    assert_eq!(end, [once, once].concat(), "and NICs are not asked anew");
}

/// Somebody does this; that event and its end follow, and all is as wished.
async fn check(site: &Site, doing: impl FnOnce(), event: &str, what: &str) {
    let since = site.story().await.len();
    doing();
    let again = if event.ends_with("VmNicDrifted") { "web VmNicBecameReady" } else { "blue NetworkBecameReady" };
    site.await_story(since, &[event, again]).await;
    site.settles().await;
    let drifted = site.events().await.into_iter().rev().find_map(|(_, fact)| match fact {
        Fact::Network(NetworkEvent::NetworkDrifted { what }) | Fact::Vm(VmEvent::VmNicDrifted { what, .. }) => {
            Some(what)
        }
        _ => None,
    });
    assert_eq!(drifted, Some(vec![what.to_owned()]));
}

#[tokio::test]
async fn what_others_remove_or_change_is_told_and_mended() {
    let site = Site::with_pool(OFTEN).await;
    site.has_network("blue", "10.0.0.0/24").await;
    site.has_network("red", "10.0.0.0/24").await;
    site.has_vm("web", &["blue"]).await;
    site.settles().await;
    let blue = site.world().network(&"blue".into()).unwrap().id;
    let (switch, port, sim) = (switch(&site, "blue"), port(&site, "web"), &site.driver.sim);
    let names = Key::new(Table::Dns, blue.to_string());
    let options = Key::new(Table::DhcpOptions, format!("{blue}-0"));
    let unknown = Value::text("unknown");
    let (network, nic) = ("blue NetworkDrifted", "web VmNicDrifted");
    check(&site, || sim.others_remove_row(&port), nic, "the port is gone").await;
    check(&site, || sim.others_set(&port, "addresses", unknown), nic, "the port's addresses changed").await;
    let column = "dhcpv4_options";
    check(&site, || sim.others_clear(&port, column), nic, "the port's dhcpv4_options changed").await;
    check(&site, || sim.others_remove_row(&switch), network, "the logical switch is gone").await;
    check(&site, || sim.others_clear(&switch, "ports"), network, "the logical switch's ports changed").await;
    check(&site, || sim.others_remove_row(&options), network, "the DHCP entry is gone").await;
    let records = Value::map([("web", "192.0.2.66")]);
    check(&site, || sim.others_set(&names, "records", records), network, "the DNS entry's records changed").await;
}

#[tokio::test]
async fn nothing_is_mended_before_it_is_told() {
    let site = Site::with_pool(OFTEN).await;
    site.has_network("blue", "10.0.0.0/24").await;
    site.settles().await;
    site.looks(1).await;
    site.reports_are_away(true);
    let writes = site.driver.writes();
    site.driver.sim.others_remove_row(&switch(&site, "blue"));
    site.looks(5).await;
    assert_eq!(site.driver.writes(), writes);
    site.reports_are_away(false);
    site.await_story(1, &["blue NetworkDrifted", "blue NetworkBecameReady"]).await;
    site.settles().await;
}

#[tokio::test]
async fn names_that_follow_from_new_vms_are_nobodys_doing() {
    let mut site = Site::with_pool(OFTEN).await;
    site.has_network("blue", "10.0.0.0/24").await;
    for number in 0..5 {
        site.has_vm(&format!("vm{number}"), &["blue"]).await;
        site.settles().await;
    }
    // The same where the pool that wrote the names is another one than the one that finds them otherwise.
    site.stop_pool().await;
    site.has_vm("late", &["blue"]).await;
    site.has(remove_vm("vm0")).await;
    site.start_pool();
    site.settles().await;
    site.looks(2).await;
    let story = site.story().await;
    assert!(!story.iter().any(|event| event.contains("Drifted")), "{story:?}");
}

#[tokio::test]
async fn a_pool_that_starts_tells_of_what_others_did_meanwhile() {
    let mut site = Site::with_pool(OFTEN).await;
    site.has_network("blue", "10.0.0.0/24").await;
    site.has_vm("web", &["blue"]).await;
    site.settles().await;
    site.stop_pool().await;
    site.driver.sim.others_remove_row(&port(&site, "web"));
    site.start_pool();
    site.await_story(2, &["web VmNicDrifted", "web VmNicBecameReady"]).await;
    site.settles().await;
}

#[tokio::test]
async fn an_emptied_database_is_filled_again_in_one_write_and_nobody_is_told() {
    let site = Site::with_pool(OFTEN).await;
    for network in ["blue", "red"] {
        site.has_network(network, "10.0.0.0/24").await;
    }
    for number in 0..10 {
        site.has_vm(&format!("vm{number}"), &["blue", "red"]).await;
    }
    site.settles().await;
    site.looks(1).await;
    let (writes, story) = (site.driver.writes(), site.story().await);
    site.driver.sim.others_empty();
    eventually("it is filled", || site.driver.writes() > writes).await;
    site.looks(5).await;
    assert_eq!(site.driver.writes(), writes + 1);
    assert_eq!(site.story().await, story);
    site.settles().await;
}

#[tokio::test]
async fn an_attempt_that_fails_is_told_with_its_pause_and_ends_well() {
    futures::future::join_all(Step::ALL.map(fails_at)).await;
}

async fn fails_at(step: Step) {
    let site = Site::with_pool(NEVER).await;
    site.driver.fails_at(Some(step));
    site.has_network("blue", "10.0.0.0/24").await;
    let failed = "blue NetworkAttemptFailed";
    site.await_story(0, &[failed, failed, failed]).await;
    // The failures that it tells wake it for no look.
    let looks = site.driver.looks.load(Ordering::SeqCst);
    assert!(looks <= 6, "{step:?}: {looks} looks for three attempts");
    site.driver.fails_at(None);
    site.await_state("blue", "active").await;
    site.settles().await;
    let failures = site.events().await.into_iter().filter_map(|(_, fact)| match fact {
        Fact::Network(NetworkEvent::NetworkAttemptFailed { failure }) => Some(failure),
        _ => None,
    });
    let failures: Vec<_> = failures.collect();
    assert_eq!(failures.len(), 3);
    for (attempt, failure) in (1..).zip(&failures) {
        assert_eq!((failure.attempt, failure.step.as_str()), (attempt, step.as_str()));
        assert_eq!((&*failure.reason, failure.fix.as_deref()), (&*format!("no {}", step.as_str()), Some("wait")));
        assert_eq!((failure.next_attempt_at - failure.at).num_seconds(), 1 << (attempt - 1));
    }
    for (before, failure) in failures.iter().zip(&failures[1..]) {
        let late = failure.at - before.next_attempt_at;
        assert!((0..500).contains(&late.num_milliseconds()), "tried {late} after the time that people were told");
    }
}

#[tokio::test]
async fn a_wish_ends_the_pause_after_a_failure() {
    let site = Site::with_pool(NEVER).await;
    site.driver.fails_at(Some(Step::Write));
    site.has_network("blue", "10.0.0.0/24").await;
    let failed = "blue NetworkAttemptFailed";
    site.await_story(0, &[failed, failed, failed]).await;
    site.driver.fails_at(None);
    let begun = std::time::Instant::now();
    site.has_network("red", "10.0.0.0/24").await;
    site.settles().await;
    assert!(begun.elapsed().as_secs() < 2, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn what_the_nodes_confirm_after_an_attempt_was_given_up_is_told_when_they_do() {
    let site = Site::with_pool(NEVER).await;
    eventually("the default group is there", || !site.world().security_groups.is_empty()).await;
    site.settles().await;
    let writes = site.driver.writes();
    site.driver.fails_at(Some(Step::Realize));
    site.has_network("blue", "10.0.0.0/24").await;
    let failed = "blue NetworkAttemptFailed";
    // The pause after the third is four seconds.
    site.await_story(0, &[failed, failed, failed]).await;
    let writes = writes + 3;
    assert_eq!(site.driver.writes(), writes);
    // To be woken without a confirmation is no attempt. (The look that begins second tells that the first has ended.)
    site.driver.wakes().await;
    site.driver.wakes().await;
    site.await_story(3, &[]).await;
    site.driver.fails_at(None);
    site.driver.wakes().await;
    site.await_story(3, &["blue NetworkBecameReady"]).await;
    assert_eq!(site.driver.writes(), writes, "told before the next attempt, which would have written");
    site.settles().await;
}

#[tokio::test]
async fn who_asks_for_another_look_has_it_at_once() {
    let site = Site::with_pool(NEVER).await;
    site.has_network("blue", "10.0.0.0/24").await;
    site.settles().await;
    site.driver.sim.others_remove_row(&switch(&site, "blue"));
    site.has(reconcile("blue")).await;
    let drifted = ["blue NetworkReconcileRequested", "blue NetworkDrifted", "blue NetworkBecameReady"];
    site.await_story(1, &drifted).await;
    site.settles().await;
}

#[tokio::test]
async fn a_wish_that_changed_while_it_was_written_is_looked_at_again() {
    let site = Site::with_pool(NEVER).await;
    site.has_network("blue", "10.0.0.0/24").await;
    site.settles().await;
    site.driver.hold();
    site.has_vm("web", &["blue"]).await;
    site.driver.held.notified().await;
    // Nothing of it concerns the virtual network; but the report is about the wish before it.
    let change = MetaChange { description: Some("another".to_owned()), labels: None };
    let update = VmCommand::Update { vm: "web".into(), change, run_strategy: None, node_selector: None };
    site.has(Command::Vm(update)).await;
    site.driver.let_go();
    site.await_ready("web").await;
    // Of a network it is the same.
    site.driver.hold();
    site.has(world::update("blue", |update| update.mtu = Some(1300))).await;
    site.driver.held.notified().await;
    site.has(world::update("blue", |update| update.change.description = Some("another".to_owned()))).await;
    site.driver.let_go();
    site.settles().await;
}

#[tokio::test]
async fn a_pool_that_ends_anywhere_is_followed_by_another() {
    let mut site = Site::with_pool(NEVER).await;
    for round in 0..12_u32 {
        let (network, vm) = (format!("n{round}"), format!("vm{round}"));
        site.driver.hold();
        site.has_network(&network, "10.0.0.0/24").await;
        site.has_vm(&vm, &[&network]).await;
        if round > 1 {
            site.has(remove_vm(&format!("vm{}", round - 2))).await;
            site.has(remove(&format!("n{}", round - 2))).await;
        }
        if round % 3 == 0 {
            // In the midst of a write that the nodes have not confirmed.
            site.driver.held.notified().await;
        } else {
            // Anywhere.
            tokio::time::sleep(std::time::Duration::from_micros(u64::from(round) * 150)).await;
        }
        site.stop_pool().await;
        site.driver.let_go();
        site.start_pool();
        eventually("all is settled", || {
            site.is_ready(&vm) && site.state(&network) == "active" && site.replica.world().networks.len() <= 2
        })
        .await;
        site.settles().await;
    }
    let story = site.story().await;
    assert!(!story.iter().any(|event| event.contains("Drifted")), "{story:?}");
}

#[tokio::test]
async fn where_nothing_changed_nothing_is_written() {
    let mut site = Site::with_pool(OFTEN).await;
    site.has_network("blue", "10.0.0.0/24").await;
    site.has_vm("web", &["blue"]).await;
    site.settles().await;
    site.looks(1).await;
    let (writes, events) = (site.driver.writes(), site.events().await.len());
    site.looks(10).await;
    site.stop_pool().await;
    site.start_pool();
    site.looks(3).await;
    assert_eq!(site.driver.writes(), writes, "neither on the beat nor at a start");
    assert_eq!(site.events().await.len(), events);
    site.has(update("blue", |update| update.change.description = Some("words".to_owned()))).await;
    site.looks(2).await;
    assert_eq!(site.driver.writes(), writes, "words are not OVN's");
}

#[tokio::test]
async fn many_wishes_at_once_take_few_writes() {
    let site = Site::with_pool(NEVER).await;
    site.has_network("blue", "10.0.0.0/24").await;
    site.settles().await;
    let before = site.driver.writes();
    site.driver.hold();
    site.has_vm("first", &["blue"]).await;
    site.driver.held.notified().await;
    for number in 0..50 {
        site.has_vm(&format!("vm{number}"), &["blue"]).await;
    }
    site.driver.let_go();
    site.settles().await;
    let writes = site.driver.writes.lock().unwrap().split_off(before);
    let inserted =
        |changes: &Vec<Change>| changes.iter().filter(|change| matches!(change, Change::Insert { .. })).count();
    let ports: Vec<usize> = writes.iter().map(inserted).filter(|count| *count > 0).collect();
    assert_eq!(ports, [1, 50]);
}

fn group(site: &Site, name: &str) -> Key {
    Key::new(Table::PortGroup, site.world().security_group(&name.into()).unwrap().id.to_string())
}

/// The one rule of a group.
fn rule(site: &Site, group: &str) -> Key {
    let world = site.world();
    let group = world.security_group(&group.into()).unwrap().id;
    Key::new(Table::Acl, world.rules_of(group).next().unwrap().id.to_string())
}

#[tokio::test]
async fn a_security_group_its_rules_and_its_nics_come_to_be_and_go() {
    let site = Site::with_pool(NEVER).await;
    site.has_network("blue", "10.0.0.0/24").await;
    let to_web = a_rule(Direction::Ingress, EtherType::Ipv4);
    site.has(create_group(CreateSecurityGroup { rules: Some(vec![to_web]), ..a_group("web") })).await;
    site.has(create_vm("one", &[a_nic("blue")])).await;
    site.await_ready("one").await;
    site.settles().await;
    let ports = async || {
        let rows = site.driver.sim.rows().await.unwrap().rows;
        rows[&group(&site, "web")].references.get("ports").map_or(0, |ports| ports.len())
    };
    assert_eq!(ports().await, 0);
    let change = GroupsChange { set: Some(vec!["web".into()]), ..GroupsChange::default() };
    site.has(Command::Vm(VmCommand::EditSecurityGroups { vm: "one".into(), nic: None, change })).await;
    site.await_ready("one").await;
    assert_eq!(ports().await, 1);
    let cascade = SecurityGroupCommand::Delete { group: "web".into(), cascade: true };
    site.has(Command::SecurityGroup(cascade)).await;
    eventually("the group is gone with its rule", || {
        let world = site.world();
        world.security_groups.len() == 1 && world.security_group_rules.len() == 4 && world.unsound().is_none()
    })
    .await;
    let rows = site.driver.sim.rows().await.unwrap().rows;
    assert!(!rows.values().any(|row| row.label.contains("web")), "{rows:?}");
}

#[tokio::test]
async fn what_others_do_to_a_group_is_told_to_whom_it_belongs() {
    let site = Site::with_pool(OFTEN).await;
    site.has_network("blue", "10.0.0.0/24").await;
    let to_web = a_rule(Direction::Ingress, EtherType::Ipv4);
    site.has(create_group(CreateSecurityGroup { rules: Some(vec![to_web]), ..a_group("web") })).await;
    site.has(create_vm("one", &[a_nic_in("blue", &["web"])])).await;
    site.await_ready("one").await;
    site.settles().await;
    let (group, rule, sim) = (group(&site, "web"), rule(&site, "web"), &site.driver.sim);
    let told = async |deed: &dyn Fn()| {
        let before = site.events().await.len();
        deed();
        let mut told = None;
        let deadline = std::time::Instant::now() + site::DEADLINE;
        while told.is_none() && std::time::Instant::now() < deadline {
            let events = site.events().await.into_iter().skip(before);
            told = events.filter_map(|(name, fact)| drift_of(&name, fact)).next();
            tokio::time::sleep(OFTEN).await;
        }
        site.settles().await;
        told.unwrap()
    };
    assert_eq!(told(&|| sim.others_remove_row(&rule)).await, "web-ingress-ipv4: the ACL is gone");
    let anything = Value::text("ip4");
    assert_eq!(
        told(&|| sim.others_set(&rule, "match", anything.clone())).await,
        "web-ingress-ipv4: the ACL's match changed"
    );
    assert_eq!(told(&|| sim.others_clear(&group, "ports")).await, "web: the port group's ports changed");
}

fn drift_of(name: &str, fact: Fact) -> Option<String> {
    let what = match fact {
        Fact::SecurityGroup(SecurityGroupEvent::SecurityGroupDrifted { what })
        | Fact::SecurityGroupRule(SecurityGroupRuleEvent::SecurityGroupRuleDrifted { what }) => what,
        _ => return None,
    };
    Some(format!("{name}: {}", what.join("; ")))
}
