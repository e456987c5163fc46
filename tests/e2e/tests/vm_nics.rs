//! NICs that come and go while their VM runs: in a real guest that lets go of them, in one that doesn't, and whenever the
//! daemon was killed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use edgestack_e2e::{Guest, PATIENCE, Plugged, Site, eventually, guest_image, in_own_network};
use serde_json::{Value, json};

/// From power-on to the guest's agent and SSH server under software emulation.
const BOOT_PATIENCE: Duration = Duration::from_secs(400);

async fn a_site(test: &str) -> Option<Site> {
    let arguments = ["--networks", "bundled"].map(str::to_owned).to_vec();
    let site = Site::start_with(test, arguments).await?;
    for (network, cidr) in [("blue", "10.7.0.0/24"), ("red", "10.8.0.0/24")] {
        site.api().post("networks", &json!({"name": network, "cidr": cidr})).await.accepted();
        site.await_network(network, "active").await;
    }
    Some(site)
}

/// A VM once its NICs are these: number and state, and the nodes work by all of them.
async fn await_nics(site: &Site, name: &str, within: Duration, expect: &[(u64, &str)]) -> Value {
    site.await_vm_that(&format!("{name} has NICs {expect:?}"), name, within, |vm| {
        let nics = vm["networks"].as_array().unwrap();
        let is = |nic: &Value| (nic["number"].as_u64().unwrap(), nic["state"].as_str().unwrap().to_owned());
        let ready = nics.iter().all(|nic| nic["ready"] == true);
        ready && nics.iter().map(is).eq(expect.iter().map(|(number, state)| (*number, (*state).to_owned())))
    })
    .await
}

/// The devices on the node's bridge that are of VMs.
fn devices(site: &Site) -> Vec<String> {
    let said = site.vsctl(&["--bare", "--columns=name", "find", "Interface", "external_ids:edgestack-vm!=\"\""]);
    said.split_whitespace().map(str::to_owned).collect()
}

/// The logical ports of a VM.
fn ports(site: &Site, vm: &Value) -> Vec<String> {
    let said = site.nbctl(&["--bare", "--columns=name", "list", "Logical_Switch_Port"]);
    said.split_whitespace().filter(|name| name.contains(vm["id"].as_str().unwrap())).map(str::to_owned).collect()
}

/// The MAC addresses that the guest's agent tells of.
async fn seen_by_guest(site: &Site, name: &str) -> Result<Vec<String>, String> {
    let reply = site.api().look(&format!("vms/{name}/guest_info")).await.map_err(|error| error.to_string())?;
    if reply.status != 200 {
        return Err(reply.text);
    }
    let interfaces = reply.json()["interfaces"].as_array().cloned().unwrap_or_default();
    Ok(interfaces.iter().filter_map(|interface| interface["mac"].as_str()).map(str::to_lowercase).collect())
}

async fn await_in_guest(site: &Site, name: &str, mac: &str, there: bool) {
    eventually(&format!("the guest has {mac}: {there}"), Duration::from_secs(120), async || {
        let seen = seen_by_guest(site, name).await?;
        if seen.iter().any(|one| one == mac) == there { Ok(()) } else { Err(seen.join(", ")) }
    })
    .await;
}

