//! A commit as subscribers get it: made once, and sent to all of them.

use bytes::Bytes;
use edgestack_model::{Commit, Event, Kind, Labels, World};
use edgestack_wire::{cloud_event::CloudEvent, event::HistoryEvent};
use uuid::Uuid;

use crate::{history, schemas, state::SiteInfo};

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
    ) -> Result<Self, edgestack_views::ViewError> {
        let events = (0_u32..).zip(&commit.events).map(|(index, event)| {
            let row = edgestack_views::HistoryRow::of(commit, index)?;
            let told = history::shown(row).1;
            render(commit, site, index, event, told, labels(event.fact.kind(), event.resource_id))
        });
        Ok(Self { sequence: commit.sequence.0, events: events.collect::<Result<_, _>>()? })
    }
}

fn render(
    commit: &Commit,
    site: &SiteInfo,
    index: u32,
    event: &Event,
    told: HistoryEvent,
    labels: Labels,
) -> Result<RenderedEvent, edgestack_views::ViewError> {
    let id = format!("{}.{index}", commit.sequence);
    let (kind, event_type, version) = (event.fact.kind(), told.event_type.clone(), told.version);
    let cloud = CloudEvent {
        specversion: "1.0".to_owned(),
        id: id.clone(),
        source: format!("/edgetron/sites/{}", site.name),
        event_type: format!("edgestack.{event_type}.v{version}"),
        subject: format!("{kind}/{}", event.name),
        time: commit.time,
        datacontenttype: "application/json".to_owned(),
        dataschema: schemas::url(site, &event_type, version),
        sequence: commit.sequence.to_string(),
        correlationid: commit.correlation_id,
        traceparent: commit.traceparent.clone(),
        data: told,
    };
    // JSON has no line break of its own, so it is one line of a server-sent event.
    let text = format!("id: {id}\ndata: {}\n\n", serde_json::to_string(&cloud)?);
    Ok(RenderedEvent {
        index,
        kind,
        resource_id: event.resource_id,
        name: event.name.to_string(),
        event_type,
        actor: commit.actor.name.clone(),
        labels,
        text: text.into(),
    })
}

/// The labels of an object around a commit that is folded into `world` between the two looks.
pub(crate) fn labels_in(world: &World, kind: Kind, id: Uuid) -> Option<Labels> {
    world.meta(kind, id).map(|meta| meta.labels.clone())
}
