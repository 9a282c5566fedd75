//! One connection, which takes what is due next.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use chrono::Utc;
use reqwest::{Client, Method};
use tokio::time::sleep_until;

use super::{
    Schedule, Shared,
    mix::Kind,
    report::{Tally, as_float},
};
use crate::commands::{
    delivery::{Answer, Delivery},
    http,
    output::Failure,
};

/// How long after the end what is late is still sent.
const GRACE: Duration = Duration::from_secs(5);

/// A connection.
pub(super) struct Sender {
    shared: Arc<Shared>,
    client: Client,
    last: Option<Delivery>,
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

impl Sender {
    pub(super) fn new(shared: Arc<Shared>, client: Client) -> Self {
        Self { shared, client, last: None }
    }

    /// Sends until nothing is due any more.
    pub(super) async fn run(mut self) -> Result<Tally, Failure> {
        let mut tally = Tally::new()?;
        let shared = Arc::clone(&self.shared);
        let schedule = &shared.schedule;
        loop {
            let number = schedule.next.fetch_add(1, Ordering::Relaxed);
            if number >= schedule.count {
                return Ok(tally);
            }
            let due = schedule.due(number);
            sleep_until(due.into()).await;
            if Instant::now() >= schedule.end {
                tally.never_sent(due.elapsed());
                continue;
            }
            let (kind, delivery) = self.make(number)?;
            let (headers, body) = (&delivery.headers, delivery.body);
            let answered = http::ask(&self.client, Method::POST, &shared.to, headers, body).await;
            tally.count(kind, answered.map(|answered| answered.status), due.elapsed());
        }
    }

    /// The answer of this number, signed now.
    fn make(&mut self, number: u64) -> Result<(Kind, Delivery), Failure> {
        let kind = self.shared.mix.kind(number);
        if let (Kind::Duplicate, Some(last)) = (kind, &self.last) {
            return Ok((kind, last.clone()));
        }
        let shared = &self.shared;
        let notification = shared.notification.replace("{}", &number.to_string());
        let answer = Answer {
            notification: &notification,
            action: &shared.action,
            data: &shared.data,
            responder: "user_123",
            is_agent: false,
        };
        let signer = if kind == Kind::Forged { &shared.forger } else { &shared.verifier };
        let delivery = answer.deliver(signer, shared.scheme, Utc::now(), None)?;
        if kind == Kind::Forged {
            return Ok((kind, delivery));
        }
        // Of a duplicate without one before it there is only the first.
        self.last = Some(delivery.clone());
        Ok((Kind::Fresh, delivery))
    }
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
}
