//! Security group rules as they are asked for. Source of the fields, and of what ports mean of ICMP: OpenStack Networking,
//! `security-group-rules`.

use std::{collections::BTreeMap, fmt};

use edgestack_model::{
    address::Cidr,
    security_group_rule::{self as model, CreateRule, Ports, RemoteRequest, SecurityGroupRuleCommand},
};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, Visitor},
};
use utoipa::{
    ToSchema,
    openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, SchemaType, Type},
};

use crate::{
    Invalid, invalid,
    security_group_rule::{Direction, EtherType},
};

/// A rule of a group that is to be made with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"direction": "ingress", "protocol": "tcp", "port_range_min": 22, "port_range_max": 22}))]
pub struct RuleRequest {
    /// Its name; made of what it is if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$")]
    pub name: Option<String>,
    /// Free text of at most 1,024 characters.
    #[serde(default)]
    #[schema(max_length = 1024)]
    pub description: String,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// In which direction, as the VM sees it.
    pub direction: Direction,
    /// Of which family; if absent that of `remote_ip_prefix`, else IPv4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ether_type: Option<EtherType>,
    /// `any`, `icmp`, `icmpv6`, `tcp`, `udp`, `sctp`, or a number; any if absent.
    #[serde(default = "any", deserialize_with = "word_or_number")]
    #[schema(schema_with = protocol_schema)]
    pub protocol: String,
    /// The first port, of TCP, UDP and SCTP; of ICMP the type. Alone it is a single port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_range_min: Option<u16>,
    /// The last port, of TCP, UDP and SCTP; of ICMP the code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_range_max: Option<u16>,
    /// Which ICMP messages; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp_type: Option<u8>,
    /// Which of the type; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp_code: Option<u8>,
    /// Whose addresses it is about; anybody's if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "10.0.0.0/8")]
    pub remote_ip_prefix: Option<String>,
    /// The group whose NICs it is about, by name or id; in place of `remote_ip_prefix`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 255)]
    pub remote_group: Option<String>,
}

/// A rule to be made: its group, and the rule. (serde takes unknown fields where it flattens, so the fields stand here again.)
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"security_group": "web", "direction": "ingress", "protocol": "tcp", "port_range_min": 443}))]
pub struct CreateSecurityGroupRule {
    /// Its group, by name or id.
    #[schema(min_length = 1, max_length = 255)]
    pub security_group: String,
    /// Its name; made of what it is if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$")]
    pub name: Option<String>,
    /// Free text of at most 1,024 characters.
    #[serde(default)]
    #[schema(max_length = 1024)]
    pub description: String,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// In which direction, as the VM sees it.
    pub direction: Direction,
    /// Of which family; if absent that of `remote_ip_prefix`, else IPv4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ether_type: Option<EtherType>,
    /// `any`, `icmp`, `icmpv6`, `tcp`, `udp`, `sctp`, or a number; any if absent.
    #[serde(default = "any", deserialize_with = "word_or_number")]
    #[schema(schema_with = protocol_schema)]
    pub protocol: String,
    /// The first port, of TCP, UDP and SCTP; of ICMP the type. Alone it is a single port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_range_min: Option<u16>,
    /// The last port, of TCP, UDP and SCTP; of ICMP the code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_range_max: Option<u16>,
    /// Which ICMP messages; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp_type: Option<u8>,
    /// Which of the type; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp_code: Option<u8>,
    /// Whose addresses it is about; anybody's if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "10.0.0.0/8")]
    pub remote_ip_prefix: Option<String>,
    /// The group whose NICs it is about, by name or id; in place of `remote_ip_prefix`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 255)]
    pub remote_group: Option<String>,
}

fn any() -> String {
    "any".to_owned()
}

/// A protocol is a word or a number in JSON, and kept as its text; null is any, as in OpenStack.
fn word_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    struct Word;
    impl Visitor<'_> for Word {
        type Value = String;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a protocol's name or number")
        }
        fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
            Ok(text.to_owned())
        }
        fn visit_u64<E: Error>(self, number: u64) -> Result<String, E> {
            Ok(number.to_string())
        }
        fn visit_i64<E: Error>(self, number: i64) -> Result<String, E> {
            Ok(number.to_string())
        }
        fn visit_unit<E: Error>(self) -> Result<String, E> {
            Ok(any())
        }
    }
    deserializer.deserialize_any(Word)
}

