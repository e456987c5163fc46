//! Lists of places: where in the log something was said.

/// An event's place: the sequence of its commit, and which of its events it is.
pub(crate) type Place = (u64, u32);

/// Places in ascending order, each as its distance from the one before: LEB128 numbers, as in DWARF and WebAssembly.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    bytes: Vec<u8>,
    /// The sequence before that of the next.
    sequence: u64,
    last: Option<Place>,
}

impl Places {
    /// Empties it for places from the sequence `first` on.
    pub fn begin(&mut self, first: u64) {
        self.bytes.clear();
        self.sequence = first;
        self.last = None;
    }

    /// Adds one that is behind all others; the same one again is nothing new.
    pub fn push(&mut self, place: Place) {
        if self.last == Some(place) {
            return;
        }
        number(&mut self.bytes, place.0.saturating_sub(self.sequence));
        number(&mut self.bytes, place.1.into());
        self.sequence = place.0;
        self.last = Some(place);
    }

    /// Adds a list that begins at the sequence `first` and is behind all others; `None` when it is no such list.
    pub fn append(&mut self, mut list: &[u8], first: u64) -> Option<()> {
        if list.is_empty() {
            return Some(());
        }
        let mut sequence = first.checked_add(take_number(&mut list)?)?;
        number(&mut self.bytes, sequence.checked_sub(self.sequence)?);
        // But for the first distance all stays as it is.
        self.bytes.extend_from_slice(list);
        let mut event = u32::try_from(take_number(&mut list)?).ok()?;
        while !list.is_empty() {
            sequence = sequence.checked_add(take_number(&mut list)?)?;
            event = u32::try_from(take_number(&mut list)?).ok()?;
        }
        self.sequence = sequence;
        self.last = Some((sequence, event));
        Some(())
    }

    /// As they are stored.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The places in `bytes`, which begin at the sequence `first`; `None` when they are no such list.
pub(crate) fn read(mut bytes: &[u8], first: u64) -> Option<Vec<Place>> {
    let mut places = Vec::new();
    let mut sequence = first;
    while !bytes.is_empty() {
        sequence = sequence.checked_add(take_number(&mut bytes)?)?;
        places.push((sequence, u32::try_from(take_number(&mut bytes)?).ok()?));
    }
    Some(places)
}

/// Appends an unsigned LEB128 number.
pub(crate) fn number(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// Takes an unsigned LEB128 number off the front.
pub(crate) fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn places_are_read_as_they_were_pushed(first in 0_u64..1 << 50, steps in prop::collection::vec((0_u64..1 << 20, any::<u32>()), 0..50)) {
            let mut sequence = first;
            let mut pushed = Vec::new();
            let mut places = Places::default();
            places.begin(first);
            for (step, index) in steps {
                sequence += step;
                places.push((sequence, index));
                if pushed.last() != Some(&(sequence, index)) {
                    pushed.push((sequence, index));
                }
            }
            prop_assert_eq!(read(places.bytes(), first), Some(pushed));
        }

        #[test]
        fn any_bytes_are_places_or_none(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = read(&bytes, 1);
        }

        #[test]
        fn any_number_is_read_as_it_was_written(value in any::<u64>()) {
            let mut bytes = Vec::new();
            number(&mut bytes, value);
            prop_assert_eq!(take_number(&mut &bytes[..]), Some(value));
        }
    }
}
