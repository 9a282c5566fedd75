//! How often a call may be made.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use crate::limits::{CALLS_COME_BACK_AFTER, LONGEST_COMING_BACK};

/// So many tokens, of which each call takes one; it comes back a minute after it was taken. So no
/// minute sees more calls than there are tokens, and none waits that need not.
#[derive(Debug)]
pub(super) struct Pace {
    tokens: usize,
    /// Whoever waits for a token holds this, so that all are served in the order in which they came,
    /// and one that gives up takes nothing with it.
    queue: tokio::sync::Mutex<()>,
    standing: Mutex<Standing>,
}

#[derive(Debug, Default)]
struct Standing {
    /// When those tokens come back that are taken, the first of them in front.
    back_at: VecDeque<Instant>,
    /// Until when the server wants no calls at all.
    shut_until: Option<Instant>,
    /// The last time that somebody was told to come back at.
    told_last: Option<Instant>,
}

impl Pace {
    /// So many calls in a minute, one at least.
    pub(super) fn new(a_minute: u32) -> Self {
        let tokens = usize::try_from(a_minute.max(1)).unwrap_or(usize::MAX);
        Self { tokens, queue: tokio::sync::Mutex::default(), standing: Mutex::default() }
    }

    /// Waits for a token and takes it.
    pub(super) async fn turn(&self) {
        let _queue = self.queue.lock().await;
        while let Err(until) = self.take() {
            sleep_until(until).await;
        }
    }

    /// Takes a token if there is one, or says when there may be.
    fn take(&self) -> Result<(), Instant> {
        let (mut standing, now) = (self.standing(), Instant::now());
        if let Some(until) = standing.opens_at(self.tokens, now) {
            return Err(until);
        }
        standing.back_at.push_back(now + CALLS_COME_BACK_AFTER);
        Ok(())
    }

    /// How long until a call may be made, if nobody else waited.
    #[cfg(test)]
    fn opens_in(&self) -> Duration {
        let now = Instant::now();
        self.standing().opens_at(self.tokens, now).map_or(Duration::ZERO, |until| until - now)
    }

    /// How long whoever gives up should wait before it asks again. Each is told a time of its own:
    /// were all told when the next token comes back, all would come for that one.
    pub(super) fn come_back_in(&self) -> Duration {
        let (mut standing, now) = (self.standing(), Instant::now());
        let opens_at = standing.opens_at(self.tokens, now).unwrap_or(now);
        let apart = CALLS_COME_BACK_AFTER / u32::try_from(self.tokens).unwrap_or(u32::MAX);
        let behind = standing.told_last.map_or(opens_at, |last| last + apart);
        let at = opens_at.max(behind).min(opens_at + LONGEST_COMING_BACK);
        standing.told_last = Some(at);
        at - now
    }

    /// No call is made for so long: the server said so.
    pub(super) fn shut(&self, wait: Duration) {
        let (mut standing, until) = (self.standing(), Instant::now() + wait);
        standing.shut_until = standing.shut_until.max(Some(until));
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        // Nothing panics while it is held.
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Standing {
    /// Forgets what is over, and says until when no call may be made.
    fn opens_at(&mut self, tokens: usize, now: Instant) -> Option<Instant> {
        while self.back_at.front().is_some_and(|back| *back <= now) {
            self.back_at.pop_front();
        }
        self.shut_until = self.shut_until.filter(|until| *until > now);
        let token = if self.back_at.len() < tokens { None } else { self.back_at.front().copied() };
        token.max(self.shut_until)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::timeout;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn no_minute_sees_more_than_are_allowed_and_none_waits_in_vain() {
        for (a_minute, calls) in [(0, 3), (1, 3), (2, 7), (100, 350)] {
            let (pace, start) = (Pace::new(a_minute), Instant::now());
            let mut made = Vec::new();
            for _ in 0..calls {
                pace.turn().await;
                made.push(start.elapsed());
            }
            let allowed = usize::try_from(a_minute.max(1)).unwrap();
            for (nth, at) in made.iter().enumerate() {
                let rounds = u32::try_from(nth / allowed).unwrap();
                let due = CALLS_COME_BACK_AFTER * rounds;
                let in_time = due..due + Duration::from_millis(100);
                assert!(in_time.contains(at), "{a_minute}: the call {nth} was made after {at:?}");
                let in_the_minute = made.iter().filter(|other| **other <= *at && **other + 60 * SECOND > *at);
                assert!(in_the_minute.count() <= allowed, "{a_minute}: {made:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn they_are_served_in_order_and_who_gives_up_takes_nothing() {
        let (pace, start) = (Arc::new(Pace::new(1)), Instant::now());
        pace.turn().await;
        let waits = |within| {
            let pace = Arc::clone(&pace);
            async move { timeout(within, pace.turn()).await.is_ok().then(|| start.elapsed().as_secs()) }
        };
        let (gives_up, first, second) =
            tokio::join!(waits(SECOND), waits(100 * SECOND), waits(1000 * SECOND));
        assert_eq!((gives_up, first, second), (None, Some(61), Some(122)));
    }

    #[tokio::test(start_paused = true)]
    async fn each_who_gives_up_is_told_a_time_of_its_own() {
        let pace = Pace::new(61);
        for _ in 0..61 {
            pace.turn().await;
        }
        let told: Vec<_> = (0..3).map(|_| pace.come_back_in().as_secs()).collect();
        assert_eq!(told, [61, 62, 63]);
        let last = (0..10_000).map(|_| pace.come_back_in()).last();
        assert_eq!(
            last,
            Some(CALLS_COME_BACK_AFTER + LONGEST_COMING_BACK),
            "and it is not told to wait for ever"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_wants_none_gets_none() {
        let pace = Pace::new(10);
        for (shut, expected) in [(30, 30), (10, 30), (90, 90)] {
            pace.shut(shut * SECOND);
            assert_eq!(pace.opens_in().as_secs(), expected, "{shut}");
        }
        let start = Instant::now();
        pace.turn().await;
        assert_eq!(start.elapsed().as_secs(), 90);
        assert_eq!(pace.opens_in(), Duration::ZERO);
    }
}
