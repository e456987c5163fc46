//! NICs that come and go while their VM lives.

use crate::{
    builders::*,
    floating_ip::{AssociationRequest, CreateFloatingIp},
    network::{NetworkCommand, UpdateNetwork},
    vm::{Instance, NICS_MAX, NicChoice, NicRequest, NicState, Target, VmCommand, VmReport},
};

fn attach(vm: &str, nic: NicRequest) -> VmCommand {
    VmCommand::AttachNic { vm: vm.into(), nic }
}

fn detach(vm: &str, number: u32) -> VmCommand {
    VmCommand::DetachNic { vm: vm.into(), nic: NicChoice::Number(number) }
}

fn detach_from(vm: &str, network: &str) -> VmCommand {
    VmCommand::DetachNic { vm: vm.into(), nic: NicChoice::Network(network.into()) }
}

fn failed_nic(number: u32) -> VmReport {
    VmReport::NicAttemptFailed { number, failed: failed("unplug") }
}

/// Networks `blue` and `red`, and VM `web` on `blue`.
fn a_world_with_nics() -> Site {
    let mut site = a_world();
    site.has(a_network("blue", "10.0.0.0/24"));
    site.has(a_network("red", "10.1.0.0/24"));
    site.has(a_vm_on("web", &["blue"]));
    site
}

fn a_world_that_runs() -> Site {
    let mut site = a_world_with_nics();
    site.runs("web");
    site
}

/// Number, state and first address of each NIC.
fn nics(site: &Site) -> Vec<(u32, NicState, String)> {
    let vm = site.vm("web");
    vm.nics.iter().map(|nic| (nic.spec.number, vm.nic_state(nic), nic.spec.addresses[0].to_string())).collect()
}

const ATTACHED: [&str; 2] = ["VmNicAttached", "VmNicSecurityGroupsChanged"];

#[test]
fn a_nic_is_attached_to_what_runs_and_is_there_when_its_node_says_so() {
    let mut site = a_world_that_runs();
    let generation = site.vm("web").meta.generation;
    check(&site, attach("web", a_nic("red")), Ok(&ATTACHED));
    site.has(attach("web", a_nic("red")));
    assert_eq!(site.vm("web").meta.generation, generation.next());
    let groups = site.vm("web").nics[1].security_groups.as_ref().unwrap();
    assert_eq!(site.world.security_groups[&groups[0]].meta.name.as_str(), "default");
    let is = |state| [(0, NicState::Attached, "10.0.0.2".into()), (1, state, "10.1.0.2".into())];
    assert_eq!(nics(&site), is(NicState::Attaching));
    let waiting = site.vm("web").waiting(&site.world).unwrap();
    assert_eq!(waiting.reason, "NIC 1 is being put into the VM");
    check(&site, site.told("web", VmReport::NicPlugged { number: 0 }), Ok(&[]));
    check(&site, site.told("web", VmReport::NicPlugged { number: 7 }), Ok(&[]));
    site.has(site.told("web", VmReport::NicPlugged { number: 1 }));
    assert_eq!(nics(&site), is(NicState::Attached));
    assert_eq!(site.vm("web").waiting(&site.world), None);
    check(&site, site.told("web", VmReport::NicPlugged { number: 1 }), Ok(&[]));
    // Its guest, or somebody, took it out.
    check(&site, site.told("web", failed_nic(1)), Ok(&["VmNicAttemptFailed"]));
    site.has(site.told("web", failed_nic(1)));
    assert_eq!(nics(&site), is(NicState::Attaching));
    assert!(site.vm("web").waiting(&site.world).unwrap().next_attempt_at.is_some());
}

