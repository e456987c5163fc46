//! Which events someone wants: a subscriber of the feed, or a webhook.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Kind, Labels, Refusal, Sequence};

/// The most words of each part of a filter.
const WORDS_MAX: usize = 64;
/// The longest word, characters.
const WORD_LENGTH_MAX: usize = 128;

/// All that is given must hold; of each several words are alternatives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventFilter {
    /// Of these kinds.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub kinds: BTreeSet<Kind>,
    /// Of objects of these names or ids.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub names: BTreeSet<String>,
    /// Of objects that have all these labels then.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// Of these types, `VmStarted`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub types: BTreeSet<String>,
    /// Done by these.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub actors: BTreeSet<String>,
}

/// What filters look at in an event.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// Its commit.
    pub sequence: Sequence,
    /// Of which kind its object is.
    pub kind: Kind,
    /// Its object.
    pub resource_id: Uuid,
    /// Its object's name then.
    pub name: &'a str,
    /// Its type.
    pub event_type: &'a str,
    /// Who did it.
    pub actor: &'a str,
    /// Its object's labels: after the commit or, when it is gone, before it.
    pub labels: &'a Labels,
}

impl EventFilter {
    /// Whether an event is wanted.
    pub fn takes(&self, event: &Told<'_>) -> bool {
        let one_of = |words: &BTreeSet<String>, word: &str| words.is_empty() || words.contains(word);
        (self.kinds.is_empty() || self.kinds.contains(&event.kind))
            && (one_of(&self.names, event.name) || self.names.contains(&event.resource_id.to_string()))
            && event.labels.matches(&self.labels)
            && one_of(&self.types, event.event_type)
            && one_of(&self.actors, event.actor)
    }

    /// Checks the bounds, so that a commit has one.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] naming the first field that breaks a rule.
    pub fn check(&self) -> Result<(), Refusal> {
        for (field, words) in
            [("filter.names", &self.names), ("filter.types", &self.types), ("filter.actors", &self.actors)]
        {
            let wrong = |reason: String| Err(Refusal::Invalid { field: field.into(), reason });
            if words.len() > WORDS_MAX {
                return wrong(format!("at most {WORDS_MAX} words, got {}", words.len()));
            }
            let good = |word: &&String| {
                let length = word.chars().count();
                (1..=WORD_LENGTH_MAX).contains(&length) && !word.contains(char::is_control)
            };
            if !words.iter().all(|word| good(&word)) {
                return wrong(format!(
                    "each word must have 1 to {WORD_LENGTH_MAX} characters, and no control character"
                ));
            }
        }
        Ok(())
    }
}
