//! Where the time of a delivery goes, for the metrics. Without that feature no clock is read here,
//! and all of this is nothing.

#[cfg(feature = "metrics")]
use std::{cell::Cell, rc::Rc, time::Duration};
use std::{future::Future, time::Instant};

use actix_web::HttpRequest;
use atp_core::Verifier;
#[cfg(feature = "metrics")]
use {
    actix_web::HttpMessage as _,
    chrono::{DateTime, Utc},
};

/// Where the time of one delivery goes. A clone shares it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times {
    #[cfg(feature = "metrics")]
    spent: Rc<Spent>,
}

#[cfg(feature = "metrics")]
#[derive(Debug, Default)]
struct Spent {
    verification: Cell<Option<Duration>>,
    verified_at: Cell<Option<DateTime<Utc>>>,
    store: Cell<Option<Duration>>,
    handler: Cell<Option<Duration>>,
}

#[cfg(not(feature = "metrics"))]
#[allow(clippy::unused_self, reason = "as with the feature `metrics`")]
impl Times {
    pub(crate) fn verified(&self, _: Instant, _: &Verifier) {}

    pub(crate) fn leave_in(&self, _: &HttpRequest) {}

    pub(crate) fn of(_: &HttpRequest) -> Self {
        Self::default()
    }

    pub(crate) fn store<F: Future>(&self, work: F) -> F {
        work
    }

    pub(crate) fn handler<F: Future>(&self, work: F) -> F {
        work
    }
}

#[cfg(feature = "metrics")]
impl Times {
    /// Notes that a delivery, whose head came at this time, is verified now.
    pub(crate) fn verified(&self, started: Instant, verifier: &Verifier) {
        self.spent.verification.set(Some(started.elapsed()));
        self.spent.verified_at.set(Some(verifier.now()));
    }

    /// Leaves them in a request, for whoever works on it.
    pub(crate) fn leave_in(&self, request: &HttpRequest) {
        request.extensions_mut().insert(self.clone());
    }

    /// Those that were left in a request, or else some that nobody reads.
    pub(crate) fn of(request: &HttpRequest) -> Self {
        request.extensions().get::<Self>().cloned().unwrap_or_default()
    }

    /// Counts what this takes as the store's.
    pub(crate) fn store<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        measured(Rc::clone(&self.spent), |spent| &spent.store, work)
    }

    /// Counts what this takes as the handler's.
    pub(crate) fn handler<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        measured(Rc::clone(&self.spent), |spent| &spent.handler, work)
    }

    pub(crate) fn get_verification(&self) -> Option<Duration> {
        self.spent.verification.get()
    }

    pub(crate) fn get_verified_at(&self) -> Option<DateTime<Utc>> {
        self.spent.verified_at.get()
    }

    pub(crate) fn get_store(&self) -> Option<Duration> {
        self.spent.store.get()
    }

    pub(crate) fn get_handler(&self) -> Option<Duration> {
        self.spent.handler.get()
    }
}

/// Counts what some work takes, also where it is given up.
#[cfg(feature = "metrics")]
async fn measured<F: Future>(
    spent: Rc<Spent>,
    part: fn(&Spent) -> &Cell<Option<Duration>>,
    work: F,
) -> F::Output {
    let _until_it_ends = Measuring { spent, part, began: Instant::now() };
    work.await
}

#[cfg(feature = "metrics")]
struct Measuring {
    spent: Rc<Spent>,
    part: fn(&Spent) -> &Cell<Option<Duration>>,
    began: Instant,
}

#[cfg(feature = "metrics")]
impl Drop for Measuring {
    fn drop(&mut self) {
        let part = (self.part)(&self.spent);
        part.set(Some(part.get().unwrap_or_default().saturating_add(self.began.elapsed())));
    }
}
