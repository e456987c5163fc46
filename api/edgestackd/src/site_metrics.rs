//! What `/metrics` tells of the site itself, read from the folded world when asked.

use std::{collections::BTreeMap, sync::Arc};

use edgestack_engine::Replica;
use edgestack_model::{node::Capacity, orphan::ArtifactKind, placement, vm::State};
use edgestack_views::Views;
use metrics_exporter_prometheus::PrometheusHandle;

/// Gauges are floats; what is counted here stays far below 2^52.
#[allow(clippy::cast_precision_loss)]
fn float(value: u64) -> f64 {
    value as f64
}

/// Renders all metrics: those that were counted on the way, and the state of the site now.
pub fn render(handle: &PrometheusHandle, replica: &Arc<Replica>, views: &Views) -> String {
    describe_site(replica);
    let folded = replica.head().sequence;
    metrics::gauge!("edgestack_log_sequence").set(float(folded));
    if let Ok(shown) = views.written() {
        metrics::gauge!("edgestack_view_lag_commits").set(float(folded.saturating_sub(shown.0)));
    }
    metrics::gauge!("edgestack_log_damaged").set(if replica.failure().is_some() { 1.0 } else { 0.0 });
    handle.run_upkeep();
    handle.render()
}

fn describe_site(replica: &Replica) {
    let world = replica.world();
    let mut states: BTreeMap<State, u64> = State::ALL.into_iter().map(|state| (state, 0)).collect();
    for vm in world.vms.values() {
        *states.entry(vm.state_in(&world)).or_default() += 1;
    }
    for (state, count) in states {
        metrics::gauge!("edgestack_vms", "state" => state.as_str()).set(float(count));
    }
    for node in world.nodes.values() {
        let name = node.meta.name.to_string();
        let amounts = [
            ("capacity", node.facts.capacity),
            ("allocatable", node.facts.allocatable),
            ("used", placement::used(&world, node.id)),
        ];
        for (what, Capacity { vcpus, memory_mib, disk_gib }) in amounts {
            for (resource, amount) in [("vcpus", vcpus), ("memory_mib", memory_mib), ("disk_gib", disk_gib)] {
                metrics::gauge!("edgestack_node_resource", "node" => name.clone(), "what" => what, "resource" => resource)
                    .set(float(amount));
            }
        }
        let mut orphans: BTreeMap<ArtifactKind, u64> = ArtifactKind::ALL.into_iter().map(|kind| (kind, 0)).collect();
        for orphan in &node.orphans {
            *orphans.entry(orphan.artifact.kind).or_default() += 1;
        }
        let orphans = orphans.into_iter().map(|(kind, count)| (kind.as_str(), count));
        for (kind, count) in orphans.chain([("unlisted", node.orphans_unlisted)]) {
            metrics::gauge!("edgestack_orphans", "node" => name.clone(), "kind" => kind).set(float(count));
        }
        metrics::gauge!("edgestack_node_ready", "node" => name).set(if node.readiness.ready { 1.0 } else { 0.0 });
    }
}
