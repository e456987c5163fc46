//! What ovs-vsctl lists of the integration bridge, taken apart.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Plugged, VM_KEY};

/// What went over a port, since the switch has it. `received` and `sent` are the switch's: it receives what the VM sends.
/// Source: ovs-vswitchd.conf.db(5), Interface, `statistics`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Counters {
    /// The VM's id.
    pub vm: String,
    /// The logical switch port's name.
    pub port: String,
    /// The device's name.
    pub device: String,
    /// Packets from the VM.
    pub received_packets: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Packets from the VM that the switch could not take.
    pub received_dropped: u64,
    /// Packets to the VM.
    pub sent_packets: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Packets to the VM that its device did not take.
    pub sent_dropped: u64,
}

/// As whom a chassis is known in the virtual network, and what it leads to outside. Source: ovn-controller(8),
/// CONFIGURATION.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `system-id`.
    pub name: String,
    /// The networks of `ovn-bridge-mappings`, in order.
    pub physical_networks: BTreeSet<String>,
}

/// The interfaces that carry our tag and are ports of the bridge: device, VM, what else is in `external_ids`, and the last
/// column.
struct Listed<'l> {
    device: &'l str,
    vm: &'l str,
    port: &'l str,
    is_installed: bool,
    last: &'l Value,
}

/// The ports' names, a line each, then the interfaces as ovs-vsctl's `--format=json` has them.
fn listed<T>(said: &str, column: &str, each: impl Fn(&Listed<'_>) -> T) -> Option<Vec<T>> {
    let (json, ports): (Vec<_>, BTreeSet<_>) = {
        let (json, ports): (Vec<&str>, Vec<&str>) = said.lines().partition(|line| line.starts_with('{'));
        (json, ports.into_iter().collect())
    };
    let table: Value = serde_json::from_str(json.first()?).ok()?;
    let columns: Vec<_> = table.get("headings")?.as_array()?.iter().filter_map(Value::as_str).collect();
    let place = |name: &str| columns.iter().position(|column| *column == name);
    let (name, ids, last) = (place("name")?, place("external_ids")?, place(column)?);
    let mut all = Vec::new();
    for row in table.get("data")?.as_array()? {
        let device = row.get(name)?.as_str()?;
        let ids = row.get(ids)?;
        let Some(vm) = at(ids, VM_KEY).and_then(Value::as_str).filter(|_| ports.contains(device)) else {
            continue;
        };
        let port = at(ids, "iface-id").and_then(Value::as_str).unwrap_or_default();
        let is_installed = at(ids, "ovn-installed").is_some_and(|installed| installed == "true");
        all.push(each(&Listed { device, vm, port, is_installed, last: row.get(last)? }));
    }
    Some(all)
}

/// What stands under a key of a map, `["map", [[key, value], …]]`.
fn at<'v>(map: &'v Value, key: &str) -> Option<&'v Value> {
    let pairs = map.get(1)?.as_array()?;
    pairs.iter().find(|pair| pair.get(0).is_some_and(|found| found == key))?.get(1)
}

pub(super) fn plugged(said: &str) -> Option<Vec<Plugged>> {
    let mut plugged = listed(said, "error", |listed| Plugged {
        device: listed.device.to_owned(),
        port: listed.port.to_owned(),
        vm: listed.vm.to_owned(),
        is_installed: listed.is_installed,
        // An empty set when there is none.
        problem: listed.last.as_str().map(str::to_owned),
    })?;
    plugged.sort();
    Some(plugged)
}

pub(super) fn counters(said: &str) -> Option<Vec<Counters>> {
    let mut counters = listed(said, "statistics", |listed| {
        let count = |key: &str| at(listed.last, key).and_then(Value::as_u64).unwrap_or_default();
        Counters {
            vm: listed.vm.to_owned(),
            port: listed.port.to_owned(),
            device: listed.device.to_owned(),
            received_packets: count("rx_packets"),
            received_bytes: count("rx_bytes"),
            received_dropped: count("rx_dropped"),
            sent_packets: count("tx_packets"),
            sent_bytes: count("tx_bytes"),
            sent_dropped: count("tx_dropped"),
        }
    })?;
    counters.sort();
    Some(counters)
}

pub(super) fn identity(said: &str) -> Option<Identity> {
    let table: Value = serde_json::from_str(said.lines().find(|line| line.starts_with('{'))?).ok()?;
    let ids = table.get("data")?.get(0)?.get(0)?;
    let text = |key: &str| at(ids, key).and_then(Value::as_str);
    let mappings = text("ovn-bridge-mappings").unwrap_or_default();
    let networks = mappings.split(',').filter_map(|pair| Some(pair.split_once(':')?.0.to_owned()));
    Some(Identity { name: text("system-id")?.to_owned(), physical_networks: networks.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_port_has_no_count_of_is_none_yet() {
        let said = concat!(
            "tap1\n",
            r#"{"data":[["tap1",["map",[["edgestack-vm","a"],["iface-id","p1"]]],["map",[["rx_packets",7],["tx_bytes",90]]]]],"#,
            r#""headings":["name","external_ids","statistics"]}"#,
        );
        let expected = Counters {
            vm: "a".into(),
            port: "p1".into(),
            device: "tap1".into(),
            received_packets: 7,
            sent_bytes: 90,
            ..Counters::default()
        };
        assert_eq!(counters(said), Some(vec![expected]));
    }

    #[test]
    fn a_chassis_tells_its_name_and_what_it_leads_to() {
        let said = |ids: &str| format!("{{\"data\":[[[\"map\",[{ids}]]]],\"headings\":[\"external_ids\"]}}\n");
        let whole = said(
            r#"["ovn-bridge-mappings","wan:br-wan,lab:br-lab"],["system-id","c0ffee"],["ovn-remote","ssl:[::1]:6642"]"#,
        );
        let networks = ["lab", "wan"].map(str::to_owned).into();
        assert_eq!(identity(&whole), Some(Identity { name: "c0ffee".into(), physical_networks: networks }));
        let bare = said(r#"["system-id","c0ffee"]"#);
        assert_eq!(identity(&bare), Some(Identity { name: "c0ffee".into(), physical_networks: BTreeSet::new() }));
        assert_eq!(identity(&said("")), None);
        assert_eq!(identity("ovs-vsctl: no"), None);
    }
}
