//! A probe's echo requests: its device is plugged, the nodes work by it, it asks, and its device is taken out.

use edgestack_engine::error_chain;
use edgestack_ovn::{
    chassis::{Chassis, ChassisError, Plug},
    ping::{Host, Ping, Pinged, Port},
};
use tracing::Instrument as _;
use uuid::Uuid;

use super::{ProbeError, Standing};

/// Before a probe's id, where a VM's is on its port of the bridge.
const TAG: &str = "probe-";

/// Why a probe could not ask.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It is not in the virtual network.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// It can't be plugged.
    #[error("the test's port can't be plugged")]
    Chassis(#[from] ChassisError),
    /// Its device can't be used.
    #[error("the test's port can't be used")]
    Device(#[source] std::io::Error),
}

/// Asks from a probe.
///
/// # Errors
/// [`AskError`]; its device is taken out then, too.
pub async fn ask(chassis: &Chassis, standing: &Standing, asked: Ping) -> Result<Pinged, AskError> {
    let probe = &standing.probe;
    let device = device_name(probe.id);
    let plug = Plug {
        device: device.clone(),
        owner: rustix::process::geteuid().as_raw().to_string(),
        port: probe.id.to_string(),
        vm: format!("{TAG}{}", probe.id),
        mtu: u16::try_from(probe.mtu).unwrap_or(u16::MAX),
    };
    let host = Host {
        device: device.clone(),
        mac: probe.mac.octets(),
        addresses: probe.addresses.clone(),
        gateways: probe.gateways.clone(),
    };
    // It goes also when whoever asked goes away in the middle: the task that takes it out is not his.
    let out = TakeOut { chassis: chassis.clone(), device: device.clone() };
    chassis.plug(&plug).await?;
    let port = Port::open(host).await.map_err(AskError::Device)?;
    standing.until_realized().await?;
    chassis.until_installed(&device).await?;
    let pinged = port.ping(asked).await.map_err(AskError::Device);
    drop(out);
    pinged
}

/// Takes out what a process before this one left.
pub async fn sweep(chassis: &Chassis) {
    let plugged = match chassis.plugged().await {
        Ok(plugged) => plugged,
        Err(error) => return tracing::warn!(error = error_chain(&error), "ports of earlier tests can't be looked for"),
    };
    for plugged in plugged.into_iter().filter(|plugged| plugged.vm.starts_with(TAG)) {
        tracing::info!(device = plugged.device, "taking out the port of a test that was killed");
        take_out(chassis, &plugged.device).await;
    }
}

struct TakeOut {
    chassis: Chassis,
    device: String,
}

impl Drop for TakeOut {
    fn drop(&mut self) {
        let (chassis, device) = (self.chassis.clone(), std::mem::take(&mut self.device));
        let work = async move { take_out(&chassis, &device).await };
        tokio::spawn(work.in_current_span());
    }
}

async fn take_out(chassis: &Chassis, device: &str) {
    if let Err(error) = chassis.unplug(device).await {
        tracing::warn!(device, error = error_chain(&error), "a test's port can't be taken out");
    }
}

/// At most 15 bytes, from the random end of the id.
fn device_name(id: Uuid) -> String {
    let id = id.simple().to_string();
    format!("esp{}", id.get(20..).unwrap_or_default())
}
