//! With what an explanation begins.

use edgestack_model::{
    Event,
    event::{
        Fact, FlavorEvent, FloatingIpEvent, ImageEvent, KeypairEvent, LoadBalancerEvent, NetworkEvent, NodeEvent,
        RouterEvent, SecurityGroupEvent, SecurityGroupRuleEvent, VmEvent, WebhookEvent,
    },
};
use edgestack_views::HistoryRow;

use crate::problem::Failure;

/// Whether somebody outside asked for what an object is to be: what follows from another commit has a cause, what a worker
/// sees by itself is a report, and other labels or words make no difference to what became of it.
pub(super) fn is_wish(row: &HistoryRow) -> Result<bool, Failure> {
    if row.causation_id.is_some() || row.command.starts_with("report-") {
        return Ok(false);
    }
    let event = Event::from_record(&row.event)
        .map_err(|error| Failure::internal(format!("an event of the history can't be read: {error}")))?;
    Ok(!is_bookkeeping(&event.fact))
}

/// Whether it changes labels and description alone. Fields are named one by one, so that a new one is thought of.
fn is_bookkeeping(fact: &Fact) -> bool {
    match fact {
        Fact::Vm(event) => matches!(event, VmEvent::VmUpdated { change: _, run_strategy: None, node_selector: None }),
        Fact::Image(event) => matches!(
            event,
            ImageEvent::ImageUpdated { change: _, visibility: None, min_disk_gib: None, min_memory_mib: None }
        ),
        Fact::Flavor(event) => matches!(event, FlavorEvent::FlavorUpdated { change: _ }),
        Fact::Keypair(event) => matches!(event, KeypairEvent::KeypairUpdated { change: _ }),
        Fact::Node(event) => matches!(event, NodeEvent::NodeUpdated { change: _ }),
        Fact::Network(event) => matches!(
            event,
            NetworkEvent::NetworkUpdated {
                change: _,
                mtu: None,
                dns_servers: None,
                host_routes: None,
                dhcp: None,
                pools: None,
                port_security: None,
            }
        ),
        Fact::SecurityGroup(event) => matches!(event, SecurityGroupEvent::SecurityGroupUpdated { change: _ }),
        Fact::SecurityGroupRule(event) => {
            matches!(event, SecurityGroupRuleEvent::SecurityGroupRuleUpdated { change: _ })
        }
        Fact::Router(event) => matches!(event, RouterEvent::RouterUpdated { change: _, spec: None, words: _ }),
        Fact::FloatingIp(event) => matches!(event, FloatingIpEvent::FloatingIpUpdated { change: _ }),
        Fact::LoadBalancer(event) => {
            matches!(event, LoadBalancerEvent::LoadBalancerUpdated { change: _, spec: None, words: _ })
        }
        Fact::Webhook(event) => matches!(
            event,
            WebhookEvent::WebhookUpdated { change: _, url: None, filter: None, paused: None, begin_after: None }
        ),
        Fact::Volume(_) | Fact::Lease(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use edgestack_model::{Actor, Generation, Kind, Sequence, event::EventRecord};
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;

    fn row(command: &str, kind: Kind, event_type: &str, data: Value) -> HistoryRow {
        let event = EventRecord {
            kind: kind.to_string(),
            resource_id: Uuid::nil(),
            name: "web".parse().unwrap(),
            event_type: event_type.to_owned(),
            version: 1,
            generation: Generation(2),
            data,
        };
        HistoryRow {
            sequence: Sequence(7),
            index: 0,
            time: DateTime::UNIX_EPOCH,
            actor: Actor { name: "admin".to_owned(), credential: "token".to_owned(), from: "127.0.0.1".to_owned() },
            command: command.to_owned(),
            commit_id: Uuid::nil(),
            correlation_id: Uuid::nil(),
            causation_id: None,
            reason: None,
            message: String::new(),
            event,
        }
    }

    #[test]
    fn new_labels_or_words_alone_are_no_wish_of_any_kind() {
        for (kind, event_type) in [
            (Kind::Vm, "VmUpdated"),
            (Kind::Image, "ImageUpdated"),
            (Kind::Flavor, "FlavorUpdated"),
            (Kind::Keypair, "KeypairUpdated"),
            (Kind::Node, "NodeUpdated"),
            (Kind::Network, "NetworkUpdated"),
            (Kind::SecurityGroup, "SecurityGroupUpdated"),
            (Kind::SecurityGroupRule, "SecurityGroupRuleUpdated"),
            (Kind::Router, "RouterUpdated"),
            (Kind::FloatingIp, "FloatingIpUpdated"),
            (Kind::LoadBalancer, "LoadBalancerUpdated"),
            (Kind::Webhook, "WebhookUpdated"),
        ] {
            for change in [json!({"labels": {"tier": "front"}}), json!({"description": "the front"})] {
                let row = row("update", kind, event_type, json!({ "change": change }));
                assert!(!is_wish(&row).unwrap(), "{event_type} {change}");
            }
        }
    }

    #[test]
    fn what_changes_more_than_that_is_one() {
        for (kind, event_type, more) in [
            (Kind::Vm, "VmUpdated", json!({"run_strategy": "always"})),
            (Kind::Vm, "VmUpdated", json!({"node_selector": {}})),
            (Kind::Image, "ImageUpdated", json!({"min_disk_gib": 2})),
            (Kind::Network, "NetworkUpdated", json!({"mtu": 1400})),
            (Kind::Webhook, "WebhookUpdated", json!({"paused": true})),
            (Kind::Vm, "VmDeleteRequested", json!({})),
            (Kind::Node, "NodeCordoned", json!({})),
        ] {
            let mut data = more.clone();
            if event_type.ends_with("Updated") {
                data["change"] = json!({"labels": {"tier": "front"}});
            }
            assert!(is_wish(&row("update", kind, event_type, data)).unwrap(), "{event_type} {more}");
        }
    }

    #[test]
    fn what_a_worker_did_or_saw_is_none() {
        let mut caused = row("stop-vm", Kind::Vm, "VmDeleteRequested", json!({}));
        caused.causation_id = Some(Uuid::nil());
        assert!(!is_wish(&caused).unwrap());
        assert!(!is_wish(&row("report-vm-started", Kind::Vm, "VmPaused", json!({}))).unwrap());
    }
}
