//! What an ATP server does: sends each answer until it is told that it arrived.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use atp_actix::test::Sender;
use atp_examples::client;

use crate::member::PATH;

/// How many answers are under way at a time.
const AT_A_TIME: usize = 16;

/// How long after a delivery that did not arrive the next one is made. A real server waits longer.
const BETWEEN_TRIES: Duration = Duration::from_millis(50);

/// Answers on their way.
pub struct Senders {
    pub counts: Arc<Counts>,
}

/// What came of the deliveries.
#[derive(Default)]
pub struct Counts {
    next: AtomicUsize,
    is_over: AtomicBool,
    /// Answers that were told to have arrived.
    pub answered: AtomicUsize,
    /// Deliveries that were told to come again.
    pub told_to_wait: AtomicUsize,
    /// Deliveries without an answer.
    pub cut_off: AtomicUsize,
    /// Deliveries that were told anything else.
    pub refused: AtomicUsize,
}

impl Senders {
    /// Approves each of these at this address.
    pub fn start(sender: &Sender, ids: &[String], address: SocketAddr) -> Self {
        let (counts, ids) = (Arc::new(Counts::default()), Arc::new(ids.to_owned()));
        for _ in 0..AT_A_TIME {
            let (sender, ids, counts) = (sender.clone(), Arc::clone(&ids), Arc::clone(&counts));
            thread::spawn(move || {
                while let Some(id) = ids.get(counts.next.fetch_add(1, Ordering::Relaxed)) {
                    counts.deliver(&sender, id, address);
                }
            });
        }
        Self { counts }
    }

    /// How many answers have arrived.
    pub fn answered(&self) -> usize {
        self.counts.answered.load(Ordering::Relaxed)
    }
}

/// Sends nothing more than is under way.
impl Drop for Senders {
    fn drop(&mut self) {
        self.counts.is_over.store(true, Ordering::Relaxed);
    }
}

impl Counts {
    fn deliver(&self, sender: &Sender, id: &str, address: SocketAddr) {
        while !self.is_over.load(Ordering::Relaxed) {
            // Signed anew, as a server does that retries.
            let answer = sender.answer(id, "approve", ());
            let count = match client::post(address, PATH, &answer).map(|answer| answer.status) {
                Ok(200) => {
                    self.answered.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Ok(503) => &self.told_to_wait,
                Ok(_) => &self.refused,
                Err(_) => &self.cut_off,
            };
            count.fetch_add(1, Ordering::Relaxed);
            thread::sleep(BETWEEN_TRIES);
        }
    }
}
