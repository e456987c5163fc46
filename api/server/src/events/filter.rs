//! Which events a subscriber wants: the model's filter, from parameters.

use std::collections::BTreeSet;

use edgestack_model::{Kind, Sequence, webhook::EventFilter, webhook::Told};

use super::rendered::RenderedEvent;
use crate::{
    list,
    path::kind_of,
    problem::Failure,
    query::{Parameters, shortened},
};

/// Takes the parameters.
pub(crate) fn take(parameters: &mut Parameters) -> Result<EventFilter, Failure> {
    let kinds = words(parameters, "kind")?.into_iter().map(|word| {
        kind_of(&word).ok_or_else(|| {
            let kinds: Vec<_> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
            Failure::parameter("kind", format_args!("{:?} is none of {}", shortened(&word), kinds.join(", ")))
        })
    });
    Ok(EventFilter {
        kinds: kinds.collect::<Result<_, _>>()?,
        names: parameters.text("name")?.into_iter().collect(),
        labels: list::labels(parameters)?,
        types: words(parameters, "type")?,
        actors: words(parameters, "actor")?,
    })
}

/// Whether an event of a commit is wanted.
pub(crate) fn takes(filter: &EventFilter, sequence: u64, event: &RenderedEvent) -> bool {
    filter.takes(&Told {
        sequence: Sequence(sequence),
        kind: event.kind,
        resource_id: event.resource_id,
        name: &event.name,
        event_type: &event.event_type,
        actor: &event.actor,
        labels: &event.labels,
    })
}

fn words(parameters: &mut Parameters, name: &str) -> Result<BTreeSet<String>, Failure> {
    let text = parameters.text(name)?;
    Ok(text.map(|text| text.split(',').map(str::to_owned).collect()).unwrap_or_default())
}
