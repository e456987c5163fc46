//! From OVN's trace of a packet to words about the site's objects: by which rules and routes it goes, and where it stops.
//!
//! Source of the tables' names: ovn-northd(8), "Logical Flow Table Structure".

use std::net::{IpAddr, SocketAddr};

use edgestack_model::{
    World,
    security_group_rule::{Direction, SecurityGroupRule},
    vm::{Nic, Vm, port_name},
};
use edgestack_ovn::trace::{Section, Stage, Trace};

use super::path::{Asked, Source};
use crate::desired::{group_name, rule_matches};

/// A packet's way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Course {
    /// What became of it.
    pub verdict: Verdict,
    /// That in a sentence.
    pub why: String,
    /// What a person can do about it, where that is plain.
    pub fix: Option<String>,
    /// What happened on its way.
    pub steps: Vec<Step>,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was handed to a VM, or to whoever is to answer.
    Delivered,
    /// It left for a network outside.
    LeftTheSite,
    /// It was dropped.
    Dropped,
    /// It waits for somebody to say under which MAC address he is found.
    AwaitsNeighbour,
    /// It was not sent: there is nobody to hand it to.
    NoWay,
}

/// A step on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Where: `network "blue"`.
    pub at: String,
    /// What happened.
    pub what: String,
}

/// A packet that nobody takes.
pub fn no_way(source: &Source, why: String, fix: Option<String>) -> Course {
    let what = format!("{why}; nothing is sent further");
    Course { verdict: Verdict::NoWay, why, fix, steps: vec![Step { at: source.who.clone(), what }] }
}

/// A trace in words.
pub fn explain(world: &World, source: &Source, target: IpAddr, asked: Asked, trace: &Trace) -> Course {
    let mut told = Told { world, source, target, asked, sender: source.ip, steps: vec![], hop: None, last: None };
    for section in &trace.sections {
        for stage in &section.stages {
            told.stage(section, stage);
        }
        if matches!(
            section.name.as_str(),
            "tcp_reset" | "sctp_abort" | "icmp4" | "icmp4_error" | "icmp6" | "icmp6_error" | "reject"
        ) {
            let at = told.datapath(section);
            let why = "it is refused: who sent it is told so at once".to_owned();
            told.end(&at, Verdict::Dropped, why, None);
            break;
        }
        if matches!(section.name.as_str(), "arp" | "nd_ns") {
            // What follows is the way of the router's question.
            told.neighbour();
            break;
        }
    }
    told.course()
}

struct Told<'t> {
    world: &'t World,
    source: &'t Source,
    target: IpAddr,
    asked: Asked,
    /// From whom it is by now.
    sender: IpAddr,
    steps: Vec<Step>,
    /// The next hop of the last route, where that is not the target itself.
    hop: Option<String>,
    /// What is known of its end by now.
    last: Option<End>,
}

struct End {
    verdict: Verdict,
    why: String,
    fix: Option<String>,
}

