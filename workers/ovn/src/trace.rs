//! Where a packet would go by what is in the southbound database: ovn-trace(8), and its words taken apart.
//!
//! It follows the logical network only: not the tunnels between nodes, nor whether a guest is there and answers.

mod parse;

use std::path::PathBuf;
use std::time::Duration;

use tokio::process::Command;

use crate::bundled::{BundledError, ToolError, find, run};
use crate::ovsdb::Endpoints;

/// How long ovn-trace may take: it reads the whole southbound database first.
const PATIENCE: Duration = Duration::from_secs(20);
/// So often a packet may meet the connection tracker; each time it is taken for the first of its connection.
const CT_MAX: usize = 16;

/// ovn-trace on a site's southbound database.
#[derive(Debug, Clone)]
pub struct Tracer {
    program: PathBuf,
    southbound: Endpoints,
}

/// What became of a packet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// Its way, in order.
    pub sections: Vec<Section>,
    /// ovn-trace's own words.
    pub text: String,
}

/// A pipeline of a datapath, or what an action makes of the packet within it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// `ingress`, `egress`, `ct_next`, `arp` …; ovn-trace(8), ovn-sb(5), Logical_Flow, `actions`.
    pub name: String,
    /// The datapath's name: of the logical switch or router. What an action makes of a packet has those of its section.
    pub datapath: Option<String>,
    /// The port that it came in by.
    pub inport: Option<String>,
    /// The port that it goes out by.
    pub outport: Option<String>,
    /// The tables that it passed.
    pub stages: Vec<Stage>,
}

/// A table that a packet passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// `ls_in_acl`; ovn-northd(8), "Logical Flow Table Structure".
    pub name: String,
    /// What the flow is about that was taken; `None` where there is none, and the packet ends.
    pub matches: Option<String>,
    /// What was done.
    pub actions: Vec<String>,
}

impl Trace {
    /// What ovn-trace said, taken apart.
    ///
    /// # Errors
    /// [`TraceError::Unreadable`].
    pub fn read(text: String) -> Result<Self, TraceError> {
        let sections = parse::sections(&text);
        if sections.is_empty() {
            return Err(TraceError::Unreadable(text.chars().take(200).collect()));
        }
        Ok(Self { sections, text })
    }
}

impl Stage {
    /// Whether the packet ended here.
    pub fn drops(&self) -> bool {
        self.matches.is_none() || self.actions.iter().any(|action| action == "drop;" || action.contains("/* drop */"))
    }

    /// Where it left the logical network or a datapath: the port, and its type (empty for a VM's).
    pub fn outputs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.actions.iter().filter_map(|action| {
            let rest = action.strip_prefix("/* output to \"")?;
            let (port, rest) = rest.split_once("\", type \"")?;
            Some((port, rest.split('"').next()?))
        })
    }
}

/// Why there is no trace.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// It can't be run, or doesn't take the question.
    #[error("the packet can't be traced")]
    Tool(#[from] ToolError),
    /// Another version says it otherwise.
    #[error("what ovn-trace said can't be read: {0:?}")]
    Unreadable(String),
}

impl Tracer {
    /// # Errors
    /// [`BundledError::Missing`] without ovn-trace.
    pub fn find(southbound: Endpoints) -> Result<Self, BundledError> {
        Ok(Self { program: find("ovn-trace")?, southbound })
    }

    /// Traces a packet, described as ovn-trace(8) has it under `microflow`, from its port `inport` on.
    ///
    /// # Errors
    /// [`TraceError`].
    pub async fn trace(&self, microflow: &str) -> Result<Trace, TraceError> {
        let mut command = Command::new(&self.program);
        command.arg(format!("--db={}", self.southbound)).arg("--no-leader-only");
        if let Some(tls) = self.southbound.tls() {
            command.arg("--ca-cert").arg(&tls.ca).arg("--certificate").arg(&tls.certificate);
            command.arg("--private-key").arg(&tls.private_key);
        }
        command.args([["--ct=new"]; CT_MAX].concat()).arg(microflow);
        Trace::read(run(command, PATIENCE).await?)
    }
}
