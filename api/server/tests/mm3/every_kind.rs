//! What the log promises of its past, of each kind there is: as it was, what changed, why, and what happened; of what is gone,
//! too.

use std::collections::BTreeMap;

use edgestack_log::Log;
use edgestack_model::{
    Command, Id, Kind,
    floating_ip::FloatingIpCommand,
    lease::LeaseCommand,
    load_balancer::LoadBalancerCommand,
    network::NetworkCommand,
    node::{NodeCommand, NodeReport},
    realization::{Realization, RealizationReport, RealizationState},
    router::RouterCommand,
    security_group::SecurityGroupCommand,
    security_group_rule::SecurityGroupRuleCommand,
    world::Resource,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::site::{DEADLINE, Site};

const WHY: (&str, &str) = ("edgestack-reason", "so that it is in the history");

/// The one object of each kind.
const fn name_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Node => "edge-1",
        Kind::Flavor => "small",
        Kind::Keypair => "laptop",
        Kind::Image => "debian",
        Kind::Network => "blue",
        Kind::Router => "edge",
        Kind::SecurityGroup => "web",
        Kind::SecurityGroupRule => "web-ssh",
        Kind::Volume => "hello-root",
        Kind::Vm => "hello",
        Kind::LoadBalancer => "front",
        Kind::FloatingIp => "192.0.2.10",
        Kind::Webhook => "ops",
        Kind::Lease => "scheduler",
    }
}

fn path_of(kind: Kind) -> String {
    format!("/{}/{}", kind.plural(), name_of(kind))
}

async fn a_site_with_one_of_each_kind() -> Site {
    let site = Site::new().await;
    site.play_workers();
    site.with_flavor_and_image().await;
    site.with_vm(name_of(Kind::Vm)).await;
    site.wait_for_state(&path_of(Kind::Vm), "running").await;
    let rule = json!({"name": "web-ssh", "direction": "ingress", "protocol": "tcp", "port_range_min": 22});
    for (kind, body) in [
        (Kind::Keypair, json!({"name": "laptop"})),
        (Kind::Network, json!({"name": "blue", "cidr": "10.0.0.0/24"})),
        (
            Kind::Network,
            json!({"name": "outside", "type": "FLAT", "external": {"physical_network": "ext"}, "cidr": "192.0.2.0/24"}),
        ),
        (Kind::Router, json!({"name": "edge", "internal_networks": ["blue"], "external_network": "outside"})),
        (Kind::SecurityGroup, json!({"name": "web", "rules": [rule]})),
        (Kind::LoadBalancer, json!({"name": "front", "network": "blue"})),
        (Kind::FloatingIp, json!({"floating_ip": "192.0.2.10"})),
        (Kind::Webhook, json!({"name": "ops", "url": "https://hooks.example.com/edge"})),
    ] {
        let reply = site.call("POST", &format!("/{}", kind.plural()), Some(body)).await;
        assert!(reply.status.is_success(), "{kind}: {}", reply.text());
    }
    let (lease, node) = (name_of(Kind::Lease).parse().unwrap(), name_of(Kind::Node).parse().unwrap());
    site.submit(Command::Lease(LeaseCommand::Take { lease, node, process: Uuid::now_v7(), replaces: 0 })).await;
    site
}

/// A change of each: of what people label the labels, of the others what they have.
async fn change(site: &Site, kind: Kind) {
    let reply = match kind {
        Kind::Lease => {
            let lease = name_of(kind).parse().unwrap();
            site.submit(Command::Lease(LeaseCommand::Release { lease, epoch: 1 })).await;
            return;
        }
        Kind::Volume => {
            let look = Some(json!({"action": "reconcile"}));
            site.call_with("POST", &format!("{}/action", path_of(kind)), &[WHY], look).await
        }
        Kind::Node
        | Kind::Flavor
        | Kind::Keypair
        | Kind::Image
        | Kind::Network
        | Kind::Router
        | Kind::SecurityGroup
        | Kind::SecurityGroupRule
        | Kind::Vm
        | Kind::LoadBalancer
        | Kind::FloatingIp
        | Kind::Webhook => {
            site.call_with("PATCH", &path_of(kind), &[WHY], Some(json!({"labels": {"tier": "front"}}))).await
        }
    };
    assert!(reply.status.is_success(), "{kind}: {}", reply.text());
}

