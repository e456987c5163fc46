//! The six processes: what each is called, how it is started, and by what it shows that it works.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use serde_json::Value;

use super::control;
use super::folder::Folder;
use super::programs::Programs;

/// A process of the bundled OVN, in the order in which they are started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The switch's database: `ovsdb-server` with the schema Open_vSwitch; ovs-vswitchd.conf.db(5).
    SwitchDatabase,
    /// What is wanted: `ovsdb-server` with the schema OVN_Northbound; ovn-nb(5).
    NorthboundDatabase,
    /// What the chassis carry out: `ovsdb-server` with the schema OVN_Southbound; ovn-sb(5).
    SouthboundDatabase,
    /// The switch, which moves the packets; ovs-vswitchd(8).
    Switch,
    /// Makes southbound flows of what is wanted; ovn-northd(8).
    Northd,
    /// Makes the switch's flows of the southbound ones; ovn-controller(8).
    Controller,
}

impl Part {
    /// All six, in the order in which they are started.
    pub const ALL: [Self; 6] = [
        Self::SwitchDatabase,
        Self::NorthboundDatabase,
        Self::SouthboundDatabase,
        Self::Switch,
        Self::Northd,
        Self::Controller,
    ];
    /// Those that must answer before the others make sense.
    pub(super) const DATABASES: [Self; 3] = [Self::SwitchDatabase, Self::NorthboundDatabase, Self::SouthboundDatabase];

    /// The stem of its files' names in the folder.
    pub(super) fn stem(self) -> &'static str {
        match self {
            Self::SwitchDatabase => "switch",
            Self::NorthboundDatabase => "nb",
            Self::SouthboundDatabase => "sb",
            Self::Switch => "vswitchd",
            Self::Northd => "northd",
            Self::Controller => "controller",
        }
    }

    pub(super) fn program(self, programs: &Programs) -> &Path {
        match self {
            Self::SwitchDatabase | Self::NorthboundDatabase | Self::SouthboundDatabase => &programs.ovsdb_server,
            Self::Switch => &programs.ovs_vswitchd,
            Self::Northd => &programs.ovn_northd,
            Self::Controller => &programs.ovn_controller,
        }
    }

    /// The schema of its database, for a part that is one.
    pub(super) fn schema(self, programs: &Programs) -> Option<&Path> {
        match self {
            Self::SwitchDatabase => Some(&programs.switch_schema),
            Self::NorthboundDatabase => Some(&programs.northbound_schema),
            Self::SouthboundDatabase => Some(&programs.southbound_schema),
            Self::Switch | Self::Northd | Self::Controller => None,
        }
    }

    /// Its command line after the program. It depends on the folder alone: a process is found again by it.
    pub(super) fn arguments(self, folder: &Folder) -> Vec<OsString> {
        let unix = |part| format!("unix:{}", folder.socket(part).display());
        let unixctl = || format!("--unixctl={}", folder.path().join(format!("{}.ctl", self.stem())).display());
        let mut arguments = match self {
            Self::SwitchDatabase | Self::NorthboundDatabase | Self::SouthboundDatabase => {
                vec![folder.database(self).display().to_string(), format!("--remote=p{}", unix(self)), unixctl()]
            }
            Self::Switch => vec![unix(Self::SwitchDatabase), unixctl()],
            Self::Northd => vec![
                format!("--ovnnb-db={}", unix(Self::NorthboundDatabase)),
                format!("--ovnsb-db={}", unix(Self::SouthboundDatabase)),
                unixctl(),
            ],
            // It takes no --unixctl; its control socket is in the folder of OVN_RUNDIR.
            Self::Controller => vec![unix(Self::SwitchDatabase)],
        };
        arguments.extend([
            pid_file_argument(self, folder),
            format!("--log-file={}", folder.log(self).display()),
            "-vconsole:off".to_owned(),
            "-vsyslog:off".to_owned(),
        ]);
        arguments.into_iter().map(OsString::from).collect()
    }

    /// Whether it does its work: a database answers, the switch has these bridges, the others are connected.
    pub(super) async fn answers(self, folder: &Folder, pid: u32, bridges: &[&str]) -> bool {
        let answer = match self {
            Self::SwitchDatabase | Self::NorthboundDatabase | Self::SouthboundDatabase => {
                // RFC 7047, section 4.1.11.
                return control::call(&folder.socket(self), "echo", &[]).await.is_ok();
            }
            Self::Switch => control::call(&folder.control(self, pid), "ofproto/list", &[]).await,
            Self::Northd => control::call(&folder.control(self, pid), "status", &[]).await,
            Self::Controller => control::call(&folder.control(self, pid), "connection-status", &[]).await,
        };
        let Ok(Value::String(answer)) = answer else {
            return false;
        };
        match self {
            Self::Switch => bridges.iter().all(|bridge| answer.lines().any(|line| line == *bridge)),
            // "standby" would be another northd at our databases.
            Self::Northd => answer.contains("active"),
            _ => answer.trim() == "connected",
        }
    }
}

/// The word of a command line by which a part of this folder is known.
pub(super) fn pid_file_argument(part: Part, folder: &Folder) -> String {
    format!("--pidfile={}", folder.path().join(format!("{}.pid", part.stem())).display())
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SwitchDatabase => "ovsdb-server (switch)",
            Self::NorthboundDatabase => "ovsdb-server (northbound)",
            Self::SouthboundDatabase => "ovsdb-server (southbound)",
            Self::Switch => "ovs-vswitchd",
            Self::Northd => "ovn-northd",
            Self::Controller => "ovn-controller",
        })
    }
}
