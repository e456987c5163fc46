//! What OVN's own health checks have found: ovn-sb(5), Service_Monitor.

use std::time::Duration;

use crate::ovsdb::{Client, Endpoints, OvsdbError, Watched};

const DATABASE: &str = "OVN_Southbound";
const TABLE: &str = "Service_Monitor";
/// How long the database may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A service that ovn-controller asks whether it lives.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceMonitor {
    /// The logical switch port behind which it is.
    pub logical_port: String,
    /// Its address.
    pub ip: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Its port.
    pub port: u16,
    /// Who is said to ask.
    pub source_ip: String,
    /// `online`, `offline` or `error`; absent where nothing is known yet.
    pub status: Option<String>,
}

/// All of them, as they are now.
///
/// # Errors
/// The southbound database can't be read.
pub async fn service_monitors(southbound: &Endpoints) -> Result<Vec<ServiceMonitor>, OvsdbError> {
    let columns = &["logical_port", "ip", "protocol", "port", "src_ip", "status"];
    let client = Client::connect(southbound, DATABASE, &[Watched { table: TABLE, columns }], PATIENCE).await?;
    let copy = client.copy();
    let text = |row: &crate::ovsdb::Row, column: &str| row.text(column).unwrap_or_default().to_owned();
    let monitors = copy.rows(TABLE).map(|(_, row)| ServiceMonitor {
        logical_port: text(row, "logical_port"),
        ip: text(row, "ip"),
        protocol: text(row, "protocol"),
        port: row.integer("port").and_then(|port| u16::try_from(port).ok()).unwrap_or_default(),
        source_ip: text(row, "src_ip"),
        status: row.text("status").filter(|status| !status.is_empty()).map(str::to_owned),
    });
    let mut monitors: Vec<ServiceMonitor> = monitors.collect();
    monitors.sort();
    Ok(monitors)
}
