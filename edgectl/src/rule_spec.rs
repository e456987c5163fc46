//! A rule in one word of the command line: `ingress,tcp,22,from=10.0.0.0/8`.

use edgestack_wire::security_group_rule::{Direction, EtherType, RuleRequest};

const PROTOCOLS: [&str; 6] = ["any", "icmp", "icmpv6", "tcp", "udp", "sctp"];

/// What was said so far.
#[derive(Default)]
struct Said {
    direction: Option<Direction>,
    ether_type: Option<EtherType>,
    protocol: Option<String>,
    ports: Option<(u16, u16)>,
    icmp_type: Option<u8>,
    icmp_code: Option<u8>,
    from: Option<String>,
    to: Option<String>,
    group: Option<String>,
    name: Option<String>,
}

/// Reads a rule.
///
/// # Errors
/// What is wrong, as a sentence.
pub fn parse(text: &str) -> Result<RuleRequest, String> {
    let mut said = Said::default();
    for word in text.split(',') {
        said.take(word)?;
    }
    said.finish()
}

/// Reads `22` or `8000-8100`.
///
/// # Errors
/// It is neither.
pub fn ports(text: &str) -> Result<(u16, u16), String> {
    let wrong = || format!("must be a port or a range of ports, as 22 or 8000-8100, got {text:?}");
    let (min, max) = text.split_once('-').unwrap_or((text, text));
    match (min.parse(), max.parse()) {
        (Ok(min), Ok(max)) if min > 0 && min <= max => Ok((min, max)),
        (Ok(_) | Err(_), Ok(_) | Err(_)) => Err(wrong()),
    }
}

impl Said {
    fn take(&mut self, word: &str) -> Result<(), String> {
        let number = |value: &str| value.parse::<u8>().map_err(|_| format!("{word:?}: must be a number from 0 to 255"));
        let value = |value: &str| {
            let there = (!value.is_empty()).then(|| value.to_owned());
            there.ok_or_else(|| format!("{word:?}: there is nothing after the ="))
        };
        match word.split_once('=') {
            Some(("from", prefix)) => once(&mut self.from, value(prefix)?, word),
            Some(("to", prefix)) => once(&mut self.to, value(prefix)?, word),
            Some(("group", group)) => once(&mut self.group, value(group)?, word),
            Some(("name", name)) => once(&mut self.name, value(name)?, word),
            Some(("type", icmp_type)) => once(&mut self.icmp_type, number(icmp_type)?, word),
            Some(("code", code)) => once(&mut self.icmp_code, number(code)?, word),
            Some((key, _)) => Err(format!("{key:?} is none of from=, to=, group=, type=, code= and name=")),
            None => self.take_word(word),
        }
    }

    fn take_word(&mut self, word: &str) -> Result<(), String> {
        let is_number = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        match word {
            "ingress" => once(&mut self.direction, Direction::Ingress, word),
            "egress" => once(&mut self.direction, Direction::Egress, word),
            "ipv4" => once(&mut self.ether_type, EtherType::Ipv4, word),
            "ipv6" => once(&mut self.ether_type, EtherType::Ipv6, word),
            word if PROTOCOLS.contains(&word) => once(&mut self.protocol, word.to_owned(), word),
            // Ports are of a protocol that was named before; a number alone is a protocol.
            word if is_number && self.protocol.is_some() => once(&mut self.ports, ports(word)?, word),
            word if is_number => once(&mut self.protocol, protocol_number(word)?, word),
            word => Err(format!(
                "{word:?} is none of ingress, egress, ipv4, ipv6, {}, a number, ports after their protocol, and KEY=VALUE",
                PROTOCOLS.join(", ")
            )),
        }
    }

