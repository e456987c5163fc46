//! When to try again.

use chrono::TimeDelta;
use edgestack_planted::{self as planted, Bug};

/// The longest pause.
pub const LONGEST: TimeDelta = TimeDelta::minutes(5);

/// The pause before attempt `attempt + 1` when `attempt` (1 for the first) has
/// failed: one second doubled each time, at most five minutes. No jitter: the
/// model has no randomness, and the pools queue their work anyway.
pub fn after_attempt(attempt: u32) -> TimeDelta {
    const CAP_S: i64 = LONGEST.num_seconds();
    if planted::is(Bug::BackOffWithoutEnd) {
        return TimeDelta::seconds(8_i64.saturating_pow(attempt.min(9)));
    }
    let doubled = 1_i64.checked_shl(attempt.saturating_sub(1)).filter(|s| *s > 0).unwrap_or(CAP_S);
    TimeDelta::seconds(if attempt > 9 { CAP_S } else { doubled.min(CAP_S) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_and_stops_at_five_minutes() {
        let seconds: Vec<i64> =
            [1, 2, 3, 9, 10, 40, u32::MAX].iter().map(|n| after_attempt(*n).num_seconds()).collect();
        assert_eq!(seconds, [1, 2, 4, 256, 300, 300, 300]);
    }
}
