//! What DHCP tells. Source of the options: ovn-nb(5), DHCP_Options; RFC 2132, RFC 3442, RFC 8415.

use std::net::IpAddr;

use edgestack_model::{
    address::Mac,
    network::{DOMAIN, Ipv6Mode, Network, Subnet},
};
use edgestack_ovn::ovsdb::{Row, Value};

/// How long an address is a guest's before it asks again, seconds: it has it for good, so a day.
const LEASE_SECONDS: u32 = 86_400;
/// Who answers where there is no router. Guests that send to it alone are answered on its broadcast in time.
const SERVER_WITHOUT_GATEWAY: &str = "169.254.169.253";

/// The options of a prefix.
pub(super) fn options(network: &Network, subnet: &Subnet) -> Row {
    let options = if subnet.cidr.is_ipv4() { v4(network, subnet) } else { v6(network, subnet) };
    Row::new().with("cidr", Value::text(subnet.cidr.to_string())).with("options", Value::map(options))
}

fn v4(network: &Network, subnet: &Subnet) -> Vec<(&'static str, String)> {
    let spec = &network.spec;
    let server = subnet.gateway_ip.map_or_else(|| SERVER_WITHOUT_GATEWAY.to_owned(), |gateway| gateway.to_string());
    let mut options = vec![
        ("server_id", server.clone()),
        ("server_mac", server_mac(network).to_string()),
        ("lease_time", LEASE_SECONDS.to_string()),
        ("mtu", spec.mtu.to_string()),
        ("domain_name", format!("\"{DOMAIN}\"")),
        // Names of VMs are answered on the way, whoever is asked; so somebody must be.
        ("dns_server", list(name_servers(network, true)).unwrap_or(server)),
    ];
    options.extend(subnet.gateway_ip.map(|gateway| ("router", gateway.to_string())));
    let mut routes: Vec<String> =
        spec.host_routes.iter().map(|route| format!("{},{}", route.destination, route.next_hop)).collect();
    if !routes.is_empty() {
        // Who reads these does not read `router`. RFC 3442, "DHCP Client Behavior".
        let has_default = spec.host_routes.iter().any(|route| route.destination.prefix_length() == 0);
        let gateway = subnet.gateway_ip.filter(|_| !has_default);
        routes.extend(gateway.map(|gateway| format!("0.0.0.0/0,{gateway}")));
        options.push(("classless_static_route", format!("{{{}}}", routes.join(", "))));
    }
    options
}

fn v6(network: &Network, subnet: &Subnet) -> Vec<(&'static str, String)> {
    let mut options = vec![("server_id", server_mac(network).to_string()), ("domain_search", format!("\"{DOMAIN}\""))];
    options.extend(list(name_servers(network, false)).map(|servers| ("dns_server", servers)));
    if subnet.ipv6_mode == Some(Ipv6Mode::Slaac) {
        options.push(("dhcpv6_stateless", "true".to_owned()));
    }
    options
}

fn name_servers(network: &Network, ipv4: bool) -> Vec<&IpAddr> {
    network.spec.dns_servers.iter().filter(|server| server.is_ipv4() == ipv4).collect()
}

fn list(servers: Vec<&IpAddr>) -> Option<String> {
    let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
    (!servers.is_empty()).then(|| format!("{{{}}}", servers.join(", ")))
}

/// The same for a network's whole life: guests remember it.
pub(crate) fn server_mac(network: &Network) -> Mac {
    let bytes = network.id.uuid().into_bytes();
    Mac::of_infrastructure(u32::from_be_bytes([0, bytes[13], bytes[14], bytes[15]]))
}