impl Told<'_> {
    fn stage(&mut self, section: &Section, stage: &Stage) {
        let at = self.datapath(section);
        let table = stage.name.as_str();
        if is_acl(table) {
            self.acl(&at, section, stage);
        } else if stage.drops() {
            let (why, fix) = self.dropped(&at, section, stage);
            self.end(&at, Verdict::Dropped, why, fix);
        } else if table == "lr_in_ip_routing"
            && let Some(route) = stage.matches.as_deref().and_then(destination)
        {
            let hop = stage.actions.iter().find_map(|action| next_hop(action));
            self.hop = hop.filter(|hop| !hop.starts_with("ip"));
            let by = self.hop.as_ref().map(|hop| format!(" by {hop}")).unwrap_or_default();
            self.step(&at, format!("takes the route to {route}{by}"));
        }
        for action in &stage.actions {
            self.translation(&at, action);
        }
        for (port, port_type) in stage.outputs() {
            self.output(&at, port, port_type);
        }
    }

    fn step(&mut self, at: &str, what: String) {
        self.steps.push(Step { at: at.to_owned(), what });
    }

    fn end(&mut self, at: &str, verdict: Verdict, why: String, fix: Option<String>) {
        self.step(at, why.clone());
        // Of a packet that is copied to several ports one copy is enough; what comes after a question to a neighbour is the
        // question's own way.
        if self.last.as_ref().is_none_or(|end| end.verdict == Verdict::Dropped) {
            self.last = Some(End { verdict, why: format!("{at}: {why}"), fix });
        }
    }

    /// `network "blue"`.
    fn datapath(&self, section: &Section) -> String {
        let Some(name) = section.datapath.as_deref() else { return self.source.who.clone() };
        let own = name.strip_prefix("edgestack-").unwrap_or(name);
        // Its link has the probe's own name, which is the port's.
        if own.strip_prefix("probe-") == Some(self.source.port.as_str()) {
            return format!("the test's link to {}", self.source.who);
        }
        let is_router = section.stages.iter().any(|stage| stage.name.starts_with("lr_"));
        // A router of that very name is meant before a load balancer's.
        let is_there = self.world.router(&own.into()).is_ok();
        match own.strip_suffix("-vip") {
            Some(balancer) if is_router && !is_there => format!("load balancer \"{balancer}\""),
            _ if is_router => format!("router \"{own}\""),
            _ => format!("network \"{own}\""),
        }
    }

    fn acl(&mut self, at: &str, section: &Section, stage: &Stage) {
        let is_out = stage.name.starts_with("ls_in_");
        let port = if is_out { section.inport.as_deref() } else { section.outport.as_deref() };
        let nic = port.and_then(|port| self.nic(port));
        let matches = stage.matches.as_deref().unwrap_or_default();
        let rule = self.world.security_group_rules.values().find(|rule| {
            let of_group = matches.contains(&group_name(rule.spec.group));
            of_group && matches.contains(&format!("({})", rule_matches(&rule.spec)))
        });
        if let Some(rule) = rule {
            let way = if is_out { "out of" } else { "in to" };
            let who = nic.map_or_else(|| at.to_owned(), |(vm, _)| format!("vm \"{}\"", vm.meta.name));
            self.step(at, format!("{} lets it {way} {who}", self.rule(rule)));
        } else if stage.drops() {
            let (why, fix) = self.unlet(nic, is_out);
            self.end(at, Verdict::Dropped, why, fix);
        }
    }

    fn rule(&self, rule: &SecurityGroupRule) -> String {
        let group = self.world.security_groups.get(&rule.spec.group);
        let group = group.map(|group| group.meta.name.to_string()).unwrap_or_default();
        format!("rule \"{}\" of security group \"{group}\"", rule.meta.name)
    }

    /// No rule is about the packet.
    fn unlet(&self, nic: Option<(&Vm, &Nic)>, is_out: bool) -> (String, Option<String>) {
        let direction = if is_out { Direction::Egress } else { Direction::Ingress };
        let way = if is_out { "out" } else { "in" };
        let Some((vm, nic)) = nic else {
            return (format!("no rule of a security group lets it {way}"), None);
        };
        let groups = nic.security_groups.iter().flatten().filter_map(|group| self.world.security_groups.get(group));
        let groups: Vec<&str> = groups.map(|group| group.meta.name.as_str()).collect();
        let name = &vm.meta.name;
        let other = if is_out { self.target } else { self.sender };
        let of = if is_out { "to" } else { "from" };
        let what = match self.asked {
            Asked::Icmp => "ICMP".to_owned(),
            Asked::Tcp(port) => format!("TCP port {port}"),
            Asked::Udp(port) => format!("UDP port {port}"),
        };
        if groups.is_empty() {
            let why = format!("vm \"{name}\" is in no security group, so nothing passes (NIC {})", nic.spec.number);
            return (why, Some(format!("edgectl edit-vm-sg {name} --add GROUP")));
        }
        let listed = groups.iter().map(|group| format!("\"{group}\"")).collect::<Vec<_>>().join(", ");
        let why = format!(
            "none of the security groups of vm \"{name}\" ({listed}) has a rule that lets {what} {way} {of} {other}"
        );
        (why, groups.first().map(|group| create_rule(group, direction, other, self.asked)))
    }

    fn dropped(&self, at: &str, section: &Section, stage: &Stage) -> (String, Option<String>) {
        let target = self.target;
        let why = match stage.name.as_str() {
            name if name.contains("port_sec") => {
                "port security: the packet has other addresses than the NIC's own".to_owned()
            }
            "lr_in_ip_routing" => format!("no route leads to {target}"),
            "lr_in_admission" => format!("nobody has the MAC address that it was sent to on {at}"),
            "lr_in_ip_input" => {
                format!("the router does not take it for itself, and does not pass it on ({})", matched(stage))
            }
            "ls_in_l2_lkup" | "ls_in_l2_unknown" => format!("nobody on {at} has the MAC address that it was sent to"),
            name => {
                let way = section.name.as_str();
                format!("it was dropped in OVN's table {name} ({way}), by {}", matched(stage))
            }
        };
        let fix = match stage.name.as_str() {
            "lr_in_ip_routing" => {
                Some("edgectl update-router ROUTER --route PREFIX=NEXT-HOP, or --external-network NETWORK")
            }
            name if name.contains("port_sec") => {
                Some("edgectl edit-vm-nic VM --port-security off, if its guest routes or bridges for others")
            }
            _ => None,
        };
        (why, fix.map(str::to_owned))
    }

    /// What NAT and load balancers make of its addresses.
    fn translation(&mut self, at: &str, action: &str) {
        let inner = |call: &str| {
            let rest = action.strip_prefix(call)?.strip_prefix('(')?;
            rest.split(')').next().filter(|inner| !inner.is_empty()).map(str::to_owned)
        };
        if let Some(to) = inner("ct_dnat").or_else(|| inner("ct_dnat_in_czone")) {
            let to = to.rsplit('=').next().unwrap_or(&to).to_owned();
            let of =
                self.world.floating_ips.values().find(|ip| {
                    ip.association.as_ref().is_some_and(|association| association.fixed_ip.to_string() == to)
                });
            let by = of.map(|ip| format!("floating IP {}: ", ip.spec.address)).unwrap_or_default();
            self.step(at, format!("{by}its destination becomes {to}"));
        } else if let Some(to) = inner("ct_snat").or_else(|| inner("ct_snat_in_czone")) {
            // Who looks after this sees that one.
            self.sender = to.parse().unwrap_or(self.sender);
            self.step(at, format!("its source becomes {to}"));
        } else if let Some(to) = inner("ct_lb_mark").or_else(|| inner("ct_lb")) {
            let backends = to.trim_start_matches("backends=");
            let first = backends.split([',', ';']).next().and_then(|first| first.parse::<SocketAddr>().ok());
            self.asked = match (self.asked, first) {
                (Asked::Tcp(_), Some(first)) => Asked::Tcp(first.port()),
                (Asked::Udp(_), Some(first)) => Asked::Udp(first.port()),
                (asked, _) => asked,
            };
            self.step(at, format!("a load balancer chooses one of {backends}"));
        }
    }

    fn output(&mut self, at: &str, port: &str, port_type: &str) {
        match port_type {
            // ovn-trace shortens a name that is a bare UUID, as a probe's is, and keeps a VM's.
            "" if port.len() >= 6 && self.source.port.starts_with(port) => {
                self.end(at, Verdict::Delivered, format!("it was answered, and is back at {}", self.source.who), None);
            }
            "" => match self.nic(port) {
                Some((vm, nic)) => {
                    let why = format!("it is handed to NIC {} of vm \"{}\"", nic.spec.number, vm.meta.name);
                    self.end(at, Verdict::Delivered, why, None);
                }
                None => self.end(at, Verdict::Delivered, format!("it is handed to port {port}"), None),
            },
            "localnet" => {
                self.end(at, Verdict::LeftTheSite, "it leaves for the physical network".to_owned(), None);
            }
            "localport" => {
                let why = "it is sent to the network's gateway, where no router is".to_owned();
                self.end(at, Verdict::Dropped, why, None);
            }
            // On to the next datapath, which tells the rest.
            _ => {}
        }
    }

    /// The router asks for the MAC address of the next hop.
    fn neighbour(&mut self) {
        let at = self.steps.last().map(|step| step.at.clone()).unwrap_or_default();
        let hop = self.hop.clone().unwrap_or_else(|| self.target.to_string());
        let why = format!("it waits until {hop} says its MAC address (ARP, NDP), which it has not yet");
        self.end(&at, Verdict::AwaitsNeighbour, why, None);
    }

    fn nic(&self, port: &str) -> Option<(&Vm, &Nic)> {
        self.world.vms.values().find_map(|vm| {
            let nic = vm.nics.iter().find(|nic| port_name(vm.id, nic.spec.number) == port)?;
            Some((vm.as_ref(), nic))
        })
    }

    fn course(self) -> Course {
        let unknown =
            || End { verdict: Verdict::Dropped, why: "OVN's trace ends without an output".to_owned(), fix: None };
        let End { verdict, why, fix } = self.last.unwrap_or_else(unknown);
        Course { verdict, why, fix, steps: self.steps }
    }
}

