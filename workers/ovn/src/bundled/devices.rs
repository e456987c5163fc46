//! Network devices: those there are, those our switch's database names, and removing what a killed switch left.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::process::Command;

use super::part::Part;
use super::process::other_switch;
use super::tool::{self, ToolError};
use super::{Datapath, Plan};
use crate::chassis::VM_KEY;

/// How long ip(8) and ovsdb-tool(1) may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The device of the userspace datapath itself; there is one in a network namespace.
const USERSPACE_DEVICE: &str = "ovs-netdev";

/// A network device, as `ip -details -json link show` tells.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Link {
    #[serde(rename = "ifname")]
    pub(crate) name: String,
    #[serde(rename = "linkinfo", default)]
    info: LinkInfo,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
struct LinkInfo {
    #[serde(rename = "info_kind", default)]
    kind: String,
    #[serde(rename = "info_data", default)]
    data: LinkData,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
struct LinkData {
    #[serde(rename = "type", default)]
    kind: Value,
    /// The owner's name, or the number of one without a name.
    #[serde(default)]
    user: Option<Value>,
}

impl Link {
    /// Whether it is a TAP device: one whose packets a program reads and writes.
    pub(crate) fn is_tap(&self) -> bool {
        self.info.kind == "tun" && self.info.data.kind == "tap"
    }

    /// Whose it is.
    pub(crate) fn user(&self) -> Option<String> {
        self.info.data.user.as_ref().map(|user| match user {
            Value::String(name) => name.clone(),
            other => other.to_string(),
        })
    }
}

/// All devices of a network namespace.
pub(crate) async fn links(ip: &Path, netns: Option<&str>) -> Result<Vec<Link>, ToolError> {
    let mut command = tool::ip(ip, netns);
    command.args(["-details", "-json", "link", "show"]);
    let text = tool::run(command, PATIENCE).await?;
    serde_json::from_str(&text)
        .map_err(|error| tool::ToolError::refused(ip, format!("it said no list of devices ({error})")))
}

/// Removes a device; one that has gone meanwhile is removed.
pub(crate) async fn remove(ip: &Path, netns: Option<&str>, name: &str) -> Result<(), ToolError> {
    let mut command = tool::ip(ip, netns);
    command.args(["link", "delete", "dev", name]);
    match tool::run(command, PATIENCE).await {
        Err(error) if error.to_string().contains("Cannot find device") => Ok(()),
        done => done.map(drop),
    }
}

/// The devices that the switch's database names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    /// The switch's own: those of its bridges, and of internal ports.
    pub(super) internal: BTreeSet<String>,
    /// Those that we plugged for VMs.
    pub(super) plugged: BTreeSet<String>,
}

/// Reads them from the file, which is up to date whether the database's server runs or not.
pub(super) async fn named(plan: &Plan) -> Result<Named, ToolError> {
    let database = plan.folder.database(Part::SwitchDatabase);
    if !database.exists() {
        return Ok(Named::default());
    }
    let tool = &plan.config.programs.ovsdb_tool;
    let mut command = Command::new(tool);
    command.arg("query").arg(database).arg(
        r#"["Open_vSwitch",
            {"op":"select","table":"Bridge","where":[],"columns":["name"]},
            {"op":"select","table":"Interface","where":[],"columns":["name","type","external_ids"]}]"#,
    );
    let text = tool::run(command, PATIENCE).await?;
    parse_named(&text).ok_or_else(|| ToolError::refused(tool, "it said no list of bridges"))
}

/// Rows as RFC 7047, section 5.2.1 and 5.1 have them.
fn parse_named(text: &str) -> Option<Named> {
    let answers: Value = serde_json::from_str(text).ok()?;
    let rows = |number: usize| answers.get(number)?.get("rows")?.as_array();
    let name = |row: &Value| row.get("name")?.as_str().map(str::to_owned);
    let mut named = Named::default();
    named.internal.extend(rows(0)?.iter().filter_map(name));
    for row in rows(1)? {
        let pairs = row.pointer("/external_ids/1").and_then(Value::as_array);
        let is_plugged =
            pairs.is_some_and(|pairs| pairs.iter().any(|pair| pair.get(0).is_some_and(|key| key == VM_KEY)));
        if is_plugged {
            named.plugged.extend(name(row));
        } else if row.get("type").is_some_and(|kind| kind == "internal") {
            named.internal.extend(name(row));
        }
    }
    Some(named)
}

/// Before the switch is started: a switch of the userspace takes its TAP devices up again, whatever addresses they were
/// given stay; one of the kernel can't make its own where they are.
pub(super) async fn clear_the_way(plan: &Plan) -> Result<(), ToolError> {
    if plan.config.datapath == Datapath::Kernel {
        let named = named(plan).await?;
        remove_taps(plan, named.internal).await?;
    }
    Ok(())
}

/// Removes those of these devices that are TAP devices, and the userspace datapath's own unless another switch may have
/// it. No switch of ours runs.
pub(super) async fn remove_taps(plan: &Plan, mut names: BTreeSet<String>) -> Result<(), ToolError> {
    let (ip, netns) = (&plan.config.programs.ip, plan.config.netns.as_deref());
    if matches!(other_switch(plan), Ok(None)) {
        names.insert(USERSPACE_DEVICE.to_owned());
    }
    for link in links(ip, netns).await? {
        if link.is_tap() && names.contains(&link.name) {
            tracing::info!(name = link.name, "removing a device that a switch left behind");
            remove(ip, netns, &link.name).await?;
        }
    }
    Ok(())
}

/// Whether the userspace datapath of this network namespace is there, ours or another's.
pub(super) async fn userspace_datapath_is_there(plan: &Plan) -> Result<bool, ToolError> {
    let links = links(&plan.config.programs.ip, plan.config.netns.as_deref()).await?;
    Ok(links.iter().any(|link| link.name == USERSPACE_DEVICE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bridges_internal_ports_and_our_own_plugs_are_named() {
        let text = r#"[{"rows":[{"name":"br-int"}]},{"rows":[
            {"name":"tap1","type":"","external_ids":["map",[["edgestack-vm","1"],["iface-id","p1"]]]},
            {"name":"eth7","type":"","external_ids":["map",[["iface-id","p2"]]]},
            {"name":"in0","type":"internal","external_ids":["map",[]]}]}]"#;
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let expected = Named { internal: set(&["br-int", "in0"]), plugged: set(&["tap1"]) };
        assert_eq!(parse_named(text), Some(expected));
        assert_eq!(parse_named(r#"[{"error":"x"}]"#), None);
    }

    #[test]
    fn a_tap_is_told_from_another_device_with_whose_it_is() {
        let text = r#"[{"ifname":"lo","flags":["UP"]},
            {"ifname":"a","linkinfo":{"info_kind":"tun","info_data":{"type":"tap","pi":false,"user":"nobody"}}},
            {"ifname":"b","linkinfo":{"info_kind":"tun","info_data":{"type":"tun","user":4711}}},
            {"ifname":"c","linkinfo":{"info_kind":"veth"}}]"#;
        let links: Vec<Link> = serde_json::from_str(text).expect("links");
        let seen: Vec<_> = links.iter().map(|link| (link.name.as_str(), link.is_tap(), link.user())).collect();
        let expected =
            [("lo", false, None), ("a", true, Some("nobody")), ("b", false, Some("4711")), ("c", false, None)];
        assert_eq!(seen, expected.map(|(name, tap, user)| (name, tap, user.map(str::to_owned))));
    }
}
