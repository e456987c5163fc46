//! Node commands to events.

use super::{LogRelease, Node, NodeCommand, NodeEvent, NodeReport};
use crate::{
    Decision, Event, Generation, Given, Kind, Refusal, World,
    command::Reference,
    decide::{check_description, check_precondition},
    event::Fact,
    orphan, repair,
};

pub(crate) fn decide(world: &World, given: &Given, command: &NodeCommand) -> Result<Decision, Refusal> {
    match command {
        NodeCommand::Update { node, change } => {
            let node = world.node(node)?;
            check_precondition(given, Kind::Node, &node.meta)?;
            change.description.as_deref().map_or(Ok(()), check_description)?;
            let change = change.clone().against(&node.meta);
            let changed = (!change.is_empty()).then(|| wish(node, NodeEvent::NodeUpdated { change }));
            Ok(Decision::of(Kind::Node, node.id.uuid(), changed.into_iter().collect()))
        }
        NodeCommand::Cordon { node } => {
            let node = world.node(node)?;
            check_precondition(given, Kind::Node, &node.meta)?;
            let changed = (!node.cordoned).then(|| wish(node, NodeEvent::NodeCordoned {}));
            Ok(Decision::of(Kind::Node, node.id.uuid(), changed.into_iter().collect()))
        }
        NodeCommand::Uncordon { node } => {
            let node = world.node(node)?;
            check_precondition(given, Kind::Node, &node.meta)?;
            let changed = node.cordoned.then(|| wish(node, NodeEvent::NodeUncordoned {}));
            Ok(Decision::of(Kind::Node, node.id.uuid(), changed.into_iter().collect()))
        }
        NodeCommand::ForceRemove { node } => repair::force_remove_node(world, given, node),
        NodeCommand::Reconcile { node } => repair::reconcile_node(world, given, node),
        NodeCommand::ReleaseLog { node, through } => release_log(world, given, node, through),
        NodeCommand::Adopt { node, id, name, flavor } => {
            let adoption = repair::Adoption { node, id: *id, name: name.as_ref(), flavor: flavor.as_ref() };
            repair::adopt(world, given, adoption)
        }
        NodeCommand::Report(NodeReport::Inventory { name, facts }) => {
            let Some(id) = world.id_of(Kind::Node, name) else {
                let fact = NodeEvent::NodeRegistered { facts: (**facts).clone() };
                let id = given.new_ids[0];
                let event = Event {
                    resource_id: id,
                    name: name.clone(),
                    generation: Generation::FIRST,
                    fact: Fact::Node(fact),
                };
                return Ok(Decision::of(Kind::Node, id, vec![event]));
            };
            let node = world.node(&id.to_string().into())?;
            let mut events = Vec::new();
            if node.facts != **facts {
                events.push(report(node, NodeEvent::NodeFactsChanged { facts: (**facts).clone() }));
            }
            if !node.readiness.ready {
                events.push(report(node, NodeEvent::NodeBecameReady {}));
            }
            Ok(Decision::of(Kind::Node, id, events))
        }
        NodeCommand::Report(NodeReport::Lost { node, reason }) => {
            let node = world.node(node)?;
            let changed =
                node.readiness.ready.then(|| report(node, NodeEvent::NodeBecameNotReady { reason: reason.clone() }));
            Ok(Decision::of(Kind::Node, node.id.uuid(), changed.into_iter().collect()))
        }
        NodeCommand::Report(NodeReport::Orphans { node, seen }) => {
            let node = world.node(node)?;
            let facts = orphan::report::seen(world, node, seen)?;
            Ok(Decision::of(Kind::Node, node.id.uuid(), facts.into_iter().map(|fact| report(node, fact)).collect()))
        }
        NodeCommand::Report(NodeReport::LeftoversRemoved { node, leftovers }) => {
            let node = world.node(node)?;
            let facts = orphan::report::removed(leftovers)?;
            Ok(Decision::of(Kind::Node, node.id.uuid(), facts.into_iter().map(|fact| report(node, fact)).collect()))
        }
    }
}

/// What leaves the live log never comes back to it, so who lets it go says why; and one commit stays, on which the next
/// one chains.
fn release_log(
    world: &World,
    given: &Given,
    node: &Reference,
    LogRelease { through, hash }: &LogRelease,
) -> Result<Decision, Refusal> {
    let of = world.node(node)?;
    repair::check_reason(given, Kind::Node, node, "let commits leave the live log of")?;
    check_precondition(given, Kind::Node, &of.meta)?;
    if *through == 0 || *through >= world.sequence.0 {
        let reason = format!("must lie between the first commit and the last, {}", world.sequence);
        return Err(Refusal::Invalid { field: "before".into(), reason });
    }
    let released = world.log_released().map_or(0, |released| released.through);
    let event =
        (*through > released).then(|| report(of, NodeEvent::NodeLogReleased { through: *through, hash: hash.clone() }));
    Ok(Decision::of(Kind::Node, of.id.uuid(), event.into_iter().collect()))
}

pub(crate) fn wish(node: &Node, fact: NodeEvent) -> Event {
    Event { generation: node.meta.generation.next(), ..report(node, fact) }
}

pub(crate) fn report(node: &Node, fact: NodeEvent) -> Event {
    Event {
        resource_id: node.id.uuid(),
        name: node.meta.name.clone(),
        generation: node.meta.generation,
        fact: Fact::Node(fact),
    }
}
