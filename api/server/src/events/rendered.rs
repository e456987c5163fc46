//! A commit as subscribers get it: made once, and sent to all of them.

use bytes::Bytes;
use edgestack_model::{Commit, Kind, Labels, World};
use edgestack_wire::cloud_event::CloudEvent;
use uuid::Uuid;

use crate::{schemas, state::SiteInfo};

/// A commit's events.
#[derive(Debug)]
pub(crate) struct Rendered {
    pub sequence: u64,
    pub events: Vec<RenderedEvent>,
}

/// An event as text, and what filters look at.
#[derive(Debug)]
pub(crate) struct RenderedEvent {
    pub index: u32,
    pub kind: Kind,
    pub resource_id: Uuid,
    pub name: String,
    pub event_type: String,
    pub actor: String,
    /// Of its object: after the commit or, when it is gone, before it.
    pub labels: Labels,
    /// The server-sent event.
    pub text: Bytes,
}

impl Rendered {
    /// `labels` tells those of an object.
    pub fn of(
        commit: &Commit,
        site: &SiteInfo,
        labels: impl Fn(Kind, Uuid) -> Labels,
    ) -> Result<Self, serde_json::Error> {
        let events = (0_u32..).zip(&commit.events).map(|(index, event)| {
            let mut cloud = CloudEvent::of(commit, index, event, &site.name)?;
            cloud.dataschema = Some(schemas::url(site, &cloud.data.event_type, cloud.data.version));
            // JSON has no line break of its own, so it is one line of a server-sent event.
            let text = format!("id: {}\ndata: {}\n\n", cloud.id, serde_json::to_string(&cloud)?);
            Ok::<_, serde_json::Error>(RenderedEvent {
                index,
                kind: event.fact.kind(),
                resource_id: event.resource_id,
                name: event.name.to_string(),
                event_type: cloud.data.event_type,
                actor: cloud.data.actor.name,
                labels: labels(event.fact.kind(), event.resource_id),
                text: text.into(),
            })
        });
        Ok(Self { sequence: commit.sequence.0, events: events.collect::<Result<_, _>>()? })
    }
}

/// The labels of an object around a commit that is folded into `world` between the two looks.
pub(crate) fn labels_in(world: &World, kind: Kind, id: Uuid) -> Option<Labels> {
    world.meta(kind, id).map(|meta| meta.labels.clone())
}
