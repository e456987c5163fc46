//! Where the programs and schemas are.

use std::env;
use std::path::{Path, PathBuf};

use super::error::BundledError;

/// Where the programs and schemas of Open vSwitch and OVN are; Debian's packages openvswitch-switch, ovn-central,
/// ovn-host and iproute2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// ovsdb-server(1).
    pub ovsdb_server: PathBuf,
    /// ovsdb-tool(1).
    pub ovsdb_tool: PathBuf,
    /// ovs-vsctl(8).
    pub ovs_vsctl: PathBuf,
    /// ovs-vswitchd(8).
    pub ovs_vswitchd: PathBuf,
    /// ovn-northd(8).
    pub ovn_northd: PathBuf,
    /// ovn-controller(8).
    pub ovn_controller: PathBuf,
    /// ip(8).
    pub ip: PathBuf,
    /// The schema Open_vSwitch.
    pub switch_schema: PathBuf,
    /// The schema OVN_Northbound.
    pub northbound_schema: PathBuf,
    /// The schema OVN_Southbound.
    pub southbound_schema: PathBuf,
}

impl Programs {
    /// Looks in `PATH`, then where Debian has them.
    ///
    /// # Errors
    /// [`BundledError::Missing`] with the first that isn't there.
    pub fn find() -> Result<Self, BundledError> {
        Ok(Self {
            ovsdb_server: find("ovsdb-server")?,
            ovsdb_tool: find("ovsdb-tool")?,
            ovs_vsctl: find("ovs-vsctl")?,
            ovs_vswitchd: find("ovs-vswitchd")?,
            ovn_northd: find("ovn-northd")?,
            ovn_controller: find("ovn-controller")?,
            ip: find("ip")?,
            switch_schema: there("/usr/share/openvswitch/vswitch.ovsschema")?,
            northbound_schema: there("/usr/share/ovn/ovn-nb.ovsschema")?,
            southbound_schema: there("/usr/share/ovn/ovn-sb.ovsschema")?,
        })
    }
}

/// A program by its name.
pub(crate) fn find(name: &str) -> Result<PathBuf, BundledError> {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from);
    let mut places = env::split_paths(&path).filter(|folder| folder.is_absolute()).chain(system);
    let found = places.find_map(|folder| Some(folder.join(name)).filter(|file| file.is_file()));
    found.ok_or_else(|| BundledError::Missing { what: name.to_owned() })
}

fn there(schema: &str) -> Result<PathBuf, BundledError> {
    let path = Path::new(schema);
    if path.is_file() { Ok(path.to_owned()) } else { Err(BundledError::Missing { what: schema.to_owned() }) }
}

#[cfg(test)]
impl Programs {
    /// For tests that run none.
    pub(super) fn nowhere() -> Self {
        let nowhere = PathBuf::from("/nowhere");
        Self {
            ovsdb_server: nowhere.clone(),
            ovsdb_tool: nowhere.clone(),
            ovs_vsctl: nowhere.clone(),
            ovs_vswitchd: nowhere.clone(),
            ovn_northd: nowhere.clone(),
            ovn_controller: nowhere.clone(),
            ip: nowhere.clone(),
            switch_schema: nowhere.clone(),
            northbound_schema: nowhere.clone(),
            southbound_schema: nowhere,
        }
    }
}
