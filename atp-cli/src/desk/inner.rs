//! What all parts of a desk share.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use reqwest::Client;
use tokio::sync::{Notify, broadcast, watch};

use super::{fault::Faults, pace::Pace, records::Records, refusal::Refusal};

pub(super) type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// How a desk goes about its work.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) clock: Clock,
    pub(super) attempts: u32,
    pub(super) first_wait: Duration,
    pub(super) longest_wait: Duration,
    pub(super) answer_within: Duration,
    /// Whether what a service may do in a minute is bounded.
    pub(super) is_paced: bool,
    /// Whether answers may go unencrypted to other machines.
    pub(super) allows_http: bool,
    /// By which names it may be called, beside those of this machine.
    pub(super) hosts: Vec<String>,
    /// At which address it listens; by that it may be called too.
    pub(super) listens_at: Option<IpAddr>,
    /// What whoever opens the page must show; nothing on this machine.
    pub(super) page_token: Option<String>,
}

pub(super) struct Inner {
    pub(super) settings: Settings,
    pub(super) records: Records,
    pub(super) client: Client,
    pub(super) admin_token: String,
    pub(super) user_token: String,
    /// In each form of a page: who has not read one cannot send it. It is the same while the desk's file
    /// is, so that a form which is open over a new start loses nothing.
    pub(super) form_token: String,
    faults: Mutex<Faults>,
    /// How far the desk's clock is off, in milliseconds.
    skew: Mutex<i64>,
    /// Secrets that a rotation takes next, by service.
    secrets: Mutex<HashMap<String, Vec<String>>>,
    pub(super) questions: Pace,
    pub(super) changes: Pace,
    /// Told when an answer waits to be delivered.
    pub(super) answered: Notify,
    /// How many deliveries were tried.
    pub(super) sent: watch::Sender<u64>,
    pub(super) stop: watch::Sender<bool>,
    /// Told when anything changed that a page shows.
    pub(super) changes_seen: broadcast::Sender<()>,
}

impl Inner {
    pub(super) fn new(
        settings: Settings,
        records: Records,
        client: Client,
        [admin_token, user_token, form_token]: [String; 3],
    ) -> Self {
        Self {
            settings,
            records,
            client,
            admin_token,
            user_token,
            form_token,
            faults: Mutex::default(),
            skew: Mutex::default(),
            secrets: Mutex::default(),
            questions: Pace::new(crate::limits::QUESTIONS_A_MINUTE),
            changes: Pace::new(crate::limits::CHANGES_A_MINUTE),
            answered: Notify::new(),
            sent: watch::Sender::new(0),
            stop: watch::Sender::new(false),
            changes_seen: broadcast::Sender::new(16),
        }
    }

    /// The time by the desk's clock.
    pub(super) fn now(&self) -> DateTime<Utc> {
        let skew = *lock(&self.skew);
        (self.settings.clock)() + chrono::TimeDelta::milliseconds(skew)
    }

    /// Sets how far the desk's clock is off.
    pub(super) fn set_skew(&self, millis: i64) {
        // A year is more than anybody's clock is off.
        let year = chrono::TimeDelta::days(366).num_milliseconds();
        *lock(&self.skew) = millis.clamp(-year, year);
    }

    pub(super) fn skew(&self) -> i64 {
        *lock(&self.skew)
    }

    pub(super) fn faults(&self) -> MutexGuard<'_, Faults> {
        lock(&self.faults)
    }

    /// Rotations of a service's secret take these, one after the other, before others are made.
    pub(super) fn set_next_secrets(&self, service: &str, mut secrets: Vec<String>) {
        secrets.reverse();
        lock(&self.secrets).insert(service.to_owned(), secrets);
    }

    pub(super) fn next_secret(&self, service: &str) -> Option<String> {
        lock(&self.secrets).get_mut(service)?.pop()
    }

    /// Pages show it.
    pub(super) fn changed(&self) {
        // Nobody may be looking.
        let _ = self.changes_seen.send(());
    }

    pub(super) fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Waits until the desk is to stop.
    pub(super) async fn stopped(&self) {
        // Who could say so is here.
        let _ = self.stop.subscribe().wait_for(|is_stopped| *is_stopped).await;
    }

    /// One more question of a service, or one more change of status.
    pub(super) fn paced(&self, pace: &Pace, service: &str) -> Result<(), Refusal> {
        if self.settings.is_paced { pace.take(service, self.now()) } else { Ok(()) }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
