//! Keypairs: public keys that VMs keep a copy of.

use super::KeypairCommand;
use crate::{
    builders::*,
    meta::MetaChange,
    vm::{CreateVm, VmKey},
};

fn update(keypair: &str, change: MetaChange) -> KeypairCommand {
    KeypairCommand::Update { keypair: keypair.into(), change }
}

fn remove(keypair: &str) -> KeypairCommand {
    KeypairCommand::Delete { keypair: keypair.into() }
}

#[test]
fn a_keypair_is_made_once_a_name() {
    let site = a_world();
    check(&site, a_keypair("you"), Ok(&["KeypairCreated"]));
    check(&site, a_keypair("me"), Err("name-taken name"));
    let long = KeypairCommand::Create {
        name: name("me"),
        description: too_long(),
        labels: crate::Labels::default(),
        key: a_key(),
    };
    check(&site, long, Err("invalid-value description"));
}

#[test]
fn description_and_labels_change_and_the_same_again_is_nothing() {
    let mut site = a_world();
    check(&site, update("none", described("x")), Err("not-found"));
    check(&site.clone().having_seen(9), update("me", described(&too_long())), Err("precondition-failed If-Match"));
    check(&site, update("me", described(&too_long())), Err("invalid-value description"));
    site.has(update("me", described("mine")));
    check(&site, update("me", described("mine")), Ok(&[]));
    assert_eq!(site.world.keypair(&"me".into()).unwrap().meta.generation.0, 2);
}

#[test]
fn a_vm_keeps_the_key_of_a_removed_keypair() {
    let mut site = a_world();
    site.has(CreateVm { keypair: Some("me".into()), ..a_vm("web") });
    check(&site, remove("none"), Err("not-found"));
    check(&site.clone().having_seen(9), remove("me"), Err("precondition-failed If-Match"));
    site.has(remove("me"));
    assert_eq!(site.vm("web").spec.keypair, Some(VmKey { name: name("me"), key: a_key() }));
    check(&site, a_keypair("me"), Ok(&["KeypairCreated"]));
}
