//! The rows that we write, written by hand: one command of ovn-nbctl, which is one transaction.

use crate::{Failure, site::Site};

use super::namespace::run;

/// Where networks by hand begin in the space of tunnel keys, far from ours.
const FIRST_KEY: usize = 1_000_000;
/// The port group of all NICs.
const DEFAULT: &str = "hand_default";

/// ovn-nbctl(8) on the site's northbound database.
pub struct ByHand {
    database: String,
}

impl ByHand {
    /// On a site's.
    pub fn of(site: &Site) -> Self {
        Self { database: format!("--db=unix:{}", site.folder().join("ovn/nb.sock").display()) }
    }

    /// Runs one command line; what it printed, a line each row that was made.
    pub fn run(&self, words: &[impl AsRef<str>]) -> Result<Vec<String>, Failure> {
        let mut line = vec!["ovn-nbctl", &self.database, "--timeout=120"];
        line.extend(words.iter().map(AsRef::as_ref));
        Ok(run(&line)?.lines().map(str::to_owned).collect())
    }

    /// The same, and waits until the nodes work by it.
    pub fn realize(&self, words: &[String]) -> Result<Vec<String>, Failure> {
        self.run(&[&["--wait=hv".to_owned()], words].concat())
    }

    /// Removes everything, whoever wrote it, and doesn't wait.
    pub fn empty(&self) -> Result<(), Failure> {
        // A port goes with its switch.
        let line = "-- --all destroy Logical_Switch -- --all destroy DHCP_Options -- --all destroy DNS \
                    -- --all destroy Port_Group -- --all destroy Logical_Router";
        self.run(&line.split(' ').collect::<Vec<_>>()).map(drop)
    }
}

/// A network with NICs on it. What it prints is where its DNS row and its DHCP row are, before all else.
pub fn network(number: usize, nics: usize) -> Vec<String> {
    network_at(number, nics, None)
}

/// The same, with nobody under its gateway's address but a router's port, which is made by the same command.
pub fn network_of_router(number: usize, nics: usize) -> Vec<String> {
    network_at(number, nics, Some(format!("@inside{number}")))
}

fn network_at(number: usize, nics: usize, router_port: Option<String>) -> Vec<String> {
    let (id, name, key) = (id(number), format!("hand-{number}"), (FIRST_KEY + number).to_string());
    let mac = format!("fe:16:3e:{:02x}:{:02x}:00", number >> 8, number & 0xff);
    let names: Vec<(String, String)> = (0..nics).flat_map(|nic| Nic { network: number, number: nic }.names()).collect();
    let mut words = vec![];
    words.extend(create(&format!("dns{number}"), "DNS", &[map("records", &names), marks(&id, &name)]));
    let options = map("options", &dhcp(&mac));
    words.extend(create(
        &format!("dhcp{number}"),
        "DHCP_Options",
        &["cidr=\"10.0.0.0/24\"".to_owned(), options, marks(&format!("{id}-0"), &name)],
    ));
    if router_port.is_none() {
        let gateway = [
            text("name", &format!("{id}-gateway")),
            text("type", "localport"),
            text("addresses", &format!("{mac} 10.0.0.1")),
            marks(&format!("{id}-gateway"), &name),
        ];
        words.extend(create(&format!("gateway{number}"), "Logical_Switch_Port", &gateway));
    }
    let mut ports = vec![router_port.unwrap_or_else(|| format!("@gateway{number}"))];
    for nic in (0..nics).map(|nic| Nic { network: number, number: nic }) {
        let port = format!("port{number}x{}", nic.number);
        words.extend(nic.create(&port, &format!("@dhcp{number}")));
        ports.push(format!("@{port}"));
    }
    words.extend(guard(number, &id, &name, &ports[1..]));
    let switch = [
        text("name", &name),
        map("other_config", &[("requested-tnl-key", &key)]),
        format!("ports=[{}]", ports.join(",")),
        format!("dns_records=@dns{number}"),
        marks(&id, &name),
    ];
    words.extend(create(&format!("switch{number}"), "Logical_Switch", &switch));
    words
}

/// What drops all that no group lets through, and lets questions for addresses pass.
fn guard(number: usize, id: &str, name: &str, ports: &[String]) -> Vec<String> {
    let group = format!("guard_{number}");
    let acls = [
        ("to-lport", 1001, format!("outport == @{group} && ip"), "drop"),
        ("from-lport", 1001, format!("inport == @{group} && ip"), "drop"),
        (
            "from-lport",
            1002,
            format!(
                "inport == @{group} && ((ip4 && udp.src == 68 && udp.dst == 67) || (ip6 && udp.src == 546 && udp.dst == 547))"
            ),
            "allow-related",
        ),
    ];
    port_group(&group, &acls, ports, (id, name))
}

