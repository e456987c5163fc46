//! What passes to and from NICs: as their security groups say, and as the rows say, each read by a reading of its own. The
//! rows are carried out packet by packet as OVN does. Sources: ovn-nb(5), ACL; ovn-sb(5), Logical_Flow, `match`.

use std::net::IpAddr;

use edgestack_model::{
    World,
    address::Cidr,
    realization::RealizationState,
    security_group::membership::members,
    security_group_rule::{Direction, EtherType, Ports, Protocol, Remote, RuleSpec},
    vm::{Nic, port_name},
};
use edgestack_ovn::ovsdb::Value;
use edgestack_worker_gateway::rows::{Key, Seen, SeenRow, Table};

use crate::outside::Outside;

/// Of all the packets that there could be, so many are tried.
const PACKETS: usize = 400;
/// Who is on no network of ours, as are the prefixes that rules are about in part.
const STRANGERS: [&str; 4] = ["192.0.2.9", "198.51.100.1", "2001:db8::9", "fd00:77::1"];
/// By protocol number: from and to which port, of ICMP the type and the code. The last two ask for an address.
const CARRIED: [(u8, u16, u16); 11] = [
    (6, 40000, 22),
    (6, 40000, 80),
    (6, 22, 8050),
    (17, 40000, 53),
    (17, 40000, 22),
    (132, 40000, 5000),
    (1, 8, 0),
    (58, 128, 0),
    (47, 0, 0),
    (17, 68, 67),
    (17, 546, 547),
];

/// One packet at one NIC.
#[derive(Debug)]
struct Packet {
    port: Key,
    direction: Direction,
    own: IpAddr,
    other: IpAddr,
    protocol: u8,
    from: u16,
    to: u16,
}

/// All that is wished is written, and nobody has touched it since.
///
/// # Errors
/// What passes and shall not, or the other way round.
pub fn check(outside: &Outside, world: &World) -> Result<(), String> {
    let seen = outside.northbound.seen();
    let nics: Vec<(Key, &Nic)> = world
        .vms
        .values()
        .flat_map(|vm| vm.nics.iter().map(|nic| (port_name(vm.id, nic.spec.number), nic)))
        .map(|(name, nic)| (Key::new(Table::LogicalSwitchPort, name), nic))
        .collect();
    let random = &outside.random;
    let addresses = nics.iter().flat_map(|(_, nic)| nic.spec.addresses.clone());
    let all: Vec<IpAddr> = addresses.chain(STRANGERS.map(|stranger| stranger.parse().unwrap())).collect();
    for _ in 0..if nics.is_empty() { 0 } else { PACKETS } {
        let (port, nic) = random.one_of(&nics);
        let (own, (protocol, from, to)) = (*random.one_of(&nic.spec.addresses), *random.one_of(&CARRIED));
        let others: Vec<IpAddr> = all.iter().copied().filter(|other| other.is_ipv4() == own.is_ipv4()).collect();
        let direction = *random.one_of(&[Direction::Ingress, Direction::Egress]);
        let packet = Packet { port: port.clone(), direction, own, other: *random.one_of(&others), protocol, from, to };
        let (shall, does) = (packet.shall_pass(world, nic), packet.passes(&seen)?);
        if shall != does {
            return Err(format!("of {:?}: {packet:?} passes: {does}, and shall: {shall}", nic.security_groups));
        }
    }
    Ok(())
}

impl Packet {
    /// As the groups say.
    fn shall_pass(&self, world: &World, nic: &Nic) -> bool {
        let Some(groups) = &nic.security_groups else { return true };
        let asks_for_an_address = match self.own {
            IpAddr::V4(_) => (self.from, self.to) == (68, 67),
            IpAddr::V6(_) => (self.from, self.to) == (546, 547),
        };
        let mut rules = world
            .security_group_rules
            .values()
            .filter(|rule| groups.contains(&rule.spec.group) && rule.realization.state != RealizationState::Deleting);
        self.direction == Direction::Egress && self.protocol == 17 && asks_for_an_address
            || rules.any(|rule| self.is_of(world, &rule.spec))
    }