fn protocol_schema() -> Schema {
    let word = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some("^(any|icmp|icmpv6|tcp|udp|sctp|[0-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5])$"));
    let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).maximum(Some(255));
    let null = ObjectBuilder::new().schema_type(SchemaType::Type(Type::Null));
    OneOfBuilder::new()
        .item(word)
        .item(number)
        .item(null)
        .description(Some("`any`, `icmp`, `icmpv6`, `tcp`, `udp`, `sctp`, or a number; any if absent."))
        .examples(["tcp"])
        .build()
        .into()
}

/// A protocol as it was named, before its ports or messages are looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Icmpv6,
    Any,
    Icmp,
    Tcp,
    Udp,
    Sctp,
    Number(u8),
}

impl Word {
    fn parse(field: &str, text: &str) -> Result<Self, Invalid> {
        let number = || text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?;
        match text.to_ascii_lowercase().as_str() {
            "any" => Ok(Self::Any),
            "icmp" => Ok(Self::Icmp),
            "icmpv6" => Ok(Self::Icmpv6),
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            _ => number().map(Self::Number).ok_or_else(|| {
                let got: String = text.chars().take(80).collect();
                let rule = "must be any, icmp, icmpv6, tcp, udp, sctp or a number from 0 to 255";
                Invalid::new(field, format_args!("{rule}; got {got:?}"))
            }),
        }
    }

    /// The protocol, yet of all ports or messages.
    fn protocol(self, ether_type: model::EtherType) -> model::Protocol {
        match self {
            Self::Any => model::Protocol::Any,
            Self::Icmp | Self::Icmpv6 => model::Protocol::Icmp { icmp_type: None, icmp_code: None },
            Self::Tcp => model::Protocol::Tcp { ports: None },
            Self::Udp => model::Protocol::Udp { ports: None },
            Self::Sctp => model::Protocol::Sctp { ports: None },
            Self::Number(number) => model::Protocol::of_number(number, ether_type),
        }
    }
}

impl RuleRequest {
    /// What the model takes; `at` is where the rule stands in the request, `rules.0.` with its dot.
    ///
    /// # Errors
    /// [`Invalid`] names the field.
    pub fn parse(self, at: &str) -> Result<model::RuleRequest, Invalid> {
        let field = |name: &str| format!("{at}{name}");
        let name = self.name.as_deref().map(|text| invalid::parse(&field("name"), text)).transpose()?;
        let word = Word::parse(&field("protocol"), &self.protocol)?;
        let prefix: Option<Cidr> = self
            .remote_ip_prefix
            .as_deref()
            .map(|text| invalid::parse(&field("remote_ip_prefix"), text))
            .transpose()?;
        let ether_type = match self.ether_type {
            Some(EtherType::Ipv4) if word == Word::Icmpv6 => {
                return Err(Invalid::new(&field("ether_type"), "icmpv6 is of IPv6; leave this out, or say icmp"));
            }
            Some(ether_type) => ether_type.into(),
            None if word == Word::Icmpv6 => model::EtherType::Ipv6,
            None => prefix.map(model::EtherType::of).unwrap_or_default(),
        };
        let remote = match (prefix, &self.remote_group) {
            (None, None) => RemoteRequest::Any,
            (Some(prefix), None) => RemoteRequest::Prefix(prefix),
            (None, Some(group)) => RemoteRequest::Group(invalid::reference(&field("remote_group"), group.clone())?),
            (Some(_), Some(_)) => {
                return Err(Invalid::new(&field("remote_group"), "give remote_ip_prefix or remote_group, not both"));
            }
        };
        Ok(model::RuleRequest {
            name,
            direction: self.direction.into(),
            ether_type,
            protocol: self.part_of(word.protocol(ether_type), at)?,
            remote,
            labels: invalid::labels(&field("labels"), self.labels)?,
            description: self.description,
        })
    }

