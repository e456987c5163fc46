//! Two Debian guests on a virtual network: their addresses by DHCP, names, TCP both ways, while everything of ours is dead,
//! and after a restart.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

use edgestack_e2e::{Guest, Plugged, Site, eventually, guest_image, in_own_network};
use serde_json::json;

/// From power-on to the guest's SSH server under software emulation, another guest beside it.
const BOOT_PATIENCE: Duration = Duration::from_secs(400);

/// A way into guests from a port of their network.
struct Way<'a> {
    from: &'a Plugged,
    key: PathBuf,
}

impl Way<'_> {
    /// Runs a command in a guest; an error is what went wrong.
    fn run(&self, ip: &str, command: &str) -> Result<String, String> {
        let key = self.key.to_string_lossy();
        let to = format!("debian@{ip}");
        let output = self.from.run(&[
            "timeout",
            "60",
            "ssh",
            "-i",
            &key,
            "-F",
            "none",
            "-o",
            "BatchMode=yes",
            "-o",
            "ConnectTimeout=10",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "LogLevel=ERROR",
            &to,
            command,
        ]);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        Err(format!("{}: {} {}", output.status, text(&output.stdout), text(&output.stderr)))
    }

    async fn await_run(&self, ip: &str, command: &str) -> String {
        eventually(&format!("{ip} runs {command:?}"), BOOT_PATIENCE, async || self.run(ip, command)).await
    }
}

