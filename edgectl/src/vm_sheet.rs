//! How a VM looks to people.

use edgestack_model::Kind;
use edgestack_wire::{
    meta::{Meta, Waiting},
    vm::{RunStrategy, SshEndpoint, Vm},
};

use crate::{
    clock, node,
    output::{self, Cell, Sheet, View},
    resource::{self, Shown},
};

impl Shown for Vm {
    const KIND: Kind = Kind::Vm;
    const WHEN_EMPTY: &'static str = "no VMs yet; make one: edgectl create-vm hello --image IMAGE --flavor FLAVOR (see edgectl list-images, edgectl list-flavors)";

    fn headers(wide: bool) -> Vec<&'static str> {
        let mut headers = vec!["NAME", "STATE", "NODE", "IMAGE", "FLAVOR", "SSH"];
        if wide {
            headers.extend(["VCPUS", "MEMORY", "DISK", "TARGET", "WAITING", "LABELS", "ID"]);
        }
        headers.push("AGE");
        headers
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn row(&self, view: &View) -> Vec<Cell> {
        let mut state = Cell::state(&self.state);
        if self.simulated {
            state.text.push_str(",simulated");
        }
        let mut row: Vec<Cell> = vec![
            self.meta.name.as_str().into(),
            state,
            self.node.clone().unwrap_or_default().into(),
            self.image.as_str().into(),
            self.flavor.as_str().into(),
            self.ssh.as_ref().map(|ssh| format!("{}:{}", ssh.host, ssh.port)).unwrap_or_default().into(),
        ];
        if view.wide {
            let waiting = self.waiting.as_ref();
            row.extend([
                self.vcpus.to_string().into(),
                output::mebibytes(self.memory_mib).into(),
                format!("{} GiB", self.boot_disk.size_gib).into(),
                self.target.as_str().into(),
                waiting.map(|w| format!("{}: {}", w.owner, w.reason)).unwrap_or_default().into(),
                output::labels(&self.meta.labels).into(),
                self.meta.id.to_string().into(),
            ]);
        }
        row.push(view.age(self.meta.created_at).into());
        row
    }

    fn sheet(&self, view: &View) -> Sheet {
        let mut sheet = resource::sheet_of(&self.meta, Some(Cell::state(&self.state)), view);
        sheet.pair("shall be", self.target.as_str());
        if self.simulated {
            sheet.pair("simulated", node::simulated_note());
        }
        if let Some(waiting) = &self.waiting {
            waiting_section(&mut sheet, waiting, view);
        }
        sheet.section("Made from");
        sheet.pair("image", named(&self.image, self.image_id, view));
        sheet.pair("flavor", named(&self.flavor, self.flavor_id, view));
        sheet.pair("vcpus", self.vcpus.to_string());
        sheet.pair("memory", output::mebibytes(self.memory_mib));
        sheet.pair_if("keypair", self.keypair.as_deref());
        let user_data = self.user_data.as_ref();
        sheet.pair_if("user data", user_data.map(|data| format!("{}, kept sealed", output::bytes(data.length_bytes))));
        sheet.pair("run strategy", run_strategy(self.run_strategy));
        placement(&mut sheet, self, view);
        if let Some(guest) = &self.guest {
            sheet.section("Guest");
            sheet.pair("hostname", guest.hostname.as_str());
            sheet.pair("operating system", guest.operating_system.as_str());
            sheet.pair("agent since", view.time(guest.since));
        }
        if let Some(stop) = &self.last_stop {
            sheet.section("Last stop");
            sheet.pair("how", stop.how.replace('_', " "));
            sheet.pair("detail", stop.detail.as_str());
            sheet.pair("at", view.time(stop.at));
        }
        node::conditions(&mut sheet, &self.conditions, view);
        sheet
    }

    fn state(&self) -> Option<&str> {
        Some(&self.state)
    }
}

/// Where it is, and what it has there.
fn placement(sheet: &mut Sheet, vm: &Vm, view: &View) {
    sheet.section("Place");
    sheet.pair("node", vm.node.clone().unwrap_or_else(|| "none yet".to_owned()));
    if !vm.node_selector.is_empty() {
        sheet.pair("node selector", output::labels(&vm.node_selector));
    }
    if let Some(instance) = &vm.instance {
        sheet.pair("runs as", format!("{} ({}), pid {}", instance.hypervisor, instance.accelerator, instance.pid));
        sheet.pair("running since", view.time(instance.started_at));
    }
    sheet.section("Disk");
    let disk = &vm.boot_disk;
    sheet.pair("size", format!("{} GiB", disk.size_gib));
    sheet.pair_if("state", disk.state.as_deref().map(Cell::state));
    sheet.pair_if("volume", disk.volume.as_deref());
    if view.wide {
        sheet.pair_if("volume id", disk.volume_id.map(|id| id.to_string()));
    }
    if !vm.volumes.is_empty() {
        sheet.pair("further volumes", vm.volumes.join(", "));
    }
    sheet.section("Network");
    for nic in vm.networks.iter().filter(|nic| !nic.ready) {
        sheet.pair("not made yet", format!("NIC {} on {}", nic.number, nic.network));
    }
    for nic in vm.networks.iter().filter(|nic| nic.state != "attached") {
        sheet.pair(&nic.state.replace('_', " "), format!("NIC {} on {}", nic.number, nic.network));
    }
    for nic in &vm.networks {
        let groups = match nic.security_groups.as_deref() {
            None => "none was there yet: everything passes".to_owned(),
            Some([]) => "none: nothing passes".to_owned(),
            Some(groups) => groups.join(", "),
        };
        sheet.pair("security groups", format!("{groups} (NIC {} on {})", nic.number, nic.network));
    }
    for nic in vm.networks.iter().filter(|nic| !nic.port_security) {
        sheet.pair("port security", format!("off (NIC {} on {})", nic.number, nic.network));
    }
    for address in &vm.addresses {
        sheet.pair("address", format!("{} on {}, mac {}", address.ip, address.network, address.mac));
    }
    for address in &vm.floating_ips {
        sheet.pair("floating IP", address.as_str());
    }
    if let Some(ssh) = &vm.ssh {
        let guest = vm.guest.as_ref().map(|guest| guest.operating_system.as_str());
        sheet.pair("log in (on its node)", ssh_command(ssh, guest));
    }
}