/// The network outside.
pub fn outside() -> Vec<String> {
    let (id, name) = ("00000000-0000-7000-8000-ffffffffffff", "hand-outside");
    let localnet = [
        text("name", &format!("{id}-localnet")),
        text("type", "localnet"),
        text("addresses", "unknown"),
        map("options", &[("network_name", "external")]),
        marks(&format!("{id}-localnet"), name),
    ];
    let mut words = create("localnet", "Logical_Switch_Port", &localnet);
    let switch = [text("name", name), "ports=@localnet".to_owned(), marks(id, name)];
    words.extend(create("outside", "Logical_Switch", &switch));
    words
}

/// A router between networks, whose `network_of_router` is in the same command, and one outside with that switch, by a node.
pub fn router(number: usize, networks: std::ops::Range<usize>, (switch, chassis): (&str, &str)) -> Vec<String> {
    let (id, name) = (format!("{}-r", id(number)), format!("hand-r{number}"));
    let (high, low) = (number >> 8, number & 0xff);
    let (outer, gateway, route) = (format!("outer{number}"), format!("gw{number}"), format!("route{number}"));
    let (mut words, mut ports, mut nats) = (vec![], vec![format!("@{outer}")], vec![]);
    let columns = [
        text("name", &format!("{id}-{chassis}")),
        text("chassis_name", chassis),
        "priority=20".to_owned(),
        marks(&format!("{id}-gw"), &name),
    ];
    words.extend(create(&gateway, "Gateway_Chassis", &columns));
    let columns = [
        text("name", &format!("{id}-outer")),
        text("mac", &format!("fe:16:3f:{high:02x}:{low:02x}:01")),
        format!("networks={}", quoted(&format!("192.0.{}.{}/16", 128 + high, low + 1))),
        format!("gateway_chassis=@{gateway}"),
        marks(&format!("{id}-outer"), &name),
    ];
    words.extend(create(&outer, "Logical_Router_Port", &columns));
    let out = switch_port(&format!("outside{number}"), &format!("{id}-outer"), true, &name);
    words.extend(out);
    words.extend(["--", "add", "Logical_Switch", switch, "ports", &format!("@outside{number}")].map(str::to_owned));
    for network in networks {
        let inner = format!("inner{network}");
        let columns = [
            text("name", &format!("{id}-{network}")),
            text("mac", &format!("fe:16:3e:{:02x}:{:02x}:00", network >> 8, network & 0xff)),
            format!("networks={}", quoted("10.0.0.1/24")),
            marks(&format!("{id}-{network}"), &name),
        ];
        words.extend(create(&inner, "Logical_Router_Port", &columns));
        ports.push(format!("@{inner}"));
        words.extend(switch_port(&format!("inside{network}"), &format!("{id}-{network}"), false, &name));
        let nat = format!("nat{network}");
        let columns = [
            text("type", "snat"),
            text("external_ip", &format!("192.0.{}.{}", 128 + high, low + 1)),
            text("logical_ip", "10.0.0.0/24"),
            marks(&format!("{id}-snat-{network}"), &name),
        ];
        words.extend(create(&nat, "NAT", &columns));
        nats.push(format!("@{nat}"));
    }
    let columns = [
        text("ip_prefix", "0.0.0.0/0"),
        text("nexthop", "192.0.0.1"),
        format!("output_port={}", quoted(&format!("{id}-outer"))),
        marks(&format!("{id}-default"), &name),
    ];
    words.extend(create(&route, "Logical_Router_Static_Route", &columns));
    let columns = [
        text("name", &name),
        format!("ports=[{}]", ports.join(",")),
        format!("nat=[{}]", nats.join(",")),
        format!("static_routes=@{route}"),
        marks(&id, &name),
    ];
    words.extend(create(&format!("router{number}"), "Logical_Router", &columns));
    words
}

/// The port of a switch that leads to a router's.
fn switch_port(symbol: &str, router_port: &str, is_outside: bool, name: &str) -> Vec<String> {
    let mut options = vec![("router-port", router_port)];
    if is_outside {
        options.push(("nat-addresses", "router"));
    }
    let columns = [
        text("name", &format!("{router_port}-port")),
        text("type", "router"),
        text("addresses", "router"),
        map("options", &options),
        marks(&format!("{router_port}-port"), name),
    ];
    create(symbol, "Logical_Switch_Port", &columns)
}

/// A group with a rule for each of twenty ports, from whoever is in it, and these ports in it.
pub fn group_of_twenty(number: usize, ports: &[String]) -> Vec<String> {
    let group = format!("hand_twenty_{number}");
    let rule = |port: u32| {
        let matches = format!("outport == @{group} && ip4 && ip4.src == ${group}_ip4 && tcp && tcp.dst == {port}");
        ("to-lport", 1002, matches, "allow-related")
    };
    let acls: Vec<_> = (8001..8021).map(rule).collect();
    port_group(&group, &acls, ports, (&format!("{}-g", id(number)), &format!("hand-g{number}")))
}