/// The tables in which rules are looked up, and in newer versions the one that carries out what they say.
fn is_acl(table: &str) -> bool {
    let acl = table.strip_prefix("ls_in_acl").or_else(|| table.strip_prefix("ls_out_acl"));
    acl.is_some_and(|rest| !rest.starts_with("_hint"))
}

/// `ip4.dst == 10.1.0.0/24` within a match.
fn destination(matches: &str) -> Option<String> {
    let at = [".dst == ", ".src == "].iter().find_map(|word| Some(matches.find(word)? + word.len()))?;
    matches.get(at..)?.split([' ', ')']).next().map(str::to_owned)
}

/// `reg0 = 192.0.2.1;`, `xxreg0 = fd00::1;`
fn next_hop(action: &str) -> Option<String> {
    let hop = action.strip_prefix("reg0 = ").or_else(|| action.strip_prefix("xxreg0 = "))?;
    hop.strip_suffix(';').map(str::to_owned)
}

fn matched(stage: &Stage) -> String {
    match stage.matches.as_deref() {
        None => "no flow".to_owned(),
        Some("1") => "what is done with all that nothing else is about".to_owned(),
        Some(matches) => format!("the flow about {matches:?}"),
    }
}

/// The command that makes the rule that is missing.
fn create_rule(group: &str, direction: Direction, other: IpAddr, asked: Asked) -> String {
    let direction = direction.as_str();
    let (ether_type, length) = if other.is_ipv4() { ("", 32) } else { (" --ether-type ipv6", 128) };
    let protocol = match asked {
        Asked::Icmp => "icmp".to_owned(),
        Asked::Tcp(port) => format!("tcp --port {port}"),
        Asked::Udp(port) => format!("udp --port {port}"),
    };
    format!(
        "edgectl create-sgr {group} --direction {direction}{ether_type} --protocol {protocol} --remote-ip-prefix {other}/{length}"
    )
}
