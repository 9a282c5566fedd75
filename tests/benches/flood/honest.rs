//! The ATP server of the service: it delivers each answer when it is due, whatever else goes on.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    time::{Duration, Instant},
};

use atp_actix::{
    atp_core::{Action, Notification},
    store::Question,
    test::Sender,
};
use atp_tests::{PATH, SECRET};
use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use tokio::time::{sleep, sleep_until, timeout};

use crate::{
    database::Database,
    http::{self, Connection},
};

/// Nothing is waited for longer: what takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(60);
/// Less than the server's own time for a connection without requests, which is 5 s.
const KEPT_ALIVE: Duration = Duration::from_secs(3);

/// A question of two actions.
pub(crate) fn question(id: &str, deadline: Option<DateTime<Utc>>) -> Question {
    let notification = Notification::new("Deploy?", "").id(id);
    let notification = match deadline {
        Some(deadline) => notification.deadline(deadline),
        None => notification,
    };
    let notification = notification.action(Action::simple("approve", "Approve"));
    Question::new(notification.action(Action::simple("reject", "Reject")))
}

/// What became of the deliveries of a while.
#[derive(Default)]
pub(crate) struct Seen {
    /// From when each was due to its answer.
    latencies: Vec<Duration>,
    /// How many were answered how at first. 0 is a connection that ended without an answer.
    pub(crate) statuses: BTreeMap<u16, usize>,
}

impl Seen {
    pub(crate) fn count(&self) -> usize {
        self.latencies.len()
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
    }

    /// So many per cent of them took no longer, in milliseconds.
    pub(crate) fn percentile(&mut self, per_cent: usize) -> f64 {
        self.latencies.sort_unstable();
        let last = self.latencies.len() - 1;
        self.latencies[(self.latencies.len() * per_cent / 100).min(last)].as_secs_f64() * 1000.0
    }
}

pub(crate) struct Honest<'a> {
    address: String,
    database: &'a Database,
    /// Connections that wait for the next delivery. One is enough as long as answers come in time.
    idle: RefCell<Vec<(Instant, Connection)>>,
    /// How many questions were recorded.
    asked: RefCell<usize>,
    /// Those whose answers must come again.
    again: RefCell<Vec<String>>,
}

impl<'a> Honest<'a> {
    pub(crate) fn new(address: &str, database: &'a Database) -> Self {
        let (idle, asked, again) = Default::default();
        Self { address: address.to_owned(), database, idle, asked, again }
    }

    /// How many questions were asked.
    pub(crate) fn asked(&self) -> usize {
        *self.asked.borrow()
    }

    /// Records so many questions.
    pub(crate) async fn ask(&self, count: usize) -> Vec<String> {
        let first = self.asked.replace_with(|asked| *asked + count);
        let ids: Vec<String> = (first..first + count).map(|nth| format!("honest-{nth}")).collect();
        self.database.record(ids.iter().map(|id| question(id, None))).await;
        ids
    }

    /// Delivers an answer to each of them, so many a second.
    pub(crate) async fn deliver(&self, ids: &[String], rate: usize) -> Seen {
        let start = Instant::now();
        let each = ids.iter().enumerate().map(|(nth, id)| async move {
            let due = start + Duration::from_secs(1) * u32::try_from(nth).expect("few") / rate_of(rate);
            sleep_until(due.into()).await;
            let status = self.send(id).await;
            if status != 200 {
                self.again.borrow_mut().push(id.clone());
            }
            (due.elapsed(), status)
        });
        let mut seen = Seen::default();
        for (latency, status) in join_all(each).await {
            seen.latencies.push(latency);
            *seen.statuses.entry(status).or_default() += 1;
        }
        seen
    }

    /// Delivers again, as a server does, what was not answered 200. All of it is in the end.
    pub(crate) async fn deliver_again(&self) {
        let until = Instant::now() + PATIENCE;
        for id in self.again.take() {
            while self.send(&id).await != 200 {
                assert!(Instant::now() < until, "{id} is not answered 200: it is lost");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// Delivers one answer; the status of what was said to it.
    async fn send(&self, id: &str) -> u16 {
        let (headers, body) = Sender::new(SECRET).answer(id, "approve", ()).to_parts();
        let signature = headers.iter().find(|(name, _)| name == "x-atp-signature").expect("signed");
        let request = http::post(PATH, &format!("x-atp-signature: {}\r\n", signature.1), &body);
        let exchange = async {
            let mut connection = match self.idle() {
                Some(connection) => connection,
                None => Connection::open(&self.address).await.ok()?,
            };
            let reply = connection.exchange(&request).await.ok()?;
            if !reply.closes {
                self.idle.borrow_mut().push((Instant::now(), connection));
            }
            Some(reply.status)
        };
        timeout(PATIENCE, exchange).await.ok().flatten().unwrap_or_default()
    }

    /// The connection that was used last, unless the server is about to close it.
    fn idle(&self) -> Option<Connection> {
        let (used, connection) = self.idle.borrow_mut().pop()?;
        (used.elapsed() < KEPT_ALIVE).then_some(connection)
    }
}

fn rate_of(rate: usize) -> u32 {
    u32::try_from(rate).expect("few").max(1)
}
