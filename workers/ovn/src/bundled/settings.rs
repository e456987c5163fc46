//! What stands in the switch's database before the switch and the controller are started.

use std::time::Duration;

use tokio::process::Command;

use super::part::Part;
use super::tool::{self, ToolError, quoted};
use super::{BundledConfig, Plan};

/// How long ovs-vsctl may wait for the database.
const DATABASE_PATIENCE_SECONDS: u32 = 10;

/// Writes the settings, in one transaction that changes nothing when they stand there already. It doesn't wait for the
/// switch, which may not run yet.
pub(super) async fn write(plan: &Plan) -> Result<(), ToolError> {
    let folder = &plan.folder;
    let mut command = Command::new(&plan.config.programs.ovs_vsctl);
    command
        .arg(format!("--db=unix:{}", folder.socket(Part::SwitchDatabase).display()))
        .arg(format!("--timeout={DATABASE_PATIENCE_SECONDS}"))
        .arg("--no-wait")
        .args(arguments(&plan.config, &format!("unix:{}", folder.socket(Part::SouthboundDatabase).display())));
    tool::run(command, Duration::from_secs(u64::from(DATABASE_PATIENCE_SECONDS) + 5)).await.map(drop)
}

/// Keys of `external_ids` by ovn-controller(8), CONFIGURATION; the rest by ovs-vswitchd.conf.db(5).
fn arguments(config: &BundledConfig, southbound: &str) -> Vec<String> {
    let datapath = config.datapath.type_name();
    let mut words =
        vec!["init".to_owned(), "--".to_owned(), "set".to_owned(), "Open_vSwitch".to_owned(), ".".to_owned()];
    let mut id = |key: &str, value: &str| words.push(format!("external_ids:{key}={}", quoted(value)));
    id("system-id", &config.system_id);
    id("ovn-remote", southbound);
    id("ovn-bridge", &config.integration_bridge);
    id("ovn-bridge-datapath-type", datapath);
    // On one node no packet is ever encapsulated, but a chassis without an address to do it at isn't taken.
    id("ovn-encap-type", "geneve");
    id("ovn-encap-ip", "127.0.0.1");
    if config.physical_networks.is_empty() {
        words.extend(["--", "remove", "Open_vSwitch", ".", "external_ids", "ovn-bridge-mappings"].map(str::to_owned));
    } else {
        let pairs = config.physical_networks.iter().map(|(network, bridge)| format!("{network}:{bridge}"));
        id("ovn-bridge-mappings", &pairs.collect::<Vec<_>>().join(","));
    }
    for bridge in config.bridges() {
        words.extend(["--", "--may-exist", "add-br", bridge, "--", "set", "Bridge", bridge].map(str::to_owned));
        words.push(format!("datapath_type={datapath}"));
        if bridge == config.integration_bridge {
            // Without its controller's flows it moves nothing; the others learn addresses as any switch does.
            words.push("fail_mode=secure".to_owned());
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::super::{Datapath, Programs};
    use super::*;

    #[test]
    fn every_bridge_is_made_and_only_the_integration_bridge_is_secure() {
        let programs = Programs::nowhere();
        let mut config = BundledConfig::new("/x", "node \"1\"", Datapath::Userspace, programs);
        let words = arguments(&config, "unix:/x/sb.sock").join(" ");
        assert!(words.contains(r#"external_ids:system-id="node \"1\"""#), "{words}");
        assert!(words.contains("-- remove Open_vSwitch . external_ids ovn-bridge-mappings"), "{words}");
        assert!(words.ends_with("add-br br-int -- set Bridge br-int datapath_type=netdev fail_mode=secure"), "{words}");

        config.physical_networks =
            [("a", "br-a"), ("b", "br-b"), ("c", "br-a")].map(|(n, b)| (n.into(), b.into())).into();
        let words = arguments(&config, "unix:/x/sb.sock").join(" ");
        assert!(words.contains(r#"external_ids:ovn-bridge-mappings="a:br-a,b:br-b,c:br-a""#), "{words}");
        assert_eq!(words.matches("--may-exist add-br br-a").count(), 1, "{words}");
        assert!(words.ends_with("add-br br-b -- set Bridge br-b datapath_type=netdev"), "{words}");
    }
}
