//! A VM's NICs on this node: TAP devices on the integration bridge, and what the guest is told of them.

use std::{net::IpAddr, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc, sync::OnceLock};

use edgestack_engine::error_chain;
use edgestack_model::{Id, network::DOMAIN, vm::Vm};
use edgestack_ovn::chassis::{Chassis, Plug};
use edgestack_pool::DriverError;
use edgestack_qemu::{Nic, seed::SeedNic};

use super::{StartAddress, StartNic};

/// What QEMU opens its TAP devices by.
const TUN: &str = "/dev/net/tun";

/// This node's way into the virtual network: empty until that is up.
pub type NodeNetwork = Arc<OnceLock<Chassis>>;

/// The name of a NIC's device on its node: at most 15 bytes, from the random end of the VM's id, of which a number of more
/// than one digit leaves less.
pub(super) fn device_name(vm: Id<Vm>, number: u32) -> String {
    let (id, number) = (vm.uuid().simple().to_string(), number.to_string());
    format!("es{}n{number}", id.get(20 + number.len()..).unwrap_or_default())
}

/// Plugs the NICs in, for QEMU to open.
pub(super) async fn plug(
    chassis: &Chassis,
    owner: &str,
    vm: Id<Vm>,
    nics: &[StartNic],
) -> Result<Vec<Nic>, DriverError> {
    let_all_open_tun()?;
    let mut plugged = Vec::new();
    for nic in nics {
        let device = device_name(vm, nic.number);
        let plug = Plug {
            device: device.clone(),
            owner: owner.to_owned(),
            port: nic.port.clone(),
            vm: vm.to_string(),
            mtu: nic.mtu,
        };
        chassis.plug(&plug).await.map_err(|error| DriverError::retry(error_chain(&error)))?;
        let offload = chassis.datapath.takes_vnet_header();
        plugged.push(Nic::Tap { number: nic.number, mac: nic.mac.clone(), device, mtu: nic.mtu, offload });
    }
    Ok(plugged)
}

/// Takes one of a VM's NICs out.
pub(super) async fn unplug_one(chassis: &Chassis, vm: Id<Vm>, number: u32) -> Result<(), DriverError> {
    let unplugged = chassis.unplug(&device_name(vm, number)).await;
    unplugged.map_err(|error| DriverError::retry(error_chain(&error)))
}

/// Takes all of a VM's NICs out.
pub(super) async fn unplug(chassis: &Chassis, vm: Id<Vm>) -> Result<(), DriverError> {
    let retry = |error: &(dyn std::error::Error + 'static)| DriverError::retry(error_chain(error));
    let vm = vm.to_string();
    for plugged in chassis.plugged().await.map_err(|error| retry(&error))? {
        if plugged.vm == vm {
            chassis.unplug(&plugged.device).await.map_err(|error| retry(&error))?;
        }
    }
    Ok(())
}

/// QEMU is not root, and opens the device that was made for its user by this one. It lets nobody do more than that; udev
/// makes it so, where there is one. Source: systemd, rules.d/50-udev-default.rules, KERNEL=="tun".
fn let_all_open_tun() -> Result<(), DriverError> {
    let problem = |error: &std::io::Error| {
        let fix = match error.kind() {
            std::io::ErrorKind::NotFound => "modprobe tun",
            _ => "start edgestackd as root",
        };
        DriverError::retry_with_fix(format!("{TUN}: {error}"), fix)
    };
    let mode = Path::new(TUN).metadata().map_err(|error| problem(&error))?.permissions().mode();
    if mode & 0o006 == 0o006 {
        return Ok(());
    }
    tracing::info!("{TUN} is opened for all users, as udev does it, so that QEMU's may open its NICs");
    std::fs::set_permissions(TUN, std::fs::Permissions::from_mode(0o666)).map_err(|error| problem(&error))
}

/// What the guest is told of a NIC by cloud-init. What DHCP tells is left to that; IPv6 addresses are told, as nobody else
/// tells them where there is no router.
pub(super) fn seed_nic(nic: &StartNic) -> SeedNic {
    let told: Vec<&StartAddress> = nic.addresses.iter().filter(|address| !nic.dhcp || address.ip.is_ipv6()).collect();
    let gateways = if nic.dhcp { vec![] } else { told.iter().filter_map(|address| address.gateway).collect() };
    let words = |addresses: &[IpAddr]| addresses.iter().map(ToString::to_string).collect();
    SeedNic {
        mac: nic.mac.clone(),
        dhcp4: nic.dhcp && nic.addresses.iter().any(|address| address.ip.is_ipv4()),
        dhcp6: false,
        addresses: told.iter().map(|address| format!("{}/{}", address.ip, address.prefix_length)).collect(),
        gateways: words(&gateways),
        name_servers: words(&nic.name_servers),
        search: (!nic.dhcp && !nic.name_servers.is_empty()).then(|| DOMAIN.to_owned()),
        mtu: Some(nic.mtu),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_nic(dhcp: bool) -> StartNic {
        let address = |ip: &str, prefix_length, gateway: &str| StartAddress {
            ip: ip.parse().unwrap(),
            prefix_length,
            gateway: gateway.parse().ok(),
        };
        StartNic {
            number: 1,
            port: "p".into(),
            mac: "fa:16:3e:00:00:01".into(),
            mtu: 1442,
            dhcp,
            addresses: vec![address("10.0.0.2", 24, "10.0.0.1"), address("fd00::2", 64, "fd00::1")],
            name_servers: if dhcp { vec![] } else { vec!["9.9.9.9".parse().unwrap()] },
        }
    }

    #[test]
    fn what_dhcp_tells_is_left_to_it_and_all_else_is_told() {
        let by_dhcp = seed_nic(&a_nic(true));
        assert_eq!((by_dhcp.dhcp4, by_dhcp.addresses.as_slice()), (true, &["fd00::2/64".to_owned()][..]));
        assert!(by_dhcp.gateways.is_empty());
        let fixed = seed_nic(&a_nic(false));
        assert_eq!((fixed.dhcp4, fixed.addresses.len()), (false, 2));
        assert_eq!(fixed.gateways, ["10.0.0.1", "fd00::1"]);
        assert_eq!(fixed.search.as_deref(), Some("internal"));
    }

    #[test]
    fn a_device_is_named_by_its_vm_within_the_kernels_bounds() {
        let name = device_name(Id::new(uuid::Uuid::from_u128(0x0199_a0b1_0000_7000_8000_0123_4567_89ab)), 7);
        assert_eq!(name, "es123456789abn7");
        assert_eq!(name.len(), 15);
        let later = device_name(Id::new(uuid::Uuid::from_u128(0x0199_a0b1_0000_7000_8000_0123_4567_89ab)), 123);
        assert_eq!((later.as_str(), later.len()), ("es3456789abn123", 15));
    }
}
