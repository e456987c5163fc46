//! NICs that come and go while their machine runs. QEMU docs/pcie.txt, "Hot-plug"; qapi/qdev.json, qapi/net.json.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;

use crate::command_line::{NicParts, nic_device, nic_netdev, nic_parts, nic_port};
use crate::machine::{NIC_PORTS, Nic};
use crate::qmp::{QmpClient, QmpError};

/// Where QEMU's object model has the devices that have names. QEMU docs/devel/qom.
const DEVICES: &str = "/machine/peripheral";

/// Why a NIC isn't plugged or unplugged.
#[derive(Debug, thiserror::Error)]
pub enum HotplugError {
    /// QEMU refuses, or isn't reached.
    #[error("QEMU does not change its NICs")]
    Qmp(#[from] QmpError),
    /// The machine was started without ports for NICs, or as many NICs are there as it has.
    #[error("the machine has no free port for NIC {number}")]
    NoPort {
        /// The NIC.
        number: u32,
    },
    /// Only NICs with a TAP device come and go.
    #[error("a user-mode NIC comes and goes with its process alone")]
    UserNat,
    /// The guest was asked to let go of it, and hasn't yet. It stays asked.
    #[error("the guest has not let go of NIC {number} within {} s", after.as_secs())]
    Held {
        /// The NIC.
        number: u32,
        /// How long it was waited for.
        after: Duration,
    },
}

#[derive(Deserialize)]
struct Property {
    name: String,
    r#type: String,
}

/// The NICs with a TAP device that a machine has, by number; `None`: they can't come and go, as it was started without
/// ports for them.
pub async fn nics(client: &QmpClient) -> Result<Option<Vec<u32>>, QmpError> {
    let answer = client.execute("qom-list", json!({"path": DEVICES})).await?;
    let devices: Vec<Property> =
        serde_json::from_value(answer).map_err(|error| QmpError::Protocol(format!("qom-list: {error}")))?;
    let has_ports = devices.iter().any(|device| device.r#type == "child<pcie-root-port>");
    let nics = devices.iter().filter(|device| device.r#type.starts_with("child<virtio-net-pci"));
    let mut numbers: Vec<u32> =
        nics.filter_map(|device| device.name.strip_prefix("nic").and_then(|number| number.parse().ok())).collect();
    numbers.sort_unstable();
    Ok(has_ports.then_some(numbers))
}

/// Plugs a NIC with a TAP device in; the one of this number that is there is fine.
pub async fn plug(client: &QmpClient, nic: &Nic) -> Result<(), HotplugError> {
    let Nic::Tap { number, .. } = nic else { return Err(HotplugError::UserNat) };
    let there = nics(client).await?.ok_or(HotplugError::NoPort { number: *number })?;
    if there.contains(number) {
        return Ok(());
    }
    let port = free_port(client, &there).await?.ok_or(HotplugError::NoPort { number: *number })?;
    let NicParts { netdev, device } = nic_parts(nic, Some(&port));
    // Who was killed in between has left it.
    remove_netdev(client, *number).await?;
    client.execute("netdev_add", netdev).await?;
    if let Err(error) = client.execute("device_add", device).await {
        remove_netdev(client, *number).await?;
        return Err(error.into());
    }
    Ok(())
}

/// Unplugs a NIC: asks the guest to let go of it, and waits as long as `patience`. One that isn't there is fine.
pub async fn unplug(client: &QmpClient, number: u32, patience: Duration) -> Result<(), HotplugError> {
    let is_there =
        async || -> Result<bool, QmpError> { Ok(nics(client).await?.is_some_and(|all| all.contains(&number))) };
    if is_there().await? {
        let events = client.events();
        match client.execute("device_del", json!({"id": nic_device(number)})).await {
            Ok(_) => {}
            // It is asked already, or gone by now; what is there is looked at below.
            Err(QmpError::Refused { class, desc, .. })
                if class == "DeviceNotFound" || desc.contains("in the process of unplug") => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(mut events) = events {
            let deleted = async {
                loop {
                    match events.recv().await {
                        Ok(event) if event.name == "DEVICE_DELETED" && event.data["device"] == nic_device(number) => {
                            break;
                        }
                        Ok(_) => {}
                        // What was missed may have been it; a connection that ended tells nothing more.
                        Err(RecvError::Lagged(_) | RecvError::Closed) => break,
                    }
                }
            };
            // Whether it was heard or not: what is there decides.
            let _ = tokio::time::timeout(patience, deleted).await;
        }
        if is_there().await? {
            return Err(HotplugError::Held { number, after: patience });
        }
    }
    Ok(remove_netdev(client, number).await?)
}

/// The first port with nothing behind it.
async fn free_port(client: &QmpClient, there: &[u32]) -> Result<Option<String>, QmpError> {
    let mut taken = Vec::new();
    for number in there {
        let path = format!("{DEVICES}/{}", nic_device(*number));
        let bus = client.execute("qom-get", json!({"path": path, "property": "parent_bus"})).await?;
        // `/machine/peripheral/port0/port0`.
        taken.extend(bus.as_str().and_then(|path| path.rsplit('/').next()).map(str::to_owned));
    }
    Ok((0..NIC_PORTS).map(nic_port).find(|port| !taken.contains(port)))
}

async fn remove_netdev(client: &QmpClient, number: u32) -> Result<(), QmpError> {
    match client.execute("netdev_del", json!({"id": nic_netdev(number)})).await.map(|_: Value| ()) {
        // QEMU says of one that isn't there that it refuses.
        Err(QmpError::Refused { .. }) => Ok(()),
        done => done,
    }
}