/// Asks for the removal of each, in an order that is allowed, and plays the workers that make it so.
async fn remove_all(site: &Site) {
    for kind in [
        Kind::Vm,
        Kind::LoadBalancer,
        Kind::FloatingIp,
        Kind::Router,
        Kind::Network,
        Kind::SecurityGroupRule,
        Kind::SecurityGroup,
        Kind::Webhook,
        Kind::Image,
        Kind::Flavor,
        Kind::Keypair,
        Kind::Node,
    ] {
        let reply = if kind == Kind::Node {
            let lost = NodeReport::Lost { node: name_of(kind).into(), reason: "nothing was heard".into() };
            site.submit(Command::Node(NodeCommand::Report(lost))).await;
            let force = Some(json!({"action": "force_remove"}));
            site.call_with("POST", &format!("{}/action", path_of(kind)), &[WHY], force).await
        } else {
            site.call_with("DELETE", &path_of(kind), &[WHY], None).await
        };
        assert!(reply.status.is_success(), "{kind}: {}", reply.text());
        let deadline = tokio::time::Instant::now() + DEADLINE;
        while site.get(&path_of(kind)).await.status != 404 {
            assert!(tokio::time::Instant::now() < deadline, "{kind} never went");
            gateway_removed(site).await;
            tokio::task::yield_now().await;
        }
    }
}

/// The gateway pool says of what goes that nothing of it is left.
async fn gateway_removed(site: &Site) {
    let world = site.state.replica.world().clone();
    let report = RealizationReport::Removed;
    let goes = |realization: &Realization| realization.state == RealizationState::Deleting;
    let going = world.resources().filter_map(|resource| {
        let (id, generation, report) = (resource.id(), resource.meta().generation, report.clone());
        match &resource {
            Resource::Network(one) if goes(&one.realization) => {
                Some(Command::Network(NetworkCommand::Report { network: Id::new(id), generation, report }))
            }
            Resource::SecurityGroup(one) if goes(&one.realization) => {
                Some(Command::SecurityGroup(SecurityGroupCommand::Report { group: Id::new(id), generation, report }))
            }
            Resource::SecurityGroupRule(one) if goes(&one.realization) => {
                Some(Command::SecurityGroupRule(SecurityGroupRuleCommand::Report {
                    rule: Id::new(id),
                    generation,
                    report,
                }))
            }
            Resource::Router(one) if goes(&one.realization) => {
                Some(Command::Router(RouterCommand::Report { router: Id::new(id), generation, report }))
            }
            Resource::FloatingIp(one) if goes(&one.realization) => {
                Some(Command::FloatingIp(FloatingIpCommand::Report { floating_ip: Id::new(id), generation, report }))
            }
            Resource::LoadBalancer(one) if goes(&one.realization) => {
                Some(Command::LoadBalancer(LoadBalancerCommand::Report {
                    load_balancer: Id::new(id),
                    generation,
                    report,
                }))
            }
            _ => None,
        }
    });
    for command in going.collect::<Vec<_>>() {
        site.submit(command).await;
    }
}

/// What is shown of each kind: the list, the object, its history.
type Seen = BTreeMap<Kind, [Value; 3]>;

async fn seen(site: &Site, at: Option<u64>) -> Seen {
    let at = at.map(|at| format!("&at={at}")).unwrap_or_default();
    let mut seen = Seen::new();
    for kind in Kind::ALL {
        let path = path_of(kind);
        let mut list = site.get(&format!("/{}?limit=100{at}", kind.plural())).await.expect(200).json()["items"].clone();
        let mut one = site.get(&format!("{path}?{}", at.trim_start_matches('&'))).await.expect(200).json();
        if kind == Kind::Webhook {
            // How far its deliveries are is kept beside the log, and has no past.
            for shown in list.as_array_mut().unwrap().iter_mut().chain([&mut one]) {
                shown.as_object_mut().unwrap().retain(|field, _| field != "delivery" && field != "waiting");
            }
        }
        let events = site.get(&format!("{path}/events?limit=1000{at}")).await.expect(200).json()["items"].clone();
        seen.insert(kind, [list, one, events]);
    }
    seen
}

