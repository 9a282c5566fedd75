//! How long to wait before the next attempt.

use std::time::Duration;

use uuid::Uuid;

use crate::limits::LONGEST_BACKOFF;

/// Twice as long after each failure, up to a longest; of each between half and the whole, at random,
/// so that what failed together does not come back together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    pub(crate) first: Duration,
    pub(crate) longest: Duration,
}

impl Backoff {
    /// How long to wait after so many failures; not less than the receiver asked for, and not
    /// longer than [`LONGEST_BACKOFF`] whoever asks for it.
    pub(crate) fn after(self, failures: u32, asked: Option<Duration>) -> Duration {
        let doubled = self.first.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
        let whole = doubled.min(self.longest).min(LONGEST_BACKOFF);
        whole.mul_f64(0.5 + at_random() / 2.0).max(asked.unwrap_or_default()).min(LONGEST_BACKOFF)
    }
}

/// A time that comes again and again, a little shorter at random, so that many who wait do not all
/// come at once.
pub(crate) fn jittered(time: Duration) -> Duration {
    time.mul_f64(0.8 + at_random() / 5.0)
}

/// From 0 to 1.
fn at_random() -> f64 {
    let (random, _) = Uuid::new_v4().as_u64_pair();
    // Its first 32 bits are random.
    let first = u32::try_from(random >> 32).unwrap_or_default();
    f64::from(first) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_wait_is_so_long_that_a_time_overflows() {
        let endless = Backoff { first: Duration::MAX, longest: Duration::MAX };
        for asked in [None, Some(Duration::MAX)] {
            assert!(endless.after(7, asked) <= LONGEST_BACKOFF, "{asked:?}");
        }
    }

    #[test]
    fn it_doubles_up_to_the_longest_and_is_not_shorter_than_asked() {
        let backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_mins(1) };
        for (failures, asked, least, most) in [
            (0, None, 500, 1000),
            (1, None, 500, 1000),
            (2, None, 1000, 2000),
            (5, None, 8000, 16_000),
            (7, None, 30_000, 60_000),
            (u32::MAX, None, 30_000, 60_000),
            (1, Some(90), 90_000, 90_000),
            (7, Some(1), 30_000, 60_000),
            (1, Some(u64::MAX), 21_600_000, 21_600_000),
        ] {
            let wait = backoff.after(failures, asked.map(Duration::from_secs)).as_millis();
            assert!((least..=most).contains(&wait), "{failures} {asked:?}: {wait} ms");
        }
    }
}
