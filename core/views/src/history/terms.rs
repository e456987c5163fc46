//! By what events are found.

use edgestack_engine::Applied;
use edgestack_model::{Commit, Event, Kind, Labels, world::Resource};
use twox_hash::XxHash3_64;
use uuid::Uuid;

/// One thing to find events by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Term {
    /// The story of an object: its own events, and of a VM those of its disks.
    Story(Uuid),
    /// Of this kind.
    Kind(Kind),
    /// Of an object of this name.
    Name(String),
    /// Of this type, `VmStarted`.
    EventType(String),
    /// Done by this actor.
    Actor(String),
    /// By this command, `create-vm`.
    Command(String),
    /// Of the wish with this correlation id.
    Correlation(Uuid),
    /// Of an object that had this label: after the commit or, when it is gone, before it.
    Label(String, String),
    /// With this word in message or reason, in lower case.
    Word(String),
}

impl Term {
    /// XXH3 (<https://xxhash.com>) of a letter and the text: stable for ever, as it is stored.
    pub(super) fn hash(&self) -> u64 {
        match self {
            Self::Story(id) => hash(b's', id.as_bytes()),
            Self::Kind(kind) => hash(b'k', kind.as_str().as_bytes()),
            Self::Name(name) => hash(b'n', name.as_bytes()),
            Self::EventType(name) => hash(b't', name.as_bytes()),
            Self::Actor(name) => hash(b'a', name.as_bytes()),
            Self::Command(name) => hash(b'm', name.as_bytes()),
            Self::Correlation(id) => hash(b'r', id.as_bytes()),
            Self::Label(key, value) => label(key, value),
            Self::Word(word) => hash(b'w', word.as_bytes()),
        }
    }

    /// Whether an event is meant, and not another one with the same hash; of what a commit doesn't say, the hash decides.
    pub(super) fn fits(&self, commit: &Commit, event: &Event) -> bool {
        match self {
            Self::Story(_) | Self::Label(..) => true,
            Self::Kind(kind) => event.fact.kind() == *kind,
            Self::Name(name) => event.name.as_str() == name,
            Self::EventType(name) => event.fact.event_type() == name,
            Self::Actor(name) => commit.actor.name == *name,
            Self::Command(name) => commit.command == *name,
            Self::Correlation(id) => commit.correlation_id == *id,
            Self::Word(word) => {
                let mut found = false;
                let mut look = |text: &str| words(text, |one| found |= one == word);
                look(&event.describe());
                look(commit.reason.as_deref().unwrap_or_default());
                found
            }
        }
    }
}

/// The terms of each event of a commit, with the event's index; event by event.
pub(super) fn each_of(applied: &Applied, mut take: impl FnMut(u64, u32)) {
    let commit = &applied.commit;
    let mut shared = vec![
        hash(b'a', commit.actor.name.as_bytes()),
        hash(b'm', commit.command.as_bytes()),
        hash(b'r', commit.correlation_id.as_bytes()),
    ];
    words(commit.reason.as_deref().unwrap_or_default(), |word| shared.push(hash(b'w', word.as_bytes())));
    for (index, event) in (0_u32..).zip(&commit.events) {
        let kind = event.fact.kind();
        let resource = around(applied, kind, event.resource_id);
        for &term in &shared {
            take(term, index);
        }
        take(hash(b's', event.resource_id.as_bytes()), index);
        if let Some(Resource::Volume(volume)) = resource {
            take(hash(b's', volume.spec.vm.uuid().as_bytes()), index);
        }
        take(hash(b'k', kind.as_str().as_bytes()), index);
        take(hash(b'n', event.name.as_str().as_bytes()), index);
        take(hash(b't', event.fact.event_type().as_bytes()), index);
        if let Some(resource) = resource {
            labels(&resource.meta().labels, |term| take(term, index));
        }
        words(&event.describe(), |word| take(hash(b'w', word.as_bytes()), index));
    }
}

/// A resource after a commit or, when it is gone, before it.
fn around(applied: &Applied, kind: Kind, id: Uuid) -> Option<&Resource> {
    let change = applied.changes.iter().find(|change| (change.kind, change.id) == (kind, id))?;
    change.after.as_ref().or(change.before.as_ref())
}

fn labels(labels: &Labels, mut take: impl FnMut(u64)) {
    for (key, value) in labels.iter() {
        take(label(key, value));
    }
}

fn label(key: &str, value: &str) -> u64 {
    // A label's key has no "=".
    hash(b'l', format!("{key}={value}").as_bytes())
}

/// The words of a text in lower case: runs of letters and digits; and of runs that are joined by `-`, `.`, `_`, `:` or `/`
/// the whole as well, so that `pg-1` is found as such.
pub(crate) fn words(text: &str, mut take: impl FnMut(&str)) {
    let text = text.to_lowercase();
    let joins = |letter: char| matches!(letter, '-' | '.' | '_' | ':' | '/');
    for run in text.split(|letter: char| !letter.is_alphanumeric() && !joins(letter)) {
        let run = run.trim_matches(joins);
        if run.is_empty() {
            continue;
        }
        take(run);
        if run.contains(joins) {
            run.split(joins).filter(|part| !part.is_empty()).for_each(&mut take);
        }
    }
}

fn hash(field: u8, text: &[u8]) -> u64 {
    // The hash has no way to be fed piece by piece without allocating; a term is short.
    let mut bytes = [0_u8; 96];
    match bytes.get_mut(..=text.len()) {
        Some(short) => {
            short[0] = field;
            short[1..].copy_from_slice(text);
            XxHash3_64::oneshot(short)
        }
        None => XxHash3_64::oneshot(&[&[field], text].concat()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<String> {
        let mut all = Vec::new();
        words(text, |word| all.push(word.to_owned()));
        all
    }

    #[test]
    fn words_are_found_alone_and_joined() {
        assert_eq!(all("Stopped pg-1: exit status 1."), ["stopped", "pg-1", "pg", "1", "exit", "status", "1"]);
        assert_eq!(all("…  -- /var/lib"), ["var/lib", "var", "lib"]);
        assert_eq!(all(""), Vec::<String>::new());
        assert_eq!(all("ÄRGER"), ["ärger"]);
    }

    #[test]
    fn hashes_stay_as_they_are_stored_and_differ_by_field() {
        assert_eq!(Term::Name("web".into()).hash(), 17_665_031_206_506_731_009);
        assert_ne!(Term::Name("web".into()).hash(), Term::Actor("web".into()).hash());
        let long = "x".repeat(500);
        assert_ne!(Term::Name(long.clone()).hash(), Term::Name(long + "y").hash());
    }
}
