//! The rows that we write, written by hand: one command of ovn-nbctl, which is one transaction.

use crate::{Failure, site::Site};

use super::namespace::run;

/// Where networks by hand begin in the space of tunnel keys, far from ours.
const FIRST_KEY: usize = 1_000_000;

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
    let gateway = [
        text("name", &format!("{id}-gateway")),
        text("type", "localport"),
        text("addresses", &format!("{mac} 10.0.0.1")),
        marks(&format!("{id}-gateway"), &name),
    ];
    words.extend(create(&format!("gateway{number}"), "Logical_Switch_Port", &gateway));
    let mut ports = vec![format!("@gateway{number}")];
    for nic in (0..nics).map(|nic| Nic { network: number, number: nic }) {
        let port = format!("port{number}x{}", nic.number);
        words.extend(nic.create(&port, &format!("@dhcp{number}")));
        ports.push(format!("@{port}"));
    }
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

/// A NIC more on a network that is there, its DNS row and DHCP row being these.
pub fn nic_more(network: usize, number: usize, dns: &str, dhcp: &str) -> Vec<String> {
    let nic = Nic { network, number };
    let mut words = nic.create("port", dhcp);
    words.extend(["--", "add", "Logical_Switch", &format!("hand-{network}"), "ports", "@port"].map(str::to_owned));
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