    fn is_of(&self, world: &World, rule: &RuleSpec) -> bool {
        let in_ports = |ports: Option<Ports>| ports.is_none_or(|ports| (ports.min()..=ports.max()).contains(&self.to));
        let protocol = match rule.protocol {
            Protocol::Any => true,
            Protocol::Icmp { icmp_type, icmp_code } => {
                self.protocol == if rule.ether_type == EtherType::Ipv4 { 1 } else { 58 }
                    && icmp_type.is_none_or(|icmp_type| u16::from(icmp_type) == self.from)
                    && icmp_code.is_none_or(|code| u16::from(code) == self.to)
            }
            Protocol::Tcp { ports } => self.protocol == 6 && in_ports(ports),
            Protocol::Udp { ports } => self.protocol == 17 && in_ports(ports),
            Protocol::Sctp { ports } => self.protocol == 132 && in_ports(ports),
            Protocol::Number { number } => self.protocol == number,
        };
        let remote = match rule.remote {
            Remote::Any => true,
            Remote::Prefix { prefix } => prefix.contains(self.other),
            Remote::Group { group } => members(world, group).any(|(_, nic)| nic.spec.addresses.contains(&self.other)),
        };
        rule.direction == self.direction
            && (rule.ether_type == EtherType::Ipv4) == self.own.is_ipv4()
            && protocol
            && remote
    }

    /// As the rows say: of those that match the one with the largest number, and all passes where there is none.
    fn passes(&self, seen: &Seen) -> Result<bool, String> {
        let direction = match self.direction {
            Direction::Ingress => "to-lport",
            Direction::Egress => "from-lport",
        };
        let groups = seen.rows.iter().filter(|(key, _)| key.table == Table::PortGroup);
        let acls = groups.filter_map(|(_, group)| group.references.get("acls")).flat_map(|acls| acls.keys());
        let rows =
            acls.filter_map(|acl| seen.rows.get(acl)).filter(|row| row.columns.text("direction") == Some(direction));
        let mut last = None;
        for row in rows {
            let (matches, priority) = (row.columns.text("match"), row.columns.integer("priority"));
            if self.matches(seen, matches.unwrap_or_default())? {
                last = last.max(Some((priority, row.columns.text("action"))));
            }
        }
        match last {
            None | Some((_, Some("allow-related"))) => Ok(true),
            Some((_, Some("drop"))) => Ok(false),
            Some((_, action)) => Err(format!("an ACL has the action {action:?}")),
        }
    }

    fn matches(&self, seen: &Seen, text: &str) -> Result<bool, String> {
        let spaced = text.replace('(', " ( ").replace(')', " ) ");
        let mut reading = Reading { packet: self, seen, words: spaced.split_whitespace().rev().collect() };
        let is_so = reading.any()?;
        reading.words.is_empty().then_some(is_so).ok_or_else(|| format!("the match {text:?} ends early"))
    }

    /// Whether a word that stands alone is so.
    fn has(&self, word: &str) -> Result<bool, String> {
        Ok(match word {
            "ip" => true,
            "ip4" => self.own.is_ipv4(),
            "ip6" => self.own.is_ipv6(),
            protocol => self.protocol == number_of(protocol)?,
        })
    }

    /// The number that a field of it has, if it has one.
    fn field(&self, field: &str) -> Result<Option<u16>, String> {
        if field == "ip.proto" {
            return Ok(Some(u16::from(self.protocol)));
        }
        let (protocol, part) = field.split_once('.').ok_or_else(|| format!("unknown field {field}"))?;
        let value = match part {
            "src" | "type" => self.from,
            "dst" | "code" => self.to,
            _ => return Err(format!("unknown field {field}")),
        };
        Ok((self.protocol == number_of(protocol)?).then_some(value))
    }

    /// The address on a side, if it is of the family.
    fn address(&self, field: &str) -> Option<IpAddr> {
        let (family, side) = field.split_once('.')?;
        let is_own = (side == "src") == (self.direction == Direction::Egress);
        ((family == "ip4") == self.own.is_ipv4()).then_some(if is_own { self.own } else { self.other })
    }
}