#[test]
fn addresses_stay_held_until_the_node_has_let_go_and_numbers_are_never_given_again() {
    let mut site = a_world_that_runs();
    site.has(attach("web", a_nic("red")));
    site.has(site.told("web", VmReport::NicPlugged { number: 1 }));
    check(&site, site.told("web", VmReport::NicUnplugged { number: 1 }), Ok(&[]));
    check(&site, detach("web", 1), Ok(&["VmNicDetachRequested"]));
    site.has(detach("web", 1));
    check(&site, detach("web", 1), Ok(&[]));
    check(&site, detach_from("web", "red"), Ok(&[]));
    let wished = |address: &str| NicRequest { fixed_ip: Some(address.parse().unwrap()), ..a_nic("red") };
    check(&site, attach("web", wished("10.1.0.2")), Err("address-in-use fixed_ip"));
    check(&site, NetworkCommand::Delete { network: "red".into(), cascade: false }, Err("in-use"));
    site.has(site.told("web", failed_nic(1)));
    site.has(site.told("web", failed_nic(1)));
    let failure = site.vm("web").nics[1].failure.clone().unwrap();
    assert_eq!((failure.attempt, nics(&site)[1].1), (2, NicState::Detaching));
    // A guest that has booted meanwhile is asked at once.
    let up = VmReport::GuestAgentConnected { hostname: "web".into(), operating_system: "Debian".into() };
    site.has(site.told("web", up));
    assert_eq!(site.vm("web").nics[1].failure, None);
    site.has(site.told("web", VmReport::NicUnplugged { number: 1 }));
    assert_eq!(nics(&site).len(), 1);
    site.has(attach("web", wished("10.1.0.2")));
    assert_eq!(nics(&site)[1], (2, NicState::Attaching, "10.1.0.2".into()));
}

#[test]
fn a_stopped_vm_gets_and_loses_a_nic_at_once() {
    let mut site = a_world_with_nics();
    let gone = ["VmNicDetachRequested", "VmNicDetached"];
    // It has a place, and may be starting: its node has to say that it is gone.
    check(&site, detach("web", 0), Ok(&["VmNicDetachRequested"]));
    site.has(stop("web", 0));
    check(&site, detach("web", 0), Ok(&gone));
    site.has(attach("web", a_nic("red")));
    assert_eq!(nics(&site)[1].1, NicState::Attached);
    site.has(detach_from("web", "blue"));
    assert_eq!(nics(&site), [(1, NicState::Attached, "10.1.0.2".into())]);
    assert_eq!(site.vm("web").target, Target::Stopped { grace_seconds: 0 });
}

#[test]
fn what_was_started_before_nics_could_come_gets_them_with_its_next_start() {
    let mut site = a_world_with_nics();
    site.runs("web");
    let old = || Instance { nics: None, pid: 9, ..site.an_instance("web") };
    site.has(site.told("web", VmReport::Started(old())));
    site.has(attach("web", a_nic("red")));
    assert_eq!(nics(&site)[1].1, NicState::AwaitsStart);
    let waiting = site.vm("web").waiting(&site.world).unwrap();
    assert!(waiting.reason.ends_with("NIC 1 comes with its next start"), "{}", waiting.reason);
    assert_eq!(waiting.fix.as_deref(), Some("edgectl restart-vm web"));
    check(&site, site.told("web", failed_nic(1)), Ok(&[]));
    check(&site, detach("web", 1), Ok(&["VmNicDetachRequested", "VmNicDetached"]));
    check(&site, detach("web", 0), Ok(&["VmNicDetachRequested"]));
    site.has(restart("web"));
    site.has(site.told("web", stopped(crate::vm::StoppedHow::Graceful)));
    site.runs("web");
    assert_eq!(nics(&site)[1].1, NicState::Attached);
}

#[test]
fn which_nic_is_meant_has_to_be_clear_and_there_are_not_too_many() {
    let mut site = a_world_that_runs();
    check(&site, detach("web", 1), Err("reference-not-found nic"));
    check(&site, detach_from("web", "green"), Err("reference-not-found network"));
    check(&site, detach_from("web", "red"), Err("reference-not-found network"));
    check(&site, attach("web", a_nic("green")), Err("reference-not-found network"));
    check(&site, attach("web", a_nic_in("red", &["none"])), Err("reference-not-found security_groups.0"));
    site.has(attach("web", a_nic("blue")));
    check(&site, detach_from("web", "blue"), Err("wrong-state"));
    let refusal = site.try_do(detach_from("web", "blue")).unwrap_err().to_string();
    assert!(refusal.contains("with NICs 0, 1"), "{refusal}");
    site.has(detach("web", 0));
    check(&site, detach_from("web", "blue"), Ok(&["VmNicDetachRequested"]));
    while site.vm("web").nics.len() < NICS_MAX {
        site.has(attach("web", a_nic("red")));
    }
    check(&site, attach("web", a_nic("red")), Err("wrong-state"));
    site.has(delete("web"));
    check(&site, attach("web", a_nic("red")), Err("wrong-state"));
    check(&site, detach("web", 2), Err("wrong-state"));
}

