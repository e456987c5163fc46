//! Which message of the stream holds a commit.
//!
//! The stream counts messages and the log counts commits; where messages hold several, the two part ways. Nothing of
//! this is stored: a message's first commit tells its own place, so any place can be searched for, and what was seen is
//! remembered here as long as the connection lives (behind a new one there may be another stream).

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// So many places are remembered (some 64 KiB); of more, each second one is forgotten.
const REMEMBERED_MAX: usize = 2048;

/// A message and the first commit in it. It may be the place of a message that isn't there yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Sequence of the commit.
    pub(super) commit: u64,
    /// Sequence of the message, in the stream.
    pub(super) message: u64,
}

impl Place {
    /// Where a log begins: the first commit has a message of its number.
    pub(super) const fn first(number: u64) -> Self {
        Self { commit: number, message: number }
    }
}

/// The places seen on this connection.
#[derive(Default)]
pub(super) struct Places {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    generation: u64,
    /// The stream's first message by its settings; `None` until that was asked.
    begins: Option<u64>,
    /// By commit; messages ascend with it.
    messages: BTreeMap<u64, u64>,
}

impl Places {
    /// Remembers a place seen on the connection of this generation.
    pub(super) fn note(&self, generation: u64, place: Place) {
        let mut known = self.known(generation);
        if known.generation != generation {
            return;
        }
        known.messages.insert(place.commit, place.message);
        if known.messages.len() > REMEMBERED_MAX {
            let mut keep = false;
            // The last one stays: most questions are about the end.
            let last = known.messages.last_key_value().map(|(commit, _)| *commit);
            known.messages.retain(|commit, _| {
                keep = !keep;
                keep || Some(*commit) == last
            });
        }
    }

    /// Remembers where the stream behind this connection begins.
    pub(super) fn begin(&self, generation: u64, first: u64) {
        let mut known = self.known(generation);
        if known.generation == generation {
            known.begins = Some(first);
        }
    }

    /// Where the stream behind this connection begins, if that is known.
    pub(super) fn begins(&self, generation: u64) -> Option<u64> {
        let known = self.known(generation);
        known.begins.filter(|_| known.generation == generation)
    }

    /// The nearest known places at or before a commit, and after it.
    pub(super) fn around(&self, generation: u64, commit: u64) -> (Place, Option<Place>) {
        let known = self.known(generation);
        let place = |(commit, message): (&u64, &u64)| Place { commit: *commit, message: *message };
        let before = known.messages.range(..=commit).next_back().map(place);
        let after = known.messages.range(commit + 1..).next().map(place);
        (before.unwrap_or(Place::first(known.begins.unwrap_or(1))), after)
    }

    /// The first commit of a message, if that is known.
    pub(super) fn first_of(&self, generation: u64, message: u64) -> Option<u64> {
        let known = self.known(generation);
        let mut from_the_end = known.messages.iter().rev().skip_while(|(_, at)| **at > message);
        from_the_end.next().filter(|(_, at)| **at == message).map(|(commit, _)| *commit)
    }

    fn known(&self, generation: u64) -> MutexGuard<'_, Known> {
        // Nothing panics while it holds the lock.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.generation < generation {
            *known = Known { generation, ..Known::default() };
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_found_again_until_there_is_a_new_connection() {
        let places = Places::default();
        assert_eq!(places.around(1, 5), (Place::first(1), None));
        places.note(1, Place { commit: 4, message: 2 });
        places.note(1, Place { commit: 9, message: 3 });
        let (four, nine) = (Place { commit: 4, message: 2 }, Place { commit: 9, message: 3 });
        assert_eq!(places.around(1, 4), (four, Some(nine)));
        assert_eq!(places.around(1, 8), (four, Some(nine)));
        assert_eq!(places.around(1, 900), (nine, None));
        assert_eq!((places.first_of(1, 3), places.first_of(1, 1), places.first_of(1, 4)), (Some(9), None, None));
        assert_eq!(places.around(2, 8), (Place::first(1), None), "another stream may be behind another connection");
        places.note(1, nine);
        assert_eq!(places.around(2, 9), (Place::first(1), None), "late news of the old connection");
    }

    #[test]
    fn the_places_remembered_are_bounded_and_the_last_is_among_them() {
        let places = Places::default();
        for number in 1..=10_000 {
            places.note(1, Place { commit: 3 * number, message: number });
            assert_eq!(places.first_of(1, number), Some(3 * number));
        }
        assert!(places.known(1).messages.len() <= REMEMBERED_MAX);
        let (before, after) = places.around(1, 15_000);
        assert!(before.commit <= 15_000 && after.is_some_and(|after| after.commit > 15_000), "{before:?} {after:?}");
    }
}
