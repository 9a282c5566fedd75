//! When the answers are due.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// How long after the end what is late is still sent.
const GRACE: Duration = Duration::from_secs(5);

/// When the answers are due.
pub(super) struct Schedule {
    began: Instant,
    rate: f64,
    count: u64,
    /// Which is next.
    next: AtomicU64,
    /// When nothing is sent any more, however much is due.
    end: Instant,
}

impl Schedule {
    /// From now on, so many a second, for so long.
    pub(super) fn new(rate: f64, duration: Duration) -> Self {
        let began = Instant::now();
        let mut schedule = Self { began, rate, count: 0, next: 0.into(), end: began + duration + GRACE };
        // The first is due at once, and the last before the end.
        let within = |count: u64| schedule.offset(count) < duration;
        let (mut low, mut high) = (0, u64::from(u32::MAX) * 4);
        while low < high {
            let middle = low.midpoint(high);
            if within(middle) { low = middle + 1 } else { high = middle }
        }
        schedule.count = low;
        schedule
    }

    /// The number of the answer that is due next, and when it is; nothing when none is left.
    pub(super) fn next(&self) -> Option<(u64, Instant)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number < self.count).then(|| (number, self.due(number)))
    }

    /// Whether nothing is sent any more.
    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    /// When the answer of this number is due.
    fn due(&self, number: u64) -> Instant {
        self.began + self.offset(number)
    }

    /// How long after the beginning that is.
    fn offset(&self, number: u64) -> Duration {
        Duration::try_from_secs_f64(as_float(number) / self.rate).unwrap_or(Duration::MAX / 4)
    }

    /// How many are due in all.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// How long it has gone on.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

/// A count as a float; exact up to two to the 52nd.
pub(super) fn as_float(count: u64) -> f64 {
    let (high, low) = (count >> 32, count & u64::from(u32::MAX));
    let part = |part: u64| u32::try_from(part).map_or(f64::INFINITY, f64::from);
    part(high) * 4_294_967_296.0 + part(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_due_as_the_rate_says() {
        for (rate, seconds, count) in
            [(1.0, 10.0, 10), (0.5, 10.0, 5), (20.0, 2.0, 40), (3.0, 0.1, 1), (100_000.0, 1.0, 100_000)]
        {
            let schedule = Schedule::new(rate, Duration::from_secs_f64(seconds));
            assert_eq!(schedule.count(), count, "{rate} for {seconds} s");
            assert_eq!(schedule.due(0), schedule.began);
        }
    }

    #[test]
    fn a_count_is_the_same_as_a_float() {
        for (count, float) in [
            (0, 0.0),
            (1, 1.0),
            (4_294_967_296, 4_294_967_296.0),
            (9_007_199_254_740_991, 9_007_199_254_740_991.0),
        ] {
            assert!((as_float(count) - float).abs() < 0.5, "{count}");
        }
    }
}