    /// A protocol with the ports or messages that are asked for.
    fn part_of(&self, protocol: model::Protocol, at: &str) -> Result<model::Protocol, Invalid> {
        let invalid = |name: &str, reason: &str| Invalid::new(&format!("{at}{name}"), reason);
        let wrong = |name: &str, reason: String| Err(invalid(name, &reason));
        let range = (self.port_range_min, self.port_range_max);
        let given_port = if range.0.is_some() { "port_range_min" } else { "port_range_max" };
        let given_icmp = if self.icmp_type.is_some() { "icmp_type" } else { "icmp_code" };
        let of_icmp = self.icmp_type.is_some() || self.icmp_code.is_some();
        let word = protocol.word();
        match protocol {
            model::Protocol::Icmp { .. } if of_icmp && range != (None, None) => {
                wrong(given_port, "give icmp_type and icmp_code, or both by this name, not both ways".to_owned())
            }
            model::Protocol::Icmp { .. } => {
                let (icmp_type, code) = if of_icmp {
                    (self.icmp_type, self.icmp_code)
                } else {
                    let octet = |name: &str, given: Option<u16>| {
                        let octet = given.map(u8::try_from).transpose();
                        octet.map_err(|_| invalid(name, "types and codes of ICMP are 0 to 255"))
                    };
                    (octet("port_range_min", range.0)?, octet("port_range_max", range.1)?)
                };
                if icmp_type.is_none() && code.is_some() {
                    let (code, of) =
                        if of_icmp { ("icmp_code", "icmp_type") } else { ("port_range_max", "port_range_min") };
                    return wrong(code, format!("a code is one of a type; give {of}, too"));
                }
                Ok(model::Protocol::Icmp { icmp_type, icmp_code: code })
            }
            model::Protocol::Any
            | model::Protocol::Tcp { .. }
            | model::Protocol::Udp { .. }
            | model::Protocol::Sctp { .. }
            | model::Protocol::Number { .. }
                if of_icmp =>
            {
                wrong(given_icmp, format!("types and codes are of icmp and icmpv6, and this is {word}"))
            }
            model::Protocol::Tcp { .. } => Ok(model::Protocol::Tcp { ports: ports(range, at)? }),
            model::Protocol::Udp { .. } => Ok(model::Protocol::Udp { ports: ports(range, at)? }),
            model::Protocol::Sctp { .. } => Ok(model::Protocol::Sctp { ports: ports(range, at)? }),
            model::Protocol::Any | model::Protocol::Number { .. } if range == (None, None) => Ok(protocol),
            model::Protocol::Any | model::Protocol::Number { .. } => {
                wrong(given_port, format!("ports are of tcp, udp and sctp, and this is {word}; name the protocol"))
            }
        }
    }
}

/// Only one given means a single port.
fn ports((min, max): (Option<u16>, Option<u16>), at: &str) -> Result<Option<Ports>, Invalid> {
    let Some((min, max)) = min.or(max).zip(max.or(min)) else { return Ok(None) };
    let name = if min == 0 || max != 0 { "port_range_min" } else { "port_range_max" };
    Ports::new(min, max).map(Some).map_err(|error| Invalid::new(&format!("{at}{name}"), error))
}

