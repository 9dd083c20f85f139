//! Owns the waiting between two tries for a lock that another process holds: exponential, jittered, 1 to 100 ms.

use std::time::Duration;

const FIRST_MS: u64 = 1;
const MOST_MS: u64 = 100;

/// The delays of one wait. Full jitter in the upper half of each step, so that processes that began together drift apart.
#[derive(Debug)]
pub(crate) struct Backoff {
    step_ms: u64,
    random: u64,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        let mut seed = [0_u8; 8];
        // Without randomness the delays are still right, only less apart.
        let _ = getrandom::fill(&mut seed);
        Self { step_ms: FIRST_MS, random: u64::from_le_bytes(seed) | 1 }
    }

    /// How long to wait before the next try.
    pub(crate) fn next(&mut self) -> Duration {
        // xorshift64 (Marsaglia, 2003).
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let micros = self.step_ms * 1_000;
        let delay = micros / 2 + self.random % (micros / 2 + 1);
        self.step_ms = (self.step_ms * 2).min(MOST_MS);
        Duration::from_micros(delay.max(FIRST_MS * 1_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_and_stay_between_1_and_100_ms() {
        let mut backoff = Backoff::new();
        let delays: Vec<Duration> = (0..50).map(|_| backoff.next()).collect();
        assert!(delays.iter().all(|delay| (1_000..=100_000).contains(&delay.as_micros())));
        assert!(delays.last() >= Some(&Duration::from_millis(50)));
        assert!(delays.first() <= Some(&Duration::from_millis(2)));
    }
}
