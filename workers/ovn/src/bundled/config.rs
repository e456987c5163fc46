//! What is to be run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::datapath::Datapath;
use super::error::BundledError;
use super::programs::Programs;

/// A device's name in bytes, without the final zero; IFNAMSIZ in netdevice(7).
const DEVICE_NAME_BYTES_MAX: usize = 15;

/// What is to be run, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundledConfig {
    /// Everything of the OVN is in this folder. It is made if need be, for nobody but us.
    pub folder: PathBuf,
    /// The node's name: that of its chassis in the southbound database.
    pub system_id: String,
    /// The bridge that VMs are plugged into. Its name is that of a device, so of all in a network namespace.
    pub integration_bridge: String,
    /// Who moves the packets.
    pub datapath: Datapath,
    /// From the name of a physical network, as localnet ports have it, to the bridge that leads there. Bridges are made
    /// if need be; one that is no longer named here stays, with what is plugged into it.
    pub physical_networks: BTreeMap<String, String>,
    /// The network namespace (ip-netns(8)) that the processes and devices are in; ours without one.
    pub netns: Option<String>,
    /// Where the programs are.
    pub programs: Programs,
}

impl BundledConfig {
    /// With the integration bridge `br-int`, no physical network, in our own network namespace.
    pub fn new(
        folder: impl Into<PathBuf>,
        system_id: impl Into<String>,
        datapath: Datapath,
        programs: Programs,
    ) -> Self {
        Self {
            folder: folder.into(),
            system_id: system_id.into(),
            integration_bridge: "br-int".to_owned(),
            datapath,
            physical_networks: BTreeMap::new(),
            netns: None,
            programs,
        }
    }

    /// Each bridge once, the integration bridge first.
    pub(super) fn bridges(&self) -> impl Iterator<Item = &str> {
        let physical: BTreeSet<_> = self.physical_networks.values().map(String::as_str).collect();
        [self.integration_bridge.as_str()].into_iter().chain(physical)
    }

    pub(super) fn check(&self) -> Result<(), BundledError> {
        let bad = |of, name: &str, why| Err(BundledError::BadName { of, name: name.to_owned(), why });
        for bridge in self.bridges() {
            if let Some(why) = device_name_problem(bridge) {
                return bad("a bridge", bridge, why);
            }
        }
        for (network, bridge) in &self.physical_networks {
            if network.is_empty() || network.contains([':', ',', '"', '\\']) {
                return bad("a physical network", network, "it must not be empty, nor have : , \" or \\ in it");
            }
            if *bridge == self.integration_bridge {
                return bad("a physical network's bridge", bridge, "that is the integration bridge; name another one");
            }
        }
        if self.system_id.is_empty() {
            return bad("the node", &self.system_id, "it must not be empty");
        }
        if let Some(name) = &self.netns
            && (name.contains('/') || !Path::new("/run/netns").join(name).exists())
        {
            return Err(BundledError::NoNamespace { name: name.clone() });
        }
        if rustix::process::geteuid().is_root() { Ok(()) } else { Err(BundledError::NotRoot) }
    }
}

/// Why a device can't have this name: neither the kernel nor a command line takes every one.
pub(crate) fn device_name_problem(name: &str) -> Option<&'static str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > DEVICE_NAME_BYTES_MAX {
        return Some("it must have 1 to 15 characters");
    }
    let begins_plainly = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    (!begins_plainly || !name.chars().all(is_plain))
        .then_some("it must have letters, digits, - _ and . only, and begin with a letter or digit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_device_or_a_mapping_cannot_have_are_refused() {
        for bad in ["", "a-bridge-of-16-b", "--all", ".", "a/b", "a b", "bücke"] {
            assert!(device_name_problem(bad).is_some(), "{bad:?}");
        }
        for good in ["br-int", "br-int.100", "9lives", "a-bridge-of-15b"] {
            assert_eq!(device_name_problem(good), None, "{good:?}");
        }
        let check = |network: &str, bridge: &str, expected: &str| {
            let mut config = BundledConfig::new("/x", "node", Datapath::Userspace, Programs::nowhere());
            config.physical_networks.insert(network.to_owned(), bridge.to_owned());
            let error = config.check().expect_err("refused").to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("a,b", "br-ex", "a physical network");
        check("outside", "br-int", "name another one");
        check("outside", "br ex", "a bridge");
    }
}
