//! What compensates a NIC's coming and going.

use edgestack_model::{
    Id, World,
    event::{Fact, VmEvent},
    vm::{Nic, NicStage, Vm},
};
use serde_json::json;

use super::{again, compensate::Looking, floating_ips, load_balancers, security_groups};

/// A NIC that was attached goes.
pub(super) fn attached(looking: &mut Looking<'_>, number: u32) {
    let is_new =
        looking.commit.events.iter().any(|event| {
            event.resource_id == looking.id() && matches!(event.fact, Fact::Vm(VmEvent::VmCreated { .. }))
        });
    if is_new || !looking.lives() {
        return;
    }
    let id = looking.id();
    match nic_of(looking.now, looking, number) {
        None => looking.already(format!("NIC {number} is gone")),
        Some((_, nic)) if nic.stage == NicStage::Leaving => {
            looking.already(format!("NIC {number} is on its way out"));
        }
        Some(_) => {
            let (body, line) =
                (json!({"action": "detach_nic", "nic": number}), format!("edgectl detach-nic {id} --nic {number}"));
            looking.change(&format!("detach NIC {number}"), "POST", "/action", Some(body), Some(line));
        }
    }
}

/// A NIC of the same addresses, if nobody else has them by now, in the place of one that went.
pub(super) fn detached(looking: &mut Looking<'_>, number: u32) {
    if !looking.lives() {
        return;
    }
    if nic_of(looking.now, looking, number).is_some() {
        return looking.changed_since(format!("NIC {number} is still on its way out; ask again once it is gone"));
    }
    let Some((vm, gone)) = nic_of(looking.before, looking, number).map(|(vm, nic)| (vm.clone(), nic.clone())) else {
        return;
    };
    let Some(network) = again::network_by(looking, gone.spec.network) else {
        return looking.cannot(format!("one like NIC {number} can't be made: its network is gone"));
    };
    let mut wish = again::on_network(looking.now, &gone);
    if wish["network"].is_null() {
        wish["network"] = network;
    }
    let groups = security_groups::named_again(looking, &gone);
    let mut line =
        format!("edgectl attach-nic {} --network {}", looking.id(), wish["network"].as_str().unwrap_or_default());
    for (word, field) in [("ip", "fixed_ip"), ("mac", "mac")] {
        if let Some(address) = wish[field].as_str() {
            line.push_str(&format!(",{word}={address}"));
        }
    }
    if let Some(port_security) = wish["port_security"].as_bool() {
        line.push_str(&format!(",port-security={}", on_or_off(port_security)));
    }
    groups.iter().flatten().for_each(|group| line.push_str(&format!(",sg={group}")));
    // A NIC in no group is no word of the command line.
    let line = groups.as_ref().is_none_or(|groups| !groups.is_empty()).then_some(line);
    if let Some(groups) = groups {
        wish["security_groups"] = json!(groups);
    }
    wish["action"] = json!("attach_nic");
    looking.change(&format!("attach one like NIC {number}"), "POST", "/action", Some(wish), line);
    floating_ips::lead_to_new(looking, &vm, Some(number));
    load_balancers::join_again(looking, &vm, Some(number));
    looking.cannot("the new NIC has another number, and is another device to the guest");
}

/// A NIC is held to its addresses, or not, as before.
pub(super) fn edited(looking: &mut Looking<'_>, number: u32) {
    if !looking.lives() {
        return;
    }
    let worlds = [looking.before, looking.after, looking.now];
    // One that was attached goes as a whole.
    let [Some(before), Some(after), Some(now)] =
        worlds.map(|world| nic_of(world, looking, number).map(|(_, nic)| nic.port_security))
    else {
        return;
    };
    if now == before {
        return looking.already(format!("port security of NIC {number} is {} as before", on_or_off(before)));
    }
    if now != after {
        return looking.changed_since(format!("port security of NIC {number} changed since, and is left as it is"));
    }
    let (id, word) = (looking.id(), on_or_off(before));
    let body = json!({"action": "edit_nic", "nic": number, "port_security": before});
    let line = format!("edgectl edit-vm-nic {id} --nic {number} --port-security {word}");
    looking.change(&format!("port security of NIC {number} {word} again"), "POST", "/action", Some(body), Some(line));
}

const fn on_or_off(port_security: bool) -> &'static str {
    if port_security { "on" } else { "off" }
}

fn nic_of<'w>(world: &'w World, looking: &Looking<'_>, number: u32) -> Option<(&'w Vm, &'w Nic)> {
    let vm = world.vms.get(&Id::new(looking.id()))?;
    vm.nics.iter().find(|nic| nic.spec.number == number).map(|nic| (vm.as_ref(), nic))
}