#[test]
fn a_debian_guest_sees_a_nic_come_carry_packets_and_go() {
    let test = "a_debian_guest_sees_a_nic_come_carry_packets_and_go";
    in_own_network(test, async || {
        let (Some(image), Some(())) = (guest_image(test), Guest::needs_ssh(test)) else { return };
        let Some(site) = a_site(test).await else { return };
        site.add_image("debian", "qcow2", &image).await;
        let flavor = json!({"name": "small", "vcpus": 1, "memory_mib": 512, "disk_gib": 4});
        site.api().post("flavors", &flavor).await.accepted();
        let key = site.api().post("keypairs", &json!({"name": "k"})).await.accepted();
        let file = site.folder().join("guest.key");
        fs::write(&file, key["private_key"].as_str().expect("given once")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let rules = json!([{"direction": "ingress", "protocol": "tcp", "port_range_min": 22}, {"direction": "egress"}]);
        site.api().post("security_groups", &json!({"name": "ssh", "rules": rules})).await.accepted();
        let nic = json!({"network": "blue", "security_groups": ["ssh"]});
        let vm = json!({"name": "ann", "image": "debian", "flavor": "small", "keypair": "k", "networks": [nic]});
        site.api().post("vms", &vm).await.accepted();
        site.await_vm("ann", "running").await;
        site.await_event("ann", "VmGuestAgentConnected", BOOT_PATIENCE).await;

        let attach =
            json!({"action": "attach_nic", "network": "red", "fixed_ip": "10.8.0.9", "security_groups": ["ssh"]});
        site.api().act("ann", &attach).await.accepted();
        let ann = await_nics(&site, "ann", PATIENCE, &[(0, "attached"), (1, "attached")]).await;
        assert_eq!((&ann["state"], &ann["waiting"]), (&json!("running"), &json!(null)));
        let mac = ann["networks"][1]["mac"].as_str().unwrap().to_owned();
        await_in_guest(&site, "ann", &mac, true).await;
        assert_eq!((devices(&site).len(), ports(&site, &ann).len()), (2, 2));

        // It carries packets as soon as the guest has its address.
        let run = |from: &Plugged, ip: &str, command: &str| {
            let (key, to) = (file.to_string_lossy().into_owned(), format!("debian@{ip}"));
            let options = ["BatchMode=yes", "ConnectTimeout=10", "StrictHostKeyChecking=no", "LogLevel=ERROR"];
            let mut words =
                vec!["timeout", "60", "ssh", "-F", "none", "-i", &key, "-o", "UserKnownHostsFile=/dev/null"];
            options.iter().for_each(|option| words.extend(["-o", option]));
            words.extend([to.as_str(), command]);
            let output = from.run(&words);
            let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            if output.status.success() {
                Ok(text)
            } else {
                Err(format!("{text} {}", String::from_utf8_lossy(&output.stderr)))
            }
        };
        let on_blue = Plugged::at_a_port_of_our_own(&site, "blue", "p", "10.7.0.200");
        let on_red = Plugged::at_a_port_of_our_own(&site, "red", "q", "10.8.0.200");
        let up = format!(
            "i=$(grep -l {mac} /sys/class/net/*/address | cut -d/ -f5); sudo ip link set $i up; sudo ip address add 10.8.0.9/24 dev $i || true; cat /sys/class/net/$i/mtu"
        );
        let mtu = eventually("the guest has its address", BOOT_PATIENCE, async || run(&on_blue, "10.7.0.2", &up)).await;
        assert_eq!(mtu, "1442", "it is told the network's MTU");
        let said = eventually("it is reached by its new NIC", Duration::from_secs(120), async || {
            run(&on_red, "10.8.0.9", "hostname")
        })
        .await;
        assert_eq!(said, "ann");

        let pid = Site::pid_of(&ann);
        site.api().act("ann", &json!({"action": "detach_nic", "network": "red"})).await.accepted();
        let ann = await_nics(&site, "ann", Duration::from_secs(120), &[(0, "attached")]).await;
        assert_eq!((Site::pid_of(&ann), &ann["state"]), (pid, &json!("running")), "it runs on");
        await_in_guest(&site, "ann", &mac, false).await;
        assert_eq!(devices(&site).len(), 1);
        eventually("its port is gone", PATIENCE, async || {
            let ports = ports(&site, &ann);
            if ports.len() == 1 { Ok(()) } else { Err(ports.join(", ")) }
        })
        .await;

        // The one of its start as well, and another one under the address that is free again.
        site.api().act("ann", &attach).await.accepted();
        site.api().act("ann", &json!({"action": "detach_nic", "nic": 0})).await.accepted();
        let ann = await_nics(&site, "ann", Duration::from_secs(120), &[(2, "attached")]).await;
        assert_eq!((&ann["networks"][0]["fixed_ip"], Site::pid_of(&ann)), (&json!("10.8.0.9"), pid));
        await_in_guest(&site, "ann", ann["networks"][0]["mac"].as_str().unwrap(), true).await;
        site.api().delete("vms/ann").await.accepted();
        site.await_no_vm("ann").await;
        assert_eq!(devices(&site), Vec::<String>::new());
    });
}

#[test]
fn a_guest_that_holds_on_to_a_nic_loses_it_with_its_next_start() {
    let test = "a_guest_that_holds_on_to_a_nic_loses_it_with_its_next_start";
    in_own_network(test, async || {
        let Some(site) = a_site(test).await else { return };
        site.add_tiny().await;
        site.create("a", &json!({"networks": [{"network": "blue"}]})).await;
        site.await_vm("a", "running").await;
        site.api().act("a", &json!({"action": "detach_nic", "nic": 0})).await.accepted();
        let event = site.await_event("a", "VmNicAttemptFailed", PATIENCE).await;
        let reason = event["data"]["failure"]["reason"].as_str().unwrap();
        assert!(reason.starts_with("the guest has not let go of NIC 0"), "{event}");
        let vm = site.api().get("vms/a").await;
        assert_eq!((&vm["state"], &vm["networks"][0]["state"]), (&json!("running"), &json!("detaching")));
        let waiting = &vm["waiting"];
        assert!(
            waiting["reason"].as_str().unwrap().contains("has not let go") && waiting["next_attempt_at"].is_string()
        );
        // It keeps its address.
        let wish = json!({"name": "b", "image": "tiny", "flavor": "tiny", "networks": [{"network": "blue", "fixed_ip": "10.7.0.2"}]});
        assert_eq!(site.api().post("vms", &wish).await.expect(409)["code"], "address-in-use");
        site.api().act("a", &json!({"action": "stop", "grace_seconds": 0})).await.accepted();
        await_nics(&site, "a", PATIENCE, &[]).await;
        assert_eq!(devices(&site), Vec::<String>::new());
        site.api().post("vms", &wish).await.accepted();
        // A stopped one gets it at once, and has it when it starts.
        site.api().act("a", &json!({"action": "attach_nic", "network": "red"})).await.accepted();
        site.api().act("a", &json!({"action": "start"})).await.accepted();
        site.await_vm("a", "running").await;
        await_nics(&site, "a", PATIENCE, &[(1, "attached")]).await;
    });
}

#[test]
fn a_nic_comes_and_goes_whenever_the_daemon_was_killed() {
    let test = "a_nic_comes_and_goes_whenever_the_daemon_was_killed";
    in_own_network(test, async || {
        let Some(mut site) = a_site(test).await else { return };
        site.add_tiny().await;
        site.create("a", &json!({"networks": [{"network": "blue"}]})).await;
        site.await_vm("a", "running").await;
        let mut nics = vec![(0, "attached")];
        for (number, point) in (1..).zip(["vm.plug.before", "vm.plug.after"]) {
            killed_at(&mut site, point, json!({"action": "attach_nic", "network": "red"})).await;
            nics.push((number, "attached"));
            await_nics(&site, "a", PATIENCE, &nics).await;
            assert_eq!(devices(&site).len(), nics.len());
        }
        // Its guest lets go of nothing, so they go once it is stopped.
        for point in ["vm.unplug.before", "vm.unplug.after"] {
            let (number, _) = nics.pop().unwrap();
            killed_at(&mut site, point, json!({"action": "detach_nic", "nic": number})).await;
            site.api().act("a", &json!({"action": "stop", "grace_seconds": 0})).await.accepted();
            await_nics(&site, "a", PATIENCE, &nics).await;
            site.api().act("a", &json!({"action": "start"})).await.accepted();
            site.await_vm("a", "running").await;
            await_nics(&site, "a", PATIENCE, &nics).await;
            assert_eq!(devices(&site).len(), nics.len());
        }
    });
}

/// Asks for it of a daemon that dies at this point, and starts another one.
async fn killed_at(site: &mut Site, point: &str, action: Value) {
    site.kill_daemon();
    site.up_with(&[("EDGESTACK_CRASH_AT", point)]).await;
    site.await_ready().await;
    site.api().act("a", &action).await.accepted();
    eventually(&format!("the daemon dies at {point}"), PATIENCE, async || {
        let ended = site.daemon.as_mut().and_then(|daemon| daemon.ended());
        if ended.is_some() { Ok(()) } else { Err("it lives".to_owned()) }
    })
    .await;
    site.up().await;
    site.await_ready().await;
}
