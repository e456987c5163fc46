//! Moves on the virtual network's objects.

use super::*;
use crate::{
    World,
    floating_ip::{AssociationRequest, CreateFloatingIp, FloatingIpCommand},
    load_balancer::{CreateLoadBalancer, HealthTiming, LoadBalancerCommand, UpdateLoadBalancer},
    network::{NetworkCommand, UpdateNetwork},
    realization::RealizationReport,
    router::{RouterCommand, UpdateRouter},
    security_group::{CreateSecurityGroup, SecurityGroupCommand},
    security_group_rule::{RemoteRequest, RuleRequest, SecurityGroupRuleCommand},
};

/// The command of such a move in this world, if it finds what it is about, and is such a move.
pub(super) fn command(one: &Move, world: &World) -> Option<Command> {
    Some(match one {
        Move::Network { network, wish } => {
            let name = &format!("network-{network}");
            match wish {
                // So small that its addresses run out.
                0 | 1 => a_network(name, &format!("10.0.{network}.0/29")).into(),
                2 => UpdateNetwork { dhcp: Some(false), ..a_network_update(name) }.into(),
                3 => NetworkCommand::Reconcile { network: name.as_str().into() }.into(),
                4 => NetworkCommand::Delete { network: name.as_str().into(), cascade: false }.into(),
                _ => NetworkCommand::Delete { network: name.as_str().into(), cascade: true }.into(),
            }
        }
        Move::Group { group, wish, of } => {
            let (name, of) = (format!("group-{group}"), format!("group-{of}"));
            let about = RuleRequest { remote: RemoteRequest::Group(of.as_str().into()), ..a_rule() };
            match wish {
                0 | 1 => a_group(&name).into(),
                2 => CreateSecurityGroup { rules: Some(vec![about]), ..a_group(&name) }.into(),
                3 | 4 => a_rule_of(&name, about).into(),
                5 => {
                    let rule = world.rules_of(world.security_group(&name.as_str().into()).ok()?.id).next()?;
                    SecurityGroupRuleCommand::Delete { rule: Reference::id(rule.id) }.into()
                }
                6 => SecurityGroupCommand::Delete { group: name.as_str().into(), cascade: false }.into(),
                _ => SecurityGroupCommand::Delete { group: name.as_str().into(), cascade: true }.into(),
            }
        }
        Move::Router { router, wish, network } => {
            let (name, network) = (format!("router-{router}"), format!("network-{network}"));
            let router = || name.as_str().into();
            let update = || an_update(&name);
            match wish {
                0 => an_outside("network-3", "192.0.2.0/28").into(),
                1 => a_router_with(&name, &[&network], Some("network-3")).into(),
                2 => a_router_with(&name, &[&network], None).into(),
                3 => UpdateRouter { attach: vec![network.as_str().into()], ..update() }.into(),
                4 => UpdateRouter { detach: vec![network.as_str().into()], ..update() }.into(),
                5 => UpdateRouter { external: Some(None), ..update() }.into(),
                6 => RouterCommand::Delete { router: router(), cascade: false }.into(),
                _ => RouterCommand::Delete { router: router(), cascade: true }.into(),
            }
        }
        Move::FloatingIp { ip, wish, vm } => {
            let floating_ip: Reference = format!("ip-{ip}").as_str().into();
            let to = AssociationRequest { vm: format!("vm-{vm}").as_str().into(), fixed_ip: None };
            match wish {
                0 | 1 => CreateFloatingIp { name: Some(name(&floating_ip.0)), ..a_floating_ip() }.into(),
                2 | 3 => FloatingIpCommand::Associate { floating_ip, to }.into(),
                4 => FloatingIpCommand::Disassociate { floating_ip }.into(),
                _ => FloatingIpCommand::Delete { floating_ip }.into(),
            }
        }
        Move::Balancer { balancer, wish, of } => {
            let name = format!("balancer-{balancer}");
            let (network, vm) = (format!("network-{}", of % 3), format!("vm-{of}"));
            let load_balancer: Reference = name.as_str().into();
            match wish {
                0 => a_balancer(&name, &network, &[]).into(),
                1 | 2 => a_balancer(&name, &network, &[&vm]).into(),
                3 => {
                    let health_check = Some(HealthTiming::default());
                    CreateLoadBalancer { health_check, ..a_balancer(&name, &network, &["10.0.0.5"]) }.into()
                }
                4 => UpdateLoadBalancer { add: vec![a_member(&vm)], ..a_balancer_update(&name) }.into(),
                5 => UpdateLoadBalancer { remove: vec![a_member(&vm)], ..a_balancer_update(&name) }.into(),
                6 | 7 => {
                    let floating_ip = format!("ip-{of}").as_str().into();
                    FloatingIpCommand::AssociateLoadBalancer { floating_ip, load_balancer }.into()
                }
                _ => LoadBalancerCommand::Delete { load_balancer }.into(),
            }
        }
        Move::BalancerTold { nth: n, report, stale } => {
            let balancer = nth(world.load_balancers.values(), *n)?;
            let (generation, report) = (generation(balancer.meta.generation, *stale), realization(*report));
            LoadBalancerCommand::Report { load_balancer: balancer.id, generation, report }.into()
        }
        Move::RouterTold { nth: n, of_ip: true, report, stale } => {
            let ip = nth(world.floating_ips.values(), *n)?;
            let (generation, report) = (generation(ip.meta.generation, *stale), realization(*report));
            FloatingIpCommand::Report { floating_ip: ip.id, generation, report }.into()
        }
        Move::RouterTold { nth: n, of_ip: false, report, stale } => {
            let router = nth(world.routers.values(), *n)?;
            let (generation, report) = (generation(router.meta.generation, *stale), realization(*report));
            RouterCommand::Report { router: router.id, generation, report }.into()
        }
        Move::GroupTold { nth: n, of_rule: true, report, stale } => {
            let rule = nth(world.security_group_rules.values(), *n)?;
            let generation = generation(rule.meta.generation, *stale);
            let report = realization(*report);
            SecurityGroupRuleCommand::Report { rule: rule.id, generation, report }.into()
        }
        Move::GroupTold { nth: n, of_rule: false, report, stale } => {
            let group = nth(world.security_groups.values(), *n)?;
            let generation = generation(group.meta.generation, *stale);
            let report = realization(*report);
            SecurityGroupCommand::Report { group: group.id, generation, report }.into()
        }
        Move::NetworkTold { nth: n, report, stale } => {
            let network = nth(world.networks.values(), *n)?;
            let report = realization(*report);
            let generation = generation(network.meta.generation, *stale);
            NetworkCommand::Report { network: network.id, generation, report }.into()
        }
        _ => return None,
    })
}

/// What the gateway pool may say.
fn realization(report: u8) -> RealizationReport {
    match report {
        0 => RealizationReport::Realized,
        1 => RealizationReport::Drifted { what: vec!["a row".into()] },
        2 => RealizationReport::AttemptFailed(failed("realize")),
        _ => RealizationReport::Removed,
    }
}
