//! When an event that could not be delivered is tried again.

use std::time::Duration;

use twox_hash::XxHash3_64;
use uuid::Uuid;

/// Pauses after the first, second … failed attempt; after those the last one again and again. As in the example of
/// Standard Webhooks 1.0.0 ("Deliverability and reliability") over some days, with more steps in the first hour: what
/// waits here is a whole object's history, and a receiver that was restarted is back within a minute.
const PAUSES_S: [u64; 9] = [5, 30, 120, 300, 900, 1800, 3600, 7200, 14400];

/// How deliveries are repeated.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// What one second of the pauses lasts; tests make it short.
    pub second: Duration,
    /// How long an event is tried before the webhook is disabled.
    pub give_up_after: Duration,
    /// How long a target may take for one answer, connecting included.
    pub answer_within: Duration,
}

impl Default for Patience {
    /// Three days, and 15 s for an answer: Standard Webhooks asks for several days and 15 to 30 s.
    fn default() -> Self {
        Self {
            second: Duration::from_secs(1),
            give_up_after: Duration::from_secs(3 * 24 * 3600),
            answer_within: Duration::from_secs(15),
        }
    }
}

impl Patience {
    /// The pause after `attempts` (1 after the first) failed attempts, up to a fifth longer or shorter. How much follows
    /// from webhook and attempt, so that webhooks that failed together don't come back together.
    pub fn pause(&self, webhook: Uuid, attempts: u32) -> Duration {
        let step = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX).min(PAUSES_S.len() - 1);
        let seconds = PAUSES_S[step];
        let chance = XxHash3_64::oneshot_with_seed(u64::from(attempts), webhook.as_bytes()) % 401;
        // 800 to 1200 thousandths.
        let thousandths = u32::try_from(800 + chance).unwrap_or(1000);
        self.second.saturating_mul(u32::try_from(seconds).unwrap_or(u32::MAX)).saturating_mul(thousandths) / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_four_hours_and_differ_by_webhook() {
        let patience = Patience::default();
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        for (attempts, seconds) in [(1, 5.0), (2, 30.0), (3, 120.0), (9, 14400.0), (10, 14400.0), (u32::MAX, 14400.0)] {
            let pause = patience.pause(one, attempts).as_secs_f64();
            assert!((seconds * 0.8..=seconds * 1.2).contains(&pause), "{attempts}: {pause}");
            assert_eq!(patience.pause(one, attempts), patience.pause(one, attempts));
        }
        assert!((1..20).any(|attempts| patience.pause(one, attempts) != patience.pause(other, attempts)));
    }
}
