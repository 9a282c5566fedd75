//! Makes the report of each delivery, with one clock, and tells it to all who read reports.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    time::Instant,
};

use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, http::StatusCode};

use crate::{
    delivery::Delivery,
    log::Log,
    report::{Cause, Observer, Report},
    store::Verdict,
    times::Times,
};

/// Who reads the reports of one worker.
pub(crate) struct Reporter {
    log: Log,
    observer: Option<Observer>,
}

impl Reporter {
    pub(crate) fn new(observer: Option<Observer>) -> Rc<Self> {
        Rc::new(Self { log: Log::new(), observer })
    }

    /// Tells a report. Says whether the log took it: it does not take more of a kind than anybody
    /// reads.
    pub(crate) fn tell(&self, report: &Report<'_>) -> bool {
        if let Some(observer) = &self.observer {
            apart(|| observer(report));
        }
        #[cfg(feature = "metrics")]
        apart(|| crate::metrics::tell(report));
        self.log.tell(report)
    }
}

/// Runs a hook of the service that is told of what happens and has no say in it: if it panics, that
/// is told by the panic hook alone.
pub(crate) fn apart(hook: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(hook));
}

/// The report that a verified delivery is going to get, which the middleware makes of the response
/// unless somebody else has taken it over.
#[derive(Clone)]
pub(crate) struct PendingReport {
    reporter: Rc<Reporter>,
    started: Instant,
    times: Times,
    /// Where it is offered to others.
    offered: Option<Rc<Offered>>,
}

#[derive(Default)]
struct Offered {
    is_taken: Cell<bool>,
    /// What the sender was told before it was known what became of the delivery.
    told: Cell<Option<StatusCode>>,
}

impl PendingReport {
    pub(crate) fn new(reporter: &Rc<Reporter>, started: Instant, times: Times) -> Self {
        Self { reporter: Rc::clone(reporter), started, times, offered: None }
    }

    /// Puts it into the request's extensions, for whoever knows more of the delivery than its
    /// response says.
    pub(crate) fn offer(&mut self, request: &HttpRequest) {
        self.offered = Some(Rc::default());
        request.extensions_mut().insert(self.clone());
    }

    /// Takes it over from the middleware around.
    pub(crate) fn take(request: &HttpRequest) -> Option<Self> {
        let taken = request.extensions_mut().remove::<Self>()?;
        taken.offered.as_ref()?.is_taken.set(true);
        Some(taken)
    }

    /// Where the delivery's time goes.
    pub(crate) fn get_times(&self) -> &Times {
        &self.times
    }

    /// Whether somebody else makes the report.
    pub(crate) fn is_taken(&self) -> bool {
        self.offered.as_ref().is_some_and(|offered| offered.is_taken.get())
    }

    /// Notes what the sender gets, since he does not wait any longer.
    pub(crate) fn sender_was_told(&self, status: StatusCode) {
        if let Some(offered) = &self.offered {
            offered.told.set(Some(status));
        }
    }

    /// Makes the report of a response, and tells it.
    pub(crate) fn of_response<'a, B>(
        &self,
        delivery: &'a Delivery,
        verdict: Verdict,
        response: &'a HttpResponse<B>,
    ) -> Report<'a> {
        let cause = response.error().map_or(Cause::None, Cause::Error);
        self.tell(delivery, verdict, response.status(), cause)
    }

    /// Makes the report of an error for which there is no response yet, and tells it.
    pub(crate) fn of_error<'a>(
        &self,
        delivery: &'a Delivery,
        verdict: Verdict,
        error: &'a actix_web::Error,
    ) -> Report<'a> {
        let status = error.as_response_error().status_code();
        self.tell(delivery, verdict, status, Cause::Error(error))
    }

    fn tell<'a>(
        &self,
        delivery: &'a Delivery,
        verdict: Verdict,
        status: StatusCode,
        cause: Cause<'a>,
    ) -> Report<'a> {
        let report = Report {
            service: delivery.service(),
            delivery: Some(delivery),
            request_id: delivery.request_id(),
            verdict: Some(verdict),
            status,
            told: self.offered.as_ref().and_then(|offered| offered.told.get()).unwrap_or(status),
            duration: self.started.elapsed(),
            cause,
            times: self.times.clone(),
        };
        self.reporter.tell(&report);
        report
    }
}
