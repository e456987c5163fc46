//! Law 9: no false orphan ever becomes an event, and what is found and gone is told once each.

use std::collections::BTreeSet;

use edgestack_model::{
    event::{Fact, ImageEvent, NodeEvent},
    orphan::ArtifactKind,
};
use uuid::Uuid;

use super::Evidence;
use crate::outside::Outside;

/// Over the whole log.
///
/// # Errors
/// What is wrong, for people.
pub fn check(outside: &Outside, evidence: &Evidence) -> Result<(), String> {
    let planted = outside.planted.lock().unwrap();
    let mut images_gone: BTreeSet<Uuid> = BTreeSet::new();
    for commit in &evidence.commits {
        for event in &commit.events {
            match &event.fact {
                Fact::Image(ImageEvent::ImageDeleted {}) => drop(images_gone.insert(event.resource_id)),
                Fact::Node(NodeEvent::NodeOrphanFound { orphan, .. }) => {
                    // An image is on each of the three nodes, and gone from the log when the first has removed it; on
                    // the others it lies on, which a site of one node doesn't know.
                    let left = orphan.kind == ArtifactKind::Image && images_gone.contains(&orphan.id);
                    if !planted.contains(&orphan.id) && !left {
                        return Err(format!("commit {}: {orphan:?} is no orphan", commit.sequence));
                    }
                }
                Fact::Vm(_)
                | Fact::Image(_)
                | Fact::Flavor(_)
                | Fact::Keypair(_)
                | Fact::Node(_)
                | Fact::Volume(_)
                | Fact::Network(_)
                | Fact::SecurityGroup(_)
                | Fact::SecurityGroupRule(_)
                | Fact::Router(_)
                | Fact::FloatingIp(_)
                | Fact::LoadBalancer(_)
                | Fact::Webhook(_)
                | Fact::Lease(_) => {}
            }
        }
    }
    Ok(())
}
