//! How far apart snapshots lie: closely near the end of the log, thinly further back.

use std::collections::BTreeSet;

/// Distances, in commits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spacing {
    /// Snapshots this close to the newest one are all kept.
    pub dense: u64,
    /// Of those further back, one in so many commits is kept.
    pub sparse: u64,
}

impl Default for Spacing {
    fn default() -> Self {
        Self { dense: 1_000_000, sparse: 65_536 }
    }
}

impl Spacing {
    /// The commit of the first snapshot that is missing between the log's beginning and `newest`, where one lies each
    /// `every` commits. What is somewhat further apart is no gap: the maker rests in between.
    pub fn first_missing(self, sequences: &BTreeSet<u64>, every: u64, newest: u64) -> Option<u64> {
        let dense_from = newest.saturating_sub(self.dense);
        let sparse = self.sparse.max(every);
        let mut last = 0;
        for next in sequences.range(..=newest).copied().chain([newest]) {
            if last < dense_from && next.min(dense_from) > last + 2 * sparse {
                return Some(last + sparse);
            }
            // What is asked for further back has its own distance, and would be thinned out at once.
            let reach = last.max(dense_from);
            if next > reach + 2 * every {
                return Some(reach + every);
            }
            last = next;
        }
        None
    }

    /// How far behind the one before a snapshot is worth its writing, made by who passes there.
    pub fn on_the_way(self, sequence: u64, every: u64, newest: u64) -> u64 {
        if sequence < newest.saturating_sub(self.dense) { self.sparse.max(2 * every) } else { 2 * every }
    }

    /// Those that lie too close together for where they are.
    pub fn too_dense(self, sequences: &BTreeSet<u64>) -> Vec<u64> {
        let dense_from = sequences.last().copied().unwrap_or(0).saturating_sub(self.dense);
        let mut kept = 0;
        let mut old = Vec::new();
        for sequence in sequences.range(..dense_from).copied() {
            if sequence < kept + self.sparse && kept > 0 { old.push(sequence) } else { kept = sequence }
        }
        old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPACING: Spacing = Spacing { dense: 1000, sparse: 100 };

    /// What the keeper and the folder do with each other, until nothing is missing.
    fn keep(sequences: &mut BTreeSet<u64>, every: u64, newest: u64) -> usize {
        let thin_out = |sequences: &mut BTreeSet<u64>| {
            for old in SPACING.too_dense(sequences) {
                sequences.remove(&old);
            }
        };
        sequences.insert(newest);
        thin_out(sequences);
        let mut written = 1;
        while let Some(missing) = SPACING.first_missing(sequences, every, newest) {
            assert!(missing <= newest, "{missing} is beyond {newest}");
            assert!(sequences.insert(missing), "{missing} was asked for again: {sequences:?}");
            thin_out(sequences);
            assert!(sequences.contains(&missing), "{missing} was written and is thinned out at once");
            written += 1;
            assert!(written < 10_000, "it never ends");
        }
        written
    }

    fn holes(sequences: &BTreeSet<u64>) -> u64 {
        let all = std::iter::once(0).chain(sequences.iter().copied()).collect::<Vec<_>>();
        all.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
    }

    #[test]
    fn a_log_longer_than_the_dense_part_is_filled_and_then_left_alone() {
        for newest in [999, 1000, 1001, 1010, 1150, 1999, 5000, 12_345] {
            let mut sequences = BTreeSet::new();
            keep(&mut sequences, 10, newest);
            assert!(holes(&sequences) <= 2 * 100 + 2 * 10, "{newest}: {sequences:?}");
            let near: BTreeSet<_> = sequences.range(newest.saturating_sub(1000)..).copied().collect();
            let first = near.first().copied().unwrap_or(0);
            assert!(first <= newest.saturating_sub(1000) + 20, "{newest}: {near:?}");
            assert!(near.iter().zip(near.iter().skip(1)).all(|(one, next)| next - one <= 20), "{newest}: {near:?}");
        }
    }

    #[test]
    fn a_growing_log_costs_one_snapshot_a_step() {
        let mut sequences = BTreeSet::new();
        let mut written = 0;
        for newest in (10..10_000).step_by(10) {
            written += keep(&mut sequences, 10, newest);
        }
        assert_eq!(written, 999, "{sequences:?}");
        assert!(sequences.len() < 250, "{}", sequences.len());
    }

    #[test]
    fn what_is_lost_is_filled_again_wherever_it_lay() {
        let mut whole = BTreeSet::new();
        keep(&mut whole, 10, 5000);
        for lost in [0..5000, 100..400, 3900..4100, 4500..4600, 4980..5000] {
            let mut sequences: BTreeSet<u64> = whole.iter().copied().filter(|one| !lost.contains(one)).collect();
            keep(&mut sequences, 10, 5000);
            assert!(holes(&sequences) <= 2 * 100 + 2 * 10, "{lost:?}: {sequences:?}");
        }
    }

    #[test]
    fn a_world_so_large_that_snapshots_lie_wide_apart_is_no_endless_work_either() {
        let mut sequences = BTreeSet::new();
        keep(&mut sequences, 400, 10_000);
        assert!(holes(&sequences) <= 4 * 400, "{sequences:?}");
    }
}
