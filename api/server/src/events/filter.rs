//! Which events a subscriber wants.

use std::collections::BTreeSet;

use edgestack_model::{Kind, Labels};

use super::rendered::RenderedEvent;
use crate::{
    list,
    path::kind_of,
    problem::Failure,
    query::{Parameters, shortened},
};

/// All that is given must hold; of each several words are alternatives.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    kinds: Vec<Kind>,
    name: Option<String>,
    labels: Labels,
    types: BTreeSet<String>,
    actors: BTreeSet<String>,
}

impl Filter {
    /// Takes the parameters.
    pub fn take(parameters: &mut Parameters) -> Result<Self, Failure> {
        let kinds = words(parameters, "kind")?.into_iter().map(|word| {
            kind_of(&word).ok_or_else(|| {
                let kinds: Vec<_> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
                Failure::parameter("kind", format_args!("{:?} is none of {}", shortened(&word), kinds.join(", ")))
            })
        });
        Ok(Self {
            kinds: kinds.collect::<Result<_, _>>()?,
            name: parameters.text("name")?,
            labels: list::labels(parameters)?,
            types: words(parameters, "type")?,
            actors: words(parameters, "actor")?,
        })
    }

    /// Whether it asks for labels.
    pub fn needs_labels(&self) -> bool {
        !self.labels.is_empty()
    }

    /// Whether an event is wanted.
    pub fn takes(&self, event: &RenderedEvent) -> bool {
        let one_of = |words: &BTreeSet<String>, word: &str| words.is_empty() || words.contains(word);
        (self.kinds.is_empty() || self.kinds.contains(&event.kind))
            && self.name.as_ref().is_none_or(|name| *name == event.name || *name == event.resource_id.to_string())
            && event.labels.matches(&self.labels)
            && one_of(&self.types, &event.event_type)
            && one_of(&self.actors, &event.actor)
    }
}

fn words(parameters: &mut Parameters, name: &str) -> Result<BTreeSet<String>, Failure> {
    let text = parameters.text(name)?;
    Ok(text.map(|text| text.split(',').map(str::to_owned).collect()).unwrap_or_default())
}