impl TryFrom<CreateSecurityGroupRule> for SecurityGroupRuleCommand {
    type Error = Invalid;
    fn try_from(create: CreateSecurityGroupRule) -> Result<Self, Invalid> {
        let group = invalid::reference("security_group", create.security_group)?;
        let rule = RuleRequest {
            name: create.name,
            description: create.description,
            labels: create.labels,
            direction: create.direction,
            ether_type: create.ether_type,
            protocol: create.protocol,
            port_range_min: create.port_range_min,
            port_range_max: create.port_range_max,
            icmp_type: create.icmp_type,
            icmp_code: create.icmp_code,
            remote_ip_prefix: create.remote_ip_prefix,
            remote_group: create.remote_group,
        };
        Ok(Self::Create(Box::new(CreateRule { group, rule: rule.parse("")? })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn parsed(mut rule: Value) -> Result<model::RuleRequest, Invalid> {
        rule["direction"] = "ingress".into();
        let request: RuleRequest = serde_json::from_value(rule).unwrap();
        request.parse("rules.0.")
    }

    #[test]
    fn a_rule_is_what_its_words_say() {
        for (rule, protocol, ether_type) in [
            (json!({}), "any", "IPv4"),
            (json!({"protocol": null}), "any", "IPv4"),
            (json!({"protocol": "any", "remote_ip_prefix": "fd00::/8"}), "any", "IPv6"),
            (json!({"protocol": "any", "remote_ip_prefix": "10.0.0.0/8"}), "any", "IPv4"),
            (json!({"protocol": "tcp", "ether_type": "ipv6"}), "tcp", "IPv6"),
            (json!({"protocol": "TCP", "port_range_min": 22}), "tcp 22", "IPv4"),
            (json!({"protocol": "udp", "port_range_max": 53}), "udp 53", "IPv4"),
            (json!({"protocol": "sctp", "port_range_min": 1, "port_range_max": 65535}), "sctp 1-65535", "IPv4"),
            (json!({"protocol": 6, "port_range_min": 80}), "tcp 80", "IPv4"),
            (json!({"protocol": "17"}), "udp", "IPv4"),
            (json!({"protocol": 89}), "89", "IPv4"),
            (json!({"protocol": 58}), "58", "IPv4"),
            (json!({"protocol": 58, "ether_type": "IPv6"}), "icmp", "IPv6"),
            (json!({"protocol": "icmpv6", "icmp_type": 128}), "icmp type 128", "IPv6"),
            (json!({"protocol": "icmp", "port_range_min": 3, "port_range_max": 4}), "icmp type 3 code 4", "IPv4"),
            (json!({"protocol": "icmp", "icmp_type": 0, "icmp_code": 0}), "icmp type 0 code 0", "IPv4"),
        ] {
            let got = parsed(rule.clone()).unwrap_or_else(|error| panic!("{rule}: {error}"));
            assert_eq!((got.protocol.to_string().as_str(), got.ether_type.as_str()), (protocol, ether_type), "{rule}");
        }
    }

    #[test]
    fn a_rule_that_says_nothing_or_two_things_is_told_by_its_field() {
        for (rule, field) in [
            (json!({"name": "A"}), "name"),
            (json!({"labels": {"a b": "c"}}), "labels"),
            (json!({"protocol": "ospf"}), "protocol"),
            (json!({"protocol": ""}), "protocol"),
            (json!({"protocol": "+6"}), "protocol"),
            (json!({"protocol": 256}), "protocol"),
            (json!({"protocol": -1}), "protocol"),
            (json!({"protocol": "icmpv6", "ether_type": "IPv4"}), "ether_type"),
            (json!({"protocol": "tcp", "port_range_min": 0}), "port_range_min"),
            (json!({"protocol": "tcp", "port_range_min": 5, "port_range_max": 0}), "port_range_max"),
            (json!({"protocol": "tcp", "port_range_min": 100, "port_range_max": 99}), "port_range_min"),
            (json!({"port_range_min": 22}), "port_range_min"),
            (json!({"port_range_max": 22}), "port_range_max"),
            (json!({"protocol": 89, "port_range_min": 22}), "port_range_min"),
            (json!({"protocol": "tcp", "icmp_type": 8}), "icmp_type"),
            (json!({"icmp_code": 8}), "icmp_code"),
            (json!({"protocol": "icmp", "icmp_code": 8}), "icmp_code"),
            (json!({"protocol": "icmp", "port_range_max": 8}), "port_range_max"),
            (json!({"protocol": "icmp", "port_range_min": 256}), "port_range_min"),
            (json!({"protocol": "icmp", "port_range_min": 3, "port_range_max": 256}), "port_range_max"),
            (json!({"protocol": "icmp", "icmp_type": 8, "port_range_min": 8}), "port_range_min"),
            (json!({"remote_ip_prefix": "10.0.0.1/8"}), "remote_ip_prefix"),
            (json!({"remote_ip_prefix": "everybody"}), "remote_ip_prefix"),
            (json!({"remote_group": ""}), "remote_group"),
            (json!({"remote_group": "web", "remote_ip_prefix": "10.0.0.0/8"}), "remote_group"),
        ] {
            let error = parsed(rule.clone()).expect_err(&rule.to_string());
            assert_eq!(error.field, format!("rules.0.{field}"), "{rule}: {error}");
        }
    }

    #[test]
    fn what_a_rule_has_no_field_for_is_refused() {
        for body in [
            json!({"direction": "ingress", "port": 22}),
            json!({"direction": "both"}),
            json!({"direction": "ingress", "ether_type": "ARP"}),
            json!({"direction": "ingress", "protocol": ["tcp"]}),
            json!({"direction": "ingress", "icmp_type": 256}),
            json!({}),
        ] {
            assert!(serde_json::from_value::<RuleRequest>(body.clone()).is_err(), "{body}");
            let mut alone = body;
            alone["security_group"] = "web".into();
            assert!(serde_json::from_value::<CreateSecurityGroupRule>(alone.clone()).is_err(), "{alone}");
        }
    }

    #[test]
    fn a_rule_for_a_group_has_all_fields_of_one_with_its_group() {
        let all = json!({
            "name": "a", "description": "b", "labels": {"c": "d"}, "direction": "egress", "ether_type": "IPv6",
            "protocol": "tcp", "port_range_min": 1, "port_range_max": 2, "remote_ip_prefix": "fd00::/8",
        });
        let within: RuleRequest = serde_json::from_value(all.clone()).unwrap();
        let mut alone = all;
        alone["security_group"] = "web".into();
        let alone: CreateSecurityGroupRule = serde_json::from_value(alone).unwrap();
        let rule = within.parse("").unwrap();
        let expect = SecurityGroupRuleCommand::Create(Box::new(CreateRule { group: "web".into(), rule }));
        assert_eq!(SecurityGroupRuleCommand::try_from(alone), Ok(expect));
    }
}
