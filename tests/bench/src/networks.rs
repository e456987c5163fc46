//! The virtual network: OVN run by the daemon, against what the same OVN does for rows that are written by hand.
//!
//! The sites are in a network namespace of their own, as a switch in userspace has devices whose names are the namespace's.

mod by_hand;
mod memory;
mod namespace;
mod realized;
mod recovery;
mod throughput;
mod together;

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    Failure, Options,
    http::{Client, PREFIX},
    site::Site,
    vms,
};
use namespace::Namespace;

/// How long anything that is waited for may take.
const DEADLINE: Duration = Duration::from_secs(120);
const ARGUMENTS: [&str; 6] = ["--driver", "simulated", "--networks", "bundled", "--physical-network", "external=br-ex"];
/// The network outside.
const OUTSIDE: &str =
    r#"{"name":"outside","type":"FLAT","external":{"physical_network":"external"},"cidr":"192.0.0.0/16","dhcp":false}"#;
/// Where iperf3 listens.
const IPERF_PORT: u16 = 5201;
/// NICs on each network of the small site.
const NICS: usize = 5;

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    All,
    /// TCP through the switch alone.
    Throughput,
}

/// Prints the rows. Nothing is left of the sites when it returns, nor when it is interrupted.
pub fn measure(options: &Options, rows: Rows) -> Result<(), Failure> {
    namespace::lack().map_or(Ok(()), Err)?;
    let namespace = Namespace::make("es-bench")?;
    // A thread's namespace is that of all threads and processes that it starts, and of no others.
    let measured = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            namespace.enter()?;
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(unless_interrupted(options, rows))
        });
        thread.join()
    });
    measured.unwrap_or_else(|_| Err("it panicked".into()))
}

async fn unless_interrupted(options: &Options, rows: Rows) -> Result<(), Failure> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        measured = all(options, rows) => measured,
        _ = interrupt.recv() => Err("interrupted".into()),
        _ = terminate.recv() => Err("terminated".into()),
    }
}

async fn all(options: &Options, rows: Rows) -> Result<(), Failure> {
    {
        let site = Site::start(options, &ARGUMENTS).await?;
        vms::prepare(&site).await?;
        for network in ["blue", "red"] {
            create_network(&site, network).await?;
            for number in 0..NICS {
                create_vm(&site, &format!("{network}-{number}"), network).await?;
            }
        }
        if rows == Rows::All {
            memory::measure(&site, &format!("2 networks and {} NICs", 2 * NICS), "≤ 200 MiB for OVN, OVS and the pool")
                .await?;
            realized::measure(&site).await?;
            together::measure(&site).await?;
        }
        throughput::measure(&site).await?;
        if rows == Rows::Throughput {
            return Ok(());
        }
        // Ended here: two switches in one namespace collide.
    }
    recovery::measure(options).await
}

/// Makes a network and waits until the nodes work by it; the time from the command to that.
async fn create_network(site: &Site, name: &str) -> Result<Duration, Failure> {
    let mut client = site.client().await?;
    let body = format!(r#"{{"name":"{name}","cidr":"10.0.0.0/24"}}"#);
    let begun = Instant::now();
    client.change("POST", &format!("{PREFIX}/networks"), &body).await?;
    await_that(&mut client, &format!("networks/{name}"), |network| network["state"] == "active").await?;
    Ok(begun.elapsed())
}

/// Makes a VM with one NIC and waits until the nodes work by that; the time from the command to that.
async fn create_vm(site: &Site, name: &str, network: &str) -> Result<Duration, Failure> {
    let mut client = site.client().await?;
    let begun = Instant::now();
    client.change("POST", &format!("{PREFIX}/vms"), &vm_on(name, network)).await?;
    await_that(&mut client, &format!("vms/{name}"), has_ready_nics).await?;
    Ok(begun.elapsed())
}

/// Makes the network outside, and waits until the nodes work by it.
async fn create_outside(client: &mut Client) -> Result<(), Failure> {
    client.change("POST", &format!("{PREFIX}/networks"), OUTSIDE).await?;
    await_that(client, "networks/outside", |network| network["state"] == "active").await.map(drop)
}

/// A group's rules: TCP to twenty ports, iperf3's the last of them, from whoever is in the group.
fn twenty_rules(group: &str) -> String {
    let ports = (8001..8020).chain([IPERF_PORT]);
    let rule = |port| {
        format!(r#"{{"direction":"ingress","protocol":"tcp","port_range_min":{port},"remote_group":"{group}"}}"#)
    };
    ports.map(rule).collect::<Vec<_>>().join(",")
}

/// Puts VMs' NICs into a new group of twenty rules, and into the default one for their way out and for ping.
async fn into_a_group_of_twenty(site: &Site, vms: &[&str]) -> Result<(), Failure> {
    let mut client = site.client().await?;
    let body = format!(r#"{{"name":"twenty","rules":[{}]}}"#, twenty_rules("twenty"));
    client.change("POST", &format!("{PREFIX}/security_groups"), &body).await?;
    for vm in vms {
        let edit = r#"{"action":"edit_security_groups","add":["twenty"]}"#;
        client.change("POST", &format!("{PREFIX}/vms/{vm}/action"), edit).await?;
        await_that(&mut client, &format!("vms/{vm}"), has_ready_nics).await?;
    }
    let is_active = |group: &Value| {
        group["state"] == "active"
            && group["rules"].as_array().is_some_and(|rules| rules.iter().all(|rule| rule["state"] == "active"))
    };
    await_that(&mut client, "security_groups/twenty", is_active).await.map(drop)
}

fn vm_on(name: &str, network: &str) -> String {
    format!(r#"{{"name":"{name}","image":"image","flavor":"small","networks":[{{"network":"{network}"}}]}}"#)
}

fn has_ready_nics(vm: &Value) -> bool {
    vm["networks"].as_array().is_some_and(|nics| !nics.is_empty() && nics.iter().all(|nic| nic["ready"] == true))
}

async fn await_that(client: &mut Client, path: &str, holds: impl Fn(&Value) -> bool) -> Result<Value, Failure> {
    let begun = Instant::now();
    loop {
        let answer = client.change("GET", &format!("{PREFIX}/{path}"), "").await?;
        let resource: Value = serde_json::from_slice(&answer)?;
        if holds(&resource) {
            return Ok(resource);
        }
        if begun.elapsed() > DEADLINE {
            return Err(format!("{path} did not become as awaited: {resource}").into());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