#[test]
fn floating_ips_that_lead_to_a_nic_lead_nowhere_from_its_detachment_on() {
    let mut site = a_world_that_runs();
    site.has(an_outside("outside", "192.0.2.0/24"));
    site.has(attach("web", a_nic("red")));
    site.has(a_router_with("edge", &["blue", "red"], Some("outside")));
    let leading_to = |ip: &str, fixed_ip: &str| CreateFloatingIp {
        name: Some(name(ip)),
        to: Some(AssociationRequest { vm: "web".into(), fixed_ip: fixed_ip.parse().ok() }),
        ..a_floating_ip()
    };
    site.has(leading_to("one", "10.0.0.2"));
    site.has(leading_to("two", "10.1.0.2"));
    check(&site, detach("web", 1), Ok(&["VmNicDetachRequested", "FloatingIpDisassociated"]));
    site.has(detach("web", 1));
    assert!(site.floating_ip("one").association.is_some() && site.floating_ip("two").association.is_none());
    check(&site, leading_to("three", "10.1.0.2"), Err("invalid-value fixed_ip"));
}

#[test]
fn a_nic_is_held_to_its_addresses_unless_it_or_its_network_says_otherwise() {
    let mut site = a_world_with_nics();
    let secured = |site: &Site| -> Vec<bool> { site.vm("web").nics.iter().map(|nic| nic.port_security).collect() };
    let edit = |nic: Option<u32>, port_security| VmCommand::EditNics { vm: "web".into(), nic, port_security };
    let asked = |port_security: bool| NicRequest { port_security: Some(port_security), ..a_nic("red") };
    let unsecured = [ATTACHED.as_slice(), &["VmNicPortSecurityChanged"]].concat();
    check(&site, attach("web", asked(true)), Ok(&ATTACHED));
    check(&site, attach("web", asked(false)), Ok(&unsecured));
    // The network's word is for those that come.
    let on_network = |on| UpdateNetwork { port_security: Some(on), ..a_network_update("red") };
    site.has(attach("web", a_nic("red")));
    check(&site, on_network(true), Ok(&[]));
    site.has(on_network(false));
    check(&site, attach("web", a_nic("red")), Ok(&unsecured));
    check(&site, attach("web", asked(true)), Ok(&ATTACHED));
    site.has(attach("web", a_nic("red")));
    assert_eq!(secured(&site), [true, true, false]);

    let numbers = [0, 1, 2];
    site.has(site.told("web", VmReport::NicsReady { numbers: numbers.into() }));
    check(&site, edit(None, true), Ok(&["VmNicPortSecurityChanged"]));
    check(&site, edit(Some(0), true), Ok(&[]));
    check(&site, edit(Some(7), true), Err("reference-not-found nic"));
    let generation = site.vm("web").meta.generation;
    site.has(edit(Some(0), false));
    assert_eq!((secured(&site), site.vm("web").meta.generation), (vec![false, true, false], generation.next()));
    let ready: Vec<bool> = site.vm("web").nics.iter().map(|nic| nic.ready).collect();
    assert_eq!(ready, [false, true, true], "what changed is to be made so");
    site.has(a_vm("alone"));
    let alone = VmCommand::EditNics { vm: "alone".into(), nic: None, port_security: true };
    check(&site, alone, Err("wrong-state"));
}

#[test]
fn what_starts_with_a_nic_that_was_detached_meanwhile_is_known_without_it() {
    let mut site = a_world_with_nics();
    site.has(attach("web", a_nic("red")));
    // Its process begins, and its node cannot say so; the VM is stopped before anybody hears of it.
    let begun = Instance { nics: Some(vec![0, 1]), ..site.an_instance("web") };
    site.has(stop("web", 0));
    site.has(detach("web", 1));
    site.has(start("web"));
    site.has(site.told("web", VmReport::Started(begun.clone())));
    let known = site.vm("web").power.instance().unwrap().clone();
    assert_eq!(known.nics, Some(vec![0]));
    check(&site, site.told("web", VmReport::Started(begun)), Ok(&[]));
    check(&site, site.told("web", VmReport::NicUnplugged { number: 1 }), Ok(&[]));
}