#[test]
fn debian_guests_have_their_addresses_and_names_and_reach_each_other_whoever_is_dead() {
    let test = "debian_guests_have_their_addresses_and_names_and_reach_each_other_whoever_is_dead";
    in_own_network(test, async || {
        let (Some(image), Some(())) = (guest_image(test), Guest::needs_ssh(test)) else { return };
        let arguments = ["--networks", "bundled"].map(str::to_owned).to_vec();
        let Some(mut site) = Site::start_with(test, arguments).await else { return };
        site.add_image("debian", "qcow2", &image).await;
        let flavor = json!({"name": "small", "vcpus": 1, "memory_mib": 512, "disk_gib": 4});
        site.api().post("flavors", &flavor).await.accepted();
        let key = site.api().post("keypairs", &json!({"name": "k"})).await.accepted();
        let file = site.folder().join("guest.key");
        fs::write(&file, key["private_key"].as_str().expect("given once")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let blue = json!({
            "name": "blue", "cidr": "10.7.0.0/24", "ipv6": {"cidr": "fd00:7::/64"},
            "host_routes": [{"destination": "192.168.99.0/24", "next_hop": "10.7.0.254"}],
        });
        site.api().post("networks", &blue).await.accepted();
        site.await_network("blue", "active").await;
        // They reach each other by the default group, and the way into them is let in by another.
        let ssh = json!({"name": "ssh", "rules": [{"direction": "ingress", "protocol": "tcp", "port_range_min": 22}]});
        site.api().post("security_groups", &ssh).await.accepted();
        let groups = json!(["default", "ssh"]);
        for (name, nic) in [
            ("ann", json!({"network": "blue", "security_groups": groups})),
            ("bob", json!({"network": "blue", "security_groups": groups, "fixed_ip": "10.7.0.77"})),
        ] {
            let vm = json!({"name": name, "image": "debian", "flavor": "small", "keypair": "k", "networks": [nic]});
            site.api().post("vms", &vm).await.accepted();
        }
        let ann = site.await_vm("ann", "running").await;
        let bob = site.await_vm("bob", "running").await;
        assert_eq!(ann["ssh"], json!(null), "its forwarded port leads nowhere: {ann}");
        assert_eq!(ann["networks"][0]["fixed_ip"], "10.7.0.2");
        let probe = Plugged::at_a_port_of_our_own(&site, "blue", "p", "10.7.0.200");
        let way = Way { from: &probe, key: file };

        let addresses = way.await_run("10.7.0.2", "ip -brief address show scope global").await;
        assert!(addresses.contains("10.7.0.2/24"), "{addresses}");
        for address in ann["networks"][0]["addresses"].as_array().unwrap() {
            assert!(addresses.contains(address.as_str().unwrap()), "{address} is not among {addresses}");
        }
        let link = way.await_run("10.7.0.2", "ip route; ip link").await;
        assert!(link.contains("192.168.99.0/24 via 10.7.0.254") && link.contains("mtu 1442"), "{link}");
        way.await_run("10.7.0.77", "true").await;
        // Names, on the way, without a name server.
        let bobs = way.await_run("10.7.0.2", "getent ahostsv4 bob.internal").await;
        assert!(bobs.contains("10.7.0.77"), "{bobs}");
        // A guest's own ping, by its agent.
        let ping = json!({"from": {"vm": "ann"}, "to": {"vm": "bob"}, "count": 3});
        let told = eventually("ann pings bob", BOOT_PATIENCE, async || {
            let told = site.api().post("/edgetron/network/ping", &ping).await.expect(200);
            if told["received"] == 3 { Ok(told) } else { Err(told.to_string()) }
        })
        .await;
        assert_eq!((&told["to_ip"], &told["loss_percent"]), (&json!("10.7.0.77"), &json!(0.0)), "{told}");
        let ipv6 = json!({"from": {"vm": "ann"}, "to": {"vm": "bob"}, "count": 2, "ip_version": "6"});
        let told = site.api().post("/edgetron/network/ping", &ipv6).await.expect(200);
        assert_eq!((&told["received"], &told["trace"]), (&json!(2), &json!(null)), "{told}");
        let lost = json!({"from": {"vm": "ann"}, "to": {"address": "10.7.0.9"}, "count": 2});
        let told = site.api().post("/edgetron/network/ping", &lost).await.expect(200);
        assert_eq!(
            (&told["sent"], &told["received"], &told["trace"]["verdict"]),
            (&json!(2), &json!(0), &json!("no_way")),
            "{told}"
        );
        let counted = site.api().get("/edgetron/network/counters").await;
        let anns = counted["items"].as_array().unwrap().iter().find(|nic| nic["vm"] == "ann").expect("ann's");
        for count in ["sent_packets", "sent_bytes", "received_packets", "received_bytes"] {
            assert!(anns[count].as_u64().unwrap() > 10, "{counted}");
        }
        // Megabytes of TCP each way, their checksums right.
        let sum = way.await_run("10.7.0.2", "head -c 3000000 /dev/urandom > /tmp/data; sha256sum < /tmp/data").await;
        let copied = "timeout 60 bash -c 'exec 3<>/dev/tcp/bob.internal/7777; cat /tmp/data >&3; exec 3>&-'";
        let listen = "rm -f /tmp/got; nohup python3 -c 'import socket; s=socket.create_server((\"0.0.0.0\",7777)); c,_=s.accept(); f=open(\"/tmp/got\",\"wb\")
while True:
    d=c.recv(65536)
    if not d: break
    f.write(d)
f.close()' >/dev/null 2>&1 &";
        way.await_run("10.7.0.77", listen).await;
        way.await_run("10.7.0.2", copied).await;
        eventually("all of it arrived", Duration::from_secs(60), async || {
            let got = way.run("10.7.0.77", "sha256sum < /tmp/got")?;
            if got == sum { Ok(()) } else { Err(got) }
        })
        .await;

        // Everything of ours dead but OVN and QEMU: the guests go on.
        site.kill_daemon();
        site.kill_nats();
        let answered = way.run("10.7.0.2", "ping -n -c 5 -i 0.2 10.7.0.77").expect("packets pass");
        assert!(answered.contains(" 0% packet loss"), "{answered}");
        site.up().await;
        site.await_ready().await;

        // A restart, and the same addresses.
        let pid = Site::pid_of(&bob);
        site.api().act("bob", &json!({"action": "restart"})).await.accepted();
        site.await_vm_that("bob runs anew", "bob", BOOT_PATIENCE, |vm| {
            vm["state"] == "running" && vm["instance"]["pid"].as_u64() != Some(u64::from(pid))
        })
        .await;
        way.await_run("10.7.0.77", "true").await;

        // Nothing is left of them.
        let ids = [ann["id"].as_str().unwrap(), bob["id"].as_str().unwrap()];
        for name in ["ann", "bob"] {
            site.api().delete(&format!("vms/{name}")).await.accepted();
            site.await_no_vm(name).await;
        }
        site.await_nothing_left(&ids).await;
        let ports = site.vsctl(&["--bare", "--columns=name", "find", "Interface", "external_ids:edgestack-vm!=\"\""]);
        assert!(ports.trim().is_empty(), "ports are left on the bridge: {ports}");
        eventually("the ports are gone", Duration::from_secs(20), async || {
            let rows = site.nbctl(&["--bare", "--columns=name", "list", "Logical_Switch_Port"]);
            if ids.iter().any(|id| rows.contains(id)) { Err(rows) } else { Ok(()) }
        })
        .await;
    });
}