    fn finish(self) -> Result<RuleRequest, String> {
        let Some(direction) = self.direction else {
            return Err("say ingress or egress, as ingress,tcp,22".to_owned());
        };
        let (prefix, other, words) = match direction {
            Direction::Ingress => (self.from, self.to, "to= is of egress rules; say from="),
            Direction::Egress => (self.to, self.from, "from= is of ingress rules; say to="),
        };
        if other.is_some() {
            return Err(words.to_owned());
        }
        if prefix.is_some() && self.group.is_some() {
            return Err("give a prefix or a group, not both".to_owned());
        }
        let protocol = self.protocol.unwrap_or_else(|| "any".to_owned());
        let is_icmp = protocol.starts_with("icmp");
        if is_icmp && self.ports.is_some() {
            return Err(format!("{protocol} has no ports; say type=N, and code=N if need be"));
        }
        Ok(RuleRequest {
            name: self.name,
            description: String::new(),
            labels: std::collections::BTreeMap::new(),
            direction,
            ether_type: self.ether_type,
            protocol,
            port_range_min: self.ports.map(|(min, _)| min),
            port_range_max: self.ports.map(|(_, max)| max),
            icmp_type: self.icmp_type,
            icmp_code: self.icmp_code,
            remote_ip_prefix: prefix,
            remote_group: self.group,
        })
    }
}

fn protocol_number(word: &str) -> Result<String, String> {
    let number = word.parse::<u8>().map(|number| number.to_string());
    number.map_err(|_| {
        format!("{word:?} is no protocol's number (0 to 255); ports stand after their protocol, as tcp,{word}")
    })
}

/// A part of a rule is said once.
fn once<T>(place: &mut Option<T>, value: T, word: &str) -> Result<(), String> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("{word:?}: that was said before")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// What it says, without what is left open.
    fn said(text: &str) -> Value {
        let mut body = serde_json::to_value(parse(text).unwrap_or_else(|why| panic!("{text}: {why}"))).unwrap();
        for open in ["description", "labels"] {
            body.as_object_mut().unwrap().remove(open);
        }
        body
    }

    #[test]
    fn a_rule_is_words_with_commas() {
        for (text, rule) in [
            ("egress", json!({"direction": "egress", "protocol": "any"})),
            (
                "ingress,tcp,22,from=10.0.0.0/8",
                json!({"direction": "ingress", "protocol": "tcp", "port_range_min": 22, "port_range_max": 22,
                       "remote_ip_prefix": "10.0.0.0/8"}),
            ),
            ("ingress,icmp", json!({"direction": "ingress", "protocol": "icmp"})),
            (
                "icmp,type=3,code=4,ingress",
                json!({"direction": "ingress", "protocol": "icmp", "icmp_type": 3, "icmp_code": 4}),
            ),
            (
                "egress,udp,53,to=192.0.2.1/32",
                json!({"direction": "egress", "protocol": "udp", "port_range_min": 53, "port_range_max": 53,
                       "remote_ip_prefix": "192.0.2.1/32"}),
            ),
            (
                "ingress,tcp,8000-8100,group=web,ipv6,name=of-web",
                json!({"direction": "ingress", "protocol": "tcp", "port_range_min": 8000, "port_range_max": 8100,
                       "remote_group": "web", "ether_type": "IPv6", "name": "of-web"}),
            ),
            ("ingress,112", json!({"direction": "ingress", "protocol": "112"})),
        ] {
            assert_eq!(said(text), rule, "{text}");
        }
    }

    #[test]
    fn what_is_no_rule_says_why() {
        for (text, words) in [
            ("", "none of ingress"),
            ("tcp,22", "say ingress or egress"),
            ("ingress,egress", "said before"),
            ("ingress,tcp,udp", "said before"),
            ("ingress,tcp,22,23", "said before"),
            ("ingress,tcp,from=", "nothing after"),
            ("ingress,tcp,22,to=10.0.0.0/8", "say from="),
            ("egress,tcp,22,from=10.0.0.0/8", "say to="),
            ("ingress,from=10.0.0.0/8,group=web", "not both"),
            ("ingress,tcp,100-99", "range of ports"),
            ("ingress,tcp,0", "range of ports"),
            ("ingress,tcp,65536", "range of ports"),
            ("ingress,8080", "ports stand after their protocol"),
            ("ingress,icmp,8", "type=N"),
            ("ingress,icmp,type=256", "0 to 255"),
            ("ingress,tcp,port=22", "none of from="),
            ("ingress,web", "none of ingress"),
            ("ingress,,tcp", "none of ingress"),
        ] {
            let why = parse(text).expect_err(text);
            assert!(why.contains(words), "{text:?}: {why}");
        }
    }
}
