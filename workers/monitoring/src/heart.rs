//! "I am here, and this is what I have."

use std::{sync::Arc, time::Duration};

use edgestack_engine::{BEAT_EVERY, Clock, Replica};
use edgestack_model::{
    Command, Kind, Name, World,
    node::{NodeCommand, NodeFacts, NodeReport},
};
use edgestack_pool::{Reported, Reporter};

use crate::{drift::asked::Asked, driver::NodeDriver};

/// How many beats pass between two looks at what the node has.
const LOOK_EVERY_BEATS: u32 = 15;

/// What a node's heart is made of.
pub struct Heart {
    /// The node's name.
    pub node: Name,
    /// The folded world.
    pub replica: Arc<Replica>,
    /// Where reports go.
    pub reporter: Reporter,
    /// What looks at the node.
    pub driver: Arc<dyn NodeDriver>,
    /// Time and ids.
    pub clock: Arc<dyn Clock>,
    /// Where signs of life go.
    pub beat: Box<dyn Fn() + Send + Sync>,
}

/// Beats for ever, and reports what the node has when that differs from the log.
pub async fn run_heart(heart: Heart) {
    let mut interval = tokio::time::interval(BEAT_EVERY);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut facts: Option<NodeFacts> = None;
    let (mut beats, mut are_to_come) = (0_u32, false);
    let mut asked = Asked::new(&heart.replica, &heart.node);
    loop {
        let by_a_person = tokio::select! {
            biased;
            _ = interval.tick() => false,
            () = asked.for_a_look() => true,
        };
        (heart.beat)();
        if by_a_person || are_to_come || facts.is_none() || beats.is_multiple_of(LOOK_EVERY_BEATS) {
            facts = look(&heart).await.or(facts);
            are_to_come = heart.driver.are_to_come();
        }
        beats = beats.wrapping_add(1);
        let Some(facts) = &facts else { continue };
        if is_known(&heart.replica.world(), &heart.node, facts) {
            continue;
        }
        let report = NodeReport::Inventory { name: heart.node.clone(), facts: Box::new(facts.clone()) };
        let command = Command::Node(NodeCommand::Report(report));
        match heart.reporter.report_unasked(heart.clock.new_id(), command).await {
            Reported::Taken => {}
            Reported::Stale | Reported::NotNow => interval.reset_after(Duration::from_millis(500)),
        }
    }
}

async fn look(heart: &Heart) -> Option<NodeFacts> {
    match heart.driver.facts().await {
        Ok(facts) => Some(facts),
        Err(error) => {
            tracing::error!(name = %heart.node, %error, "cannot tell what this node has; it takes no VMs until that is known");
            None
        }
    }
}

/// Whether the log knows the node as ready and with these facts.
fn is_known(world: &World, name: &Name, facts: &NodeFacts) -> bool {
    world
        .id_of(Kind::Node, name)
        .and_then(|id| world.nodes.get(&edgestack_model::Id::new(id)))
        .is_some_and(|node| node.readiness.ready && node.facts == *facts)
}