/// The group that NICs are in for which none is named: of these networks, each with these many NICs.
pub fn default_group(networks: std::ops::Range<usize>, nics: usize) -> Vec<String> {
    let ports = networks.flat_map(|number| (0..nics).map(move |nic| format!("@port{number}x{nic}")));
    let acl = |direction, match_port: &str, rest: &str| {
        (direction, 1002, format!("{match_port} == @{DEFAULT} && {rest}"), "allow-related")
    };
    let acls = [
        acl("from-lport", "inport", "ip4"),
        acl("from-lport", "inport", "ip6"),
        acl("to-lport", "outport", &format!("ip4 && ip4.src == ${DEFAULT}_ip4")),
        acl("to-lport", "outport", &format!("ip6 && ip6.src == ${DEFAULT}_ip6")),
    ];
    port_group(DEFAULT, &acls, &ports.collect::<Vec<_>>(), (&id(0), DEFAULT))
}

fn port_group(
    group: &str,
    acls: &[(&str, u32, String, &str)],
    ports: &[String],
    (id, name): (&str, &str),
) -> Vec<String> {
    let (mut words, mut symbols) = (vec![], vec![]);
    for (at, (direction, priority, matches, action)) in acls.iter().enumerate() {
        let symbol = format!("acl_{group}_{at}");
        let columns = [
            text("direction", direction),
            format!("priority={priority}"),
            text("match", matches),
            text("action", action),
            marks(&format!("{id}-{at}"), name),
        ];
        words.extend(create(&symbol, "ACL", &columns));
        symbols.push(format!("@{symbol}"));
    }
    let columns = [
        text("name", group),
        format!("acls=[{}]", symbols.join(",")),
        format!("ports=[{}]", ports.join(",")),
        marks(id, name),
    ];
    words.extend(create(&format!("group_{group}"), "Port_Group", &columns));
    words
}

/// A NIC more on a network that is there, its DNS row and DHCP row being these.
pub fn nic_more(network: usize, number: usize, dns: &str, dhcp: &str) -> Vec<String> {
    let nic = Nic { network, number };
    let mut words = nic.create("port", dhcp);
    words.extend(["--", "add", "Logical_Switch", &format!("hand-{network}"), "ports", "@port"].map(str::to_owned));
    for group in [format!("guard_{network}"), DEFAULT.to_owned()] {
        words.extend(["--", "add", "Port_Group", &group, "ports", "@port"].map(str::to_owned));
    }
    words.extend(["--", "set", "DNS", dns].map(str::to_owned));
    words.extend(nic.names().into_iter().map(|(name, ip)| format!("records:{}={}", quoted(&name), quoted(&ip))));
    words
}

struct Nic {
    network: usize,
    number: usize,
}

impl Nic {
    fn name(&self) -> String {
        format!("hand-{}-{}", self.network, self.number)
    }

    fn ip(&self) -> String {
        format!("10.0.0.{}", self.number + 2)
    }

    fn names(&self) -> Vec<(String, String)> {
        vec![(self.name(), self.ip()), (format!("{}.internal", self.name()), self.ip())]
    }

    fn create(&self, symbol: &str, dhcp: &str) -> Vec<String> {
        let id = format!("{}-{}", id(self.network), self.number);
        let (high, low) = (self.network >> 8, self.network & 0xff);
        let address = format!("02:16:3e:{high:02x}:{low:02x}:{:02x} {}", self.number, self.ip());
        let columns = [
            text("name", &id),
            text("addresses", &address),
            text("port_security", &address),
            format!("dhcpv4_options={dhcp}"),
            marks(&id, &self.name()),
        ];
        create(symbol, "Logical_Switch_Port", &columns)
    }
}

/// What our networks have with an IPv4 prefix and nothing more wished for.
fn dhcp(mac: &str) -> [(&'static str, String); 7] {
    [
        ("server_id", "10.0.0.1".to_owned()),
        ("server_mac", mac.to_owned()),
        ("lease_time", "86400".to_owned()),
        ("mtu", "1442".to_owned()),
        ("domain_name", "\"internal\"".to_owned()),
        ("dns_server", "10.0.0.1".to_owned()),
        ("router", "10.0.0.1".to_owned()),
    ]
}

fn id(number: usize) -> String {
    format!("00000000-0000-7000-8000-{number:012}")
}

fn create(symbol: &str, table: &str, columns: &[String]) -> Vec<String> {
    let mut words: Vec<String> = ["--", &format!("--id=@{symbol}"), "create", table].map(str::to_owned).into();
    words.extend(columns.iter().cloned());
    words
}

fn marks(id: &str, name: &str) -> String {
    // As long as ours, and not ours: those would be taken for rows that nobody wants.
    map(
        "external_ids",
        &[("by-hands-:site", "local"), ("by-hands-:id", id), ("by-hands-:form", "1"), ("by-hands-:name", name)],
    )
}

fn map(column: &str, pairs: &[(impl AsRef<str>, impl AsRef<str>)]) -> String {
    let pairs: Vec<String> =
        pairs.iter().map(|(key, value)| format!("{}={}", quoted(key.as_ref()), quoted(value.as_ref()))).collect();
    format!("{column}={{{}}}", pairs.join(","))
}

fn text(column: &str, value: &str) -> String {
    format!("{column}={}", quoted(value))
}

/// A string of OVSDB is written as one of JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