async fn last(site: &Site) -> u64 {
    site.log.head().await.unwrap().last_sequence
}

/// What changed of the object between two moments: how, and how many events are told of it.
async fn diff(site: &Site, kind: Kind, from: u64, to: u64) -> (String, usize) {
    let object = format!("{kind}/{}", name_of(kind));
    let path = format!("//edgetron/log/diff?from={from}&to={to}&object={object}");
    let found = site.get(&path).await.expect(200).json();
    let items = found["items"].as_array().unwrap();
    assert_eq!(items.len(), 1, "{kind}: {found}");
    (items[0]["change"].as_str().unwrap().to_owned(), items[0]["events"].as_array().unwrap().len())
}

async fn explained(site: &Site, kind: Kind, name: &str, at: &str) -> Value {
    site.get(&format!("//edgetron/log/explain/{kind}/{name}{at}")).await.expect(200).json()
}

#[tokio::test]
async fn the_past_of_every_kind_is_shown_compared_explained_and_told_also_once_it_is_gone() {
    let site = a_site_with_one_of_each_kind().await;
    let (made_at, made) = (last(&site).await, seen(&site, None).await);
    for kind in Kind::ALL {
        change(&site, kind).await;
    }
    let (changed_at, changed) = (last(&site).await, seen(&site, None).await);
    for kind in Kind::ALL {
        assert_ne!(made[&kind][1], changed[&kind][1], "{kind} was changed");
        let (change, events) = diff(&site, kind, made_at, changed_at).await;
        assert!(change == "changed" && events > 0, "{kind}: {change}, {events} events");
        assert_eq!(diff(&site, kind, 0, changed_at).await.0, "added", "{kind}");
        let told = explained(&site, kind, name_of(kind), "").await;
        assert_eq!((&told["exists"], &told["name"]), (&json!(true), &json!(name_of(kind))), "{kind}");
        assert!(!told["events"].as_array().unwrap().is_empty(), "{kind}: {told}");
    }
    remove_all(&site).await;

    for (at, then) in [(made_at, &made), (changed_at, &changed)] {
        for (kind, again) in seen(&site, Some(at)).await {
            for (again, then) in again.iter().zip(&then[&kind]) {
                assert_eq!(again, then, "{kind} at {at}");
            }
        }
    }
    for kind in Kind::ALL {
        let id = made[&kind][1]["id"].as_str().unwrap();
        let then = explained(&site, kind, name_of(kind), &format!("?at={changed_at}")).await;
        assert_eq!((&then["exists"], &then["id"]), (&json!(true), &json!(id)), "{kind}: {then}");
        // Leases are given back, and stay.
        let gone = kind != Kind::Lease;
        for reference in [name_of(kind), id] {
            let told = explained(&site, kind, reference, "").await;
            assert_eq!((&told["exists"], &told["id"]), (&json!(!gone), &json!(id)), "{kind}: {told}");
            assert_eq!(told["summary"].as_str().unwrap().contains("is gone since"), gone, "{kind}: {told}");
            let events =
                site.get(&format!("/{}/{reference}/events?limit=1000", kind.plural())).await.expect(200).json();
            let events = events["items"].as_array().unwrap();
            let before = changed[&kind][2].as_array().unwrap();
            assert_eq!(&events[..before.len()], before, "{kind}: what was told is told");
            assert_eq!(events.len() > before.len(), gone, "{kind}");
            let end = &events[events.len() - 1];
            let is_end =
                ["Deleted", "ForceRemoved"].iter().any(|end_of| end["type"].as_str().unwrap().ends_with(end_of));
            assert_eq!(is_end, gone, "{kind}: {end}");
        }
        if gone {
            site.get(&path_of(kind)).await.expect_problem(404, "not-found", None);
            assert_eq!(diff(&site, kind, changed_at, last(&site).await).await.0, "removed", "{kind}");
        }
    }
}