fn named(name: &str, id: impl std::fmt::Display, view: &View) -> String {
    if view.wide { format!("{name} ({id})") } else { name.to_owned() }
}

/// What a resource waits for, as a section.
pub fn waiting_section(sheet: &mut Sheet, waiting: &Waiting, view: &View) {
    sheet.section("Waiting");
    sheet.pair("for", waiting.owner.as_str());
    sheet.pair("because", waiting.reason.as_str());
    sheet.pair_if("fix", waiting.fix.as_deref());
    if waiting.attempts > 0 {
        sheet.pair("attempts in vain", waiting.attempts.to_string());
    }
    let next = match waiting.next_attempt_at {
        Some(at) if view.wide => clock::exact(at),
        Some(at) if at > view.now => {
            format!("{} (in {})", clock::local(at), clock::span(at - view.now))
        }
        Some(at) => format!("{} (now due)", clock::local(at)),
        None => "as soon as it is possible".to_owned(),
    };
    sheet.pair("next attempt", next);
}

fn run_strategy(strategy: RunStrategy) -> &'static str {
    match strategy {
        RunStrategy::Always => "always (started again after each stop that nobody asked for)",
        RunStrategy::RerunOnFailure => "rerun-on-failure (started again after a crash)",
        RunStrategy::Manual => "manual (only people start it)",
        RunStrategy::Halted => "halted (the first start makes it always)",
    }
}

/// The command to log in with, with the user that the system's cloud image lets in.
/// Source: cloud-init, "system_info.default_user" of each distribution's configuration.
fn ssh_command(ssh: &SshEndpoint, operating_system: Option<&str>) -> String {
    const USERS: [(&str, &str); 7] = [
        ("debian", "debian"),
        ("ubuntu", "ubuntu"),
        ("fedora", "fedora"),
        ("rocky", "rocky"),
        ("almalinux", "almalinux"),
        ("centos", "cloud-user"),
        ("alpine", "alpine"),
    ];
    let system = operating_system.unwrap_or_default().to_lowercase();
    let user = USERS.iter().find(|(word, _)| system.contains(word)).map_or("USER", |(_, user)| user);
    format!("ssh -p {} {user}@{}", ssh.port, ssh.host)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use chrono::DateTime;

    /// A running VM as the API shows it.
    pub fn a_vm() -> Vm {
        serde_json::from_str(include_str!("../tests/canned/vm.json")).unwrap()
    }

    fn view() -> View {
        View { wide: false, colour: false, now: DateTime::from_timestamp(1_790_000_600, 0).unwrap() }
    }

    #[test]
    fn the_sheet_tells_state_place_and_how_to_log_in() {
        let text = a_vm().sheet(&view()).render(false);
        for part in [
            "name                    hello\n",
            "state                   running\n",
            "ssh -p 22000 debian@127.0.0.1",
            "QEMU 10.0.2 (tcg), pid 4242",
            "10.0.2.15 on user-nat",
            "GuestAgentConnected   yes: it answered",
            "4 GiB",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        assert!(!text.contains("Waiting"), "{text}");
    }

    #[test]
    fn a_waiting_vm_says_who_why_when_and_what_helps() {
        let mut vm = a_vm();
        vm.state = "back_off".to_owned();
        vm.instance = None;
        vm.guest = None;
        vm.waiting = Some(Waiting {
            owner: "worker.vm@edge-1".to_owned(),
            reason: "QEMU: cannot allocate memory".to_owned(),
            fix: Some("stop another VM".to_owned()),
            next_attempt_at: DateTime::from_timestamp(1_790_000_632, 0),
            attempts: 3,
        });
        let text = vm.sheet(&view()).render(false);
        for part in [
            "worker.vm@edge-1",
            "cannot allocate memory",
            "stop another VM",
            "(in 32s)",
            "attempts in vain      3\n",
            "USER@127.0.0.1",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    }

    #[test]
    fn each_nic_says_in_which_groups_it_is() {
        let mut vm = a_vm();
        let nic = |number: u32, groups: serde_json::Value| {
            let nic = serde_json::json!({
                "number": number, "network": "blue", "network_id": vm.meta.id, "fixed_ip": "10.0.0.2", "addresses": ["10.0.0.2"],
                "mac": "fa:16:3e:00:00:01", "security_groups": groups, "ready": true,
            });
            serde_json::from_value(nic).unwrap()
        };
        let (some, none, before) = (serde_json::json!(["web", "db"]), serde_json::json!([]), serde_json::Value::Null);
        vm.networks = vec![nic(0, some), nic(1, none), nic(2, before)];
        let text = vm.sheet(&view()).render(false);
        for part in [
            "web, db (NIC 0 on blue)",
            "none: nothing passes (NIC 1 on blue)",
            "none was there yet: everything passes (NIC 2 on blue)",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    }

    #[test]
    fn a_row_has_a_cell_for_each_head() {
        for wide in [false, true] {
            let view = View { wide, ..view() };
            assert_eq!(a_vm().row(&view).len(), Vm::headers(wide).len());
        }
    }
}