/// Source: IANA, Assigned Internet Protocol Numbers.
fn number_of(protocol: &str) -> Result<u8, String> {
    match protocol {
        "icmp4" => Ok(1),
        "tcp" => Ok(6),
        "udp" => Ok(17),
        "icmp6" => Ok(58),
        "sctp" => Ok(132),
        _ => Err(format!("unknown word {protocol}")),
    }
}

/// A match, read against a packet. The next word is the last.
struct Reading<'m> {
    packet: &'m Packet,
    seen: &'m Seen,
    words: Vec<&'m str>,
}

impl Reading<'_> {
    fn any(&mut self) -> Result<bool, String> {
        let mut is_so = self.all()?;
        while self.words.pop_if(|word| *word == "||").is_some() {
            is_so |= self.all()?;
        }
        Ok(is_so)
    }

    fn all(&mut self) -> Result<bool, String> {
        let mut is_so = self.one()?;
        while self.words.pop_if(|word| *word == "&&").is_some() {
            is_so &= self.one()?;
        }
        Ok(is_so)
    }

    fn one(&mut self) -> Result<bool, String> {
        if self.words.pop_if(|word| *word == "(").is_some() {
            let is_so = self.any()?;
            return self.words.pop_if(|word| *word == ")").map(|_| is_so).ok_or_else(|| "no )".to_owned());
        }
        let field = self.words.pop().ok_or("a match ends early")?;
        let Some(relation) = self.words.pop_if(|word| ["==", ">=", "<="].contains(word)) else {
            return self.packet.has(field);
        };
        let value = self.words.pop().ok_or("a match ends early")?;
        match field {
            "inport" | "outport" => {
                let is_side = (field == "inport") == (self.packet.direction == Direction::Egress);
                Ok(is_side && self.ports(value.trim_start_matches('@'))?.contains(&&self.packet.port))
            }
            "ip4.src" | "ip4.dst" | "ip6.src" | "ip6.dst" => {
                let Some(address) = self.packet.address(field) else { return Ok(false) };
                match value.strip_prefix('$') {
                    Some(set) => self.is_in_set(set, address),
                    None => {
                        value.parse().map(|prefix: Cidr| prefix.contains(address)).map_err(|error| error.to_string())
                    }
                }
            }
            _ => {
                let value: u16 = value.parse().map_err(|_| format!("{value} is no number"))?;
                let is = self.packet.field(field)?;
                Ok(is.is_some_and(|is| match relation {
                    ">=" => is >= value,
                    "<=" => is <= value,
                    _ => is == value,
                }))
            }
        }
    }

    fn ports(&self, group: &str) -> Result<Vec<&Key>, String> {
        let is_it =
            |(key, row): &(&Key, &SeenRow)| key.table == Table::PortGroup && row.columns.text("name") == Some(group);
        // A removed group's name may be in the rules of others that go next.
        let found = self.seen.rows.iter().find(is_it).ok_or_else(|| format!("there is no port group {group}"))?;
        Ok(found.1.references.get("ports").map(|ports| ports.keys().collect()).unwrap_or_default())
    }

    /// OVN makes a set of each family's addresses of a port group: ovn-nb(5), Port_Group.
    fn is_in_set(&self, set: &str, address: IpAddr) -> Result<bool, String> {
        let group = set.strip_suffix(if address.is_ipv4() { "_ip4" } else { "_ip6" });
        let ports = self.ports(group.ok_or_else(|| format!("{set} is of the other family"))?)?;
        let rows = ports.into_iter().filter_map(|port| self.seen.rows.get(port));
        // `unknown`, of a port that is not held to its addresses, is none.
        let mut addresses = rows.filter_map(|row| row.columns.get("addresses")).flat_map(Value::as_texts);
        // A MAC address first, then its IP addresses.
        Ok(addresses.any(|line| line.split(' ').skip(1).any(|one| one.parse() == Ok(address))))
    }
}
