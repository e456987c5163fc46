//! TCP between two namespaces on one of our networks, against the same two on a switch that has nothing of ours.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{Failure, http::PREFIX, site::Site, stats::middle};

use super::{
    DEADLINE,
    by_hand::ByHand,
    namespace::{Namespace, run},
};

const RUNS: usize = 15;
const SECONDS: &str = "3";
/// Of both networks: the largest packet that Geneve leaves room for.
const MTU: &str = "1442";
/// The switch without anything of ours.
const PLAIN: &str = "plain";

/// Prints the row.
pub async fn measure(site: &Site) -> Result<(), Failure> {
    let by_hand = ByHand::of(site);
    by_hand.run(&["ls-add", PLAIN])?;
    let datapath = Datapath::of(site)?;
    super::into_a_group_of_twenty(site, &["blue-0", "blue-1"]).await?;
    let server = Host::plug(site, datapath, &by_hand, "a").await?;
    let client = Host::plug(site, datapath, &by_hand, "b").await?;
    for ip in [&server.ip, &server.plain_ip] {
        client.await_answer(ip).await?;
    }
    let listening = ["iperf3", "--server"];
    // Ended when dropped, before its namespace is.
    let _listening = server.namespace.command(&listening).stdout(Stdio::null()).spawn()?;
    let begun = Instant::now();
    while let Err(error) = client.rate(&server.ip).await {
        if begun.elapsed() > DEADLINE {
            return Err(error);
        }
    }
    let (mut ours, mut plain, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..RUNS {
        let (mut of_ours, mut of_plain) = (0.0, 0.0);
        // In turns, and each first in turns.
        for is_ours in [run % 2 == 0, run % 2 == 1] {
            let rate = client.rate(if is_ours { &server.ip } else { &server.plain_ip }).await?;
            *(if is_ours { &mut of_ours } else { &mut of_plain }) = rate;
        }
        ours.push(of_ours);
        plain.push(of_plain);
        ratios.push(of_ours / of_plain);
    }
    let (ours_of, plain_of) = (range(&mut ours), range(&mut plain));
    println!(
        "| TCP between two namespaces on a network, both in a group of 20 rules, {} | {:.2} Gbit/s ({ours_of}) | | {:.2} Gbit/s ({plain_of}; a plain logical switch) | {:.2} ({}) | ≥ 0.9 |",
        datapath.told(),
        middle(&mut ours),
        middle(&mut plain),
        middle(&mut ratios),
        range(&mut ratios)
    );
    Ok(())
}

fn range(values: &mut [f64]) -> String {
    values.sort_unstable_by(f64::total_cmp);
    let (least, most) = (values.first().copied().unwrap_or_default(), values.last().copied().unwrap_or_default());
    format!("{least:.2} to {most:.2}")
}

/// Who moves the packets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Datapath {
    Kernel,
    Userspace,
}

impl Datapath {
    /// The one that the site's daemon chose.
    fn of(site: &Site) -> Result<Self, Failure> {
        let database = switch_database(site);
        let line = ["ovs-vsctl", &database, "--timeout=20", "get", "Bridge", "br-int", "datapath_type"];
        Ok(if run(&line)?.trim() == "netdev" { Self::Userspace } else { Self::Kernel })
    }

    fn told(self) -> &'static str {
        match self {
            Self::Kernel => "the kernel's switch",
            Self::Userspace => "the switch in userspace",
        }
    }
}

fn switch_database(site: &Site) -> String {
    format!("--db=unix:{}", site.folder().join("ovn/switch.sock").display())
}

/// A namespace with a NIC of a simulated VM, and one on the plain switch.
struct Host {
    datapath: Datapath,
    namespace: Namespace,
    ip: String,
    plain_ip: String,
}

impl Host {
    /// In the place of one of the VMs on `blue`.
    async fn plug(site: &Site, datapath: Datapath, by_hand: &ByHand, letter: &str) -> Result<Self, Failure> {
        let number = u8::from(letter == "b");
        let answer = site.client().await?.change("GET", &format!("{PREFIX}/vms/blue-{number}"), "").await?;
        let vm: Value = serde_json::from_slice(&answer)?;
        let nic = &vm["networks"][0];
        let text = |value: &Value| value.as_str().map(str::to_owned).ok_or("no text");
        let (id, mac, ip) = (text(&vm["id"])?, text(&nic["mac"])?, text(&nic["fixed_ip"])?);
        let plain_ip = format!("10.9.9.{}", number + 1);
        let host = Self { datapath, namespace: Namespace::make(&format!("es-bench-{letter}"))?, ip, plain_ip };
        host.add_nic(site, &format!("v{letter}-ours"), "eth0", &format!("{id}-0"), Some(&mac), &host.ip)?;
        let port = format!("{PLAIN}-{letter}");
        by_hand.run(&["lsp-add", PLAIN, &port, "--", "lsp-set-addresses", &port, "unknown"])?;
        host.add_nic(site, &format!("v{letter}-plain"), "eth1", &port, None, &host.plain_ip)?;
        Ok(host)
    }

    fn add_nic(
        &self,
        site: &Site,
        device: &str,
        inner: &str,
        port: &str,
        mac: Option<&str>,
        ip: &str,
    ) -> Result<(), Failure> {
        let name = &self.namespace.name;
        run(&["ip", "link", "add", device, "type", "veth", "peer", "name", inner, "netns", name])?;
        run(&["ip", "link", "set", device, "mtu", MTU, "up"])?;
        if let Some(mac) = mac {
            run(&["ip", "-n", name, "link", "set", inner, "address", mac])?;
        }
        run(&["ip", "-n", name, "link", "set", inner, "mtu", MTU, "up"])?;
        run(&["ip", "-n", name, "address", "add", &format!("{ip}/24"), "dev", inner])?;
        if self.datapath == Datapath::Userspace {
            // As QEMU's NICs are there: nobody would do what was left undone.
            run(&["ip", "netns", "exec", name, "ethtool", "--offload", inner, "tx", "off"])?;
        }
        let database = switch_database(site);
        let id = format!("external_ids:iface-id={port}");
        run(&[
            "ovs-vsctl",
            &database,
            "--timeout=20",
            "add-port",
            "br-int",
            device,
            "--",
            "set",
            "Interface",
            device,
            &id,
        ])?;
        Ok(())
    }

    async fn await_answer(&self, ip: &str) -> Result<(), Failure> {
        let begun = Instant::now();
        let ping = ["ping", "-n", "-c", "1", "-W", "0.3", ip];
        while !self.namespace.command(&ping).stdout(Stdio::null()).status().await?.success() {
            if begun.elapsed() > DEADLINE {
                return Err(format!("{ip} does not answer {}", self.namespace.name).into());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// What comes through to an address, Gbit/s.
    async fn rate(&self, ip: &str) -> Result<f64, Failure> {
        let words = ["iperf3", "--client", ip, "--time", SECONDS, "--connect-timeout", "5000", "--json"];
        let output = self.namespace.command(&words).output().await?;
        let report: Value = serde_json::from_slice(&output.stdout)?;
        let rate = report["end"]["sum_received"]["bits_per_second"].as_f64();
        Ok(rate.ok_or_else(|| format!("iperf3: {}", report["error"]))? / 1e9)
    }
}
