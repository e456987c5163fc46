//! Security group rules: what is settled and refused, and what they are called.

use super::{
    Direction, EtherType, Ports, Protocol, RULES_MAX, Remote, RemoteRequest, RuleRequest, SecurityGroupRuleCommand,
};
use crate::{builders::*, realization::RealizationReport, security_group::CreateSecurityGroup};

fn tcp(port: u16) -> Protocol {
    Protocol::Tcp { ports: Some(Ports::new(port, port).unwrap()) }
}

fn a_world_with_web() -> Site {
    let mut site = a_world();
    site.has(a_group("web"));
    site
}

fn remove(rule: &str) -> SecurityGroupRuleCommand {
    SecurityGroupRuleCommand::Delete { rule: rule.into() }
}

#[test]
fn each_bad_value_is_refused_by_its_field() {
    let site = a_world_with_web();
    let prefix = |text: &str| RemoteRequest::Prefix(text.parse().unwrap());
    let code_alone = Protocol::Icmp { icmp_type: None, icmp_code: Some(0) };
    for (rule, expect) in [
        (RuleRequest { protocol: code_alone, ..a_rule() }, "invalid-value icmp_code"),
        (RuleRequest { remote: prefix("fd00::/64"), ..a_rule() }, "invalid-value remote_ip_prefix"),
        (RuleRequest { remote: RemoteRequest::Group("db".into()), ..a_rule() }, "reference-not-found remote_group"),
        (RuleRequest { description: too_long(), ..a_rule() }, "invalid-value description"),
    ] {
        check(&site, a_rule_of("web", rule), Err(expect));
    }
    check(&site, a_rule_of("db", a_rule()), Err("reference-not-found security_group"));
    let bad = RuleRequest { protocol: code_alone, ..a_rule() };
    let group = CreateSecurityGroup { rules: Some(vec![a_rule(), bad]), ..a_group("db") };
    check(&site, group, Err("invalid-value rules.1.icmp_code"));
    let bad = RuleRequest { description: too_long(), ..a_rule() };
    let group = CreateSecurityGroup { rules: Some(vec![bad]), ..a_group("db") };
    check(&site, group, Err("invalid-value rules.0.description"));
    assert!(Ports::new(2, 1).is_err() && Ports::new(0, 1).is_err());
    assert!(serde_json::from_str::<Ports>(r#"{"min": 2, "max": 1}"#).is_err());
}

#[test]
fn one_rule_is_said_in_one_way_and_once_a_group() {
    let mut site = a_world_with_web();
    let number = |number, ether_type| RuleRequest { protocol: Protocol::Number { number }, ether_type, ..a_rule() };
    site.has(a_rule_of("web", number(6, EtherType::Ipv4)));
    assert_eq!(site.rule("web-ingress-ipv4-tcp").spec.protocol, Protocol::Tcp { ports: None });
    let same = RuleRequest { protocol: Protocol::Tcp { ports: None }, ..a_rule() };
    check(&site, a_rule_of("web", same), Err("rule-exists"));
    let everywhere = RemoteRequest::Prefix("0.0.0.0/0".parse().unwrap());
    site.has(a_rule_of("web", RuleRequest { remote: everywhere, ..a_rule() }));
    assert_eq!(site.rule("web-ingress-ipv4").spec.remote, Remote::Any);
    check(&site, a_rule_of("web", a_rule()), Err("rule-exists"));
    site.has(a_rule_of("web", number(58, EtherType::Ipv6)));
    assert_eq!(site.rule("web-ingress-ipv6-icmp").spec.protocol, Protocol::of_number(58, EtherType::Ipv6));
    // What is on its way out is in nobody's way.
    site.has(remove("web-ingress-ipv4"));
    check(&site, a_rule_of("web", a_rule()), Ok(&["SecurityGroupRuleCreated"]));
}

#[test]
fn a_rule_has_a_name_that_tells_what_it_is() {
    let mut site = a_world_with_web();
    site.has(a_group("a-group-with-a-very-long-name-that-fills-all-of-63-letters-x"));
    let from = |prefix: &str| RemoteRequest::Prefix(prefix.parse().unwrap());
    site.has(a_rule_of("web", RuleRequest { protocol: tcp(22), remote: from("10.0.0.0/8"), ..a_rule() }));
    site.has(a_rule_of("web", RuleRequest { protocol: tcp(22), remote: from("192.0.2.0/24"), ..a_rule() }));
    let icmp = Protocol::Icmp { icmp_type: Some(255), icmp_code: Some(255) };
    let long = RuleRequest { protocol: icmp, direction: Direction::Ingress, ..a_rule() };
    let long_group = "a-group-with-a-very-long-name-that-fills-all-of-63-letters-x";
    site.has(a_rule_of(long_group, long.clone()));
    site.has(a_rule_of(long_group, RuleRequest { remote: from("192.0.2.0/24"), ..long }));
    let names: Vec<&str> = site.world.security_group_rules.values().map(|rule| rule.meta.name.as_str()).collect();
    let two = names.iter().filter(|name| name.starts_with("web-ingress-ipv4-tcp-22")).count();
    assert_eq!(two, 2, "{names:?}");
    assert!(names.contains(&"a-group-with-a-v-ingress-ipv4-icmp-type-255-code-255"), "{names:?}");
    site.has(a_rule_of("web", RuleRequest { name: Some(name("mine")), protocol: tcp(80), ..a_rule() }));
    let again = RuleRequest { name: Some(name("mine")), protocol: tcp(81), ..a_rule() };
    check(&site, a_rule_of("web", again), Err("name-taken name"));
}

#[test]
fn a_group_has_room_for_so_many_rules() {
    let mut site = a_world();
    let rules =
        |count: usize| (1..=count).map(|port| RuleRequest { protocol: tcp(u16::try_from(port).unwrap()), ..a_rule() });
    let group = |count| CreateSecurityGroup { rules: Some(rules(count).collect()), ..a_group("web") };
    check(&site, group(RULES_MAX + 1), Err("group-full"));
    site.has(group(RULES_MAX));
    check(&site, a_rule_of("web", a_rule()), Err("group-full"));
    let ports = site.world.rules_of(site.group("web").id).map(|rule| rule.spec.protocol);
    assert!(ports.eq((1..=RULES_MAX).map(|port| tcp(u16::try_from(port).unwrap()))), "in the order in which they came");
    let bytes: usize = site.log.last().unwrap().encode().unwrap().len();
    assert!(bytes < 200 << 10, "the commit has {bytes} bytes");
}

#[test]
fn what_happens_to_a_rule_is_a_new_revision_of_its_group() {
    let mut site = a_world_with_web();
    let before = site.group("web").meta.revision;
    site.has(a_rule_of("web", a_rule()));
    let made = site.group("web").meta.revision;
    site.has(remove("web-ingress-ipv4"));
    site.has(site.told_of_rule("web-ingress-ipv4", RealizationReport::Removed));
    let gone = site.group("web").meta.revision;
    assert!(before < made && made < gone, "{before} {made} {gone}");
    assert_eq!(site.group("web").meta.generation, crate::Generation::FIRST, "nobody wished anything of the group");
}
