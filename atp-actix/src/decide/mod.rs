//! From verified to took effect, once: the path of a delivery with a store.

pub(crate) mod judge;
mod outcome;
mod run;

use std::{
    cell::RefCell,
    future::{Ready, ready},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use actix_web::{
    HttpMessage as _, HttpRequest, HttpResponse,
    body::{BoxBody, MessageBody},
    dev::{Service, ServiceRequest, ServiceResponse, Transform},
    http::StatusCode,
    rt,
};
use atp_core::{UserDecision, Verifier};
use chrono::{DateTime, Utc};
use futures_util::future::LocalBoxFuture;
use tracing::{Instrument as _, Span, field::display};

use self::{
    judge::{Accepted, Declined, Rules, judge},
    outcome::{Conclusion, HandlerReply, replayed},
    run::{Within, run},
};
use crate::{
    claim_cell::{AfterHandler, AnyClaimCell, ClaimCell, Claims},
    counters,
    delivery::Delivery,
    refusal::Refusal,
    reply::ErrorBody,
    reporter::{PendingReport, apart},
    store::{
        Claim, Claimed, Completion, Event, EventError, RefusedDelivery, Routes, Store, StoreError, UnderWay,
        Verdict,
    },
    times::Times,
};

pub(crate) use self::outcome::HandlerRan;

/// Told of an answer that differs from the one that stands.
pub(crate) type OnConflict = Arc<dyn Fn(&Delivery) + Send + Sync>;

/// Tells the W3C `traceparent` of the span that it is called in.
pub(crate) type Traceparent = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// How a webhook with a store goes about its deliveries.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) rules: Rules,
    pub(crate) service: String,
    pub(crate) respond_within: Duration,
    pub(crate) lease: Duration,
    /// Whether decisions are stored with their data.
    pub(crate) with_data: bool,
    pub(crate) on_conflict: Option<OnConflict>,
    pub(crate) traceparent: Option<Traceparent>,
    pub(crate) error_body: Option<ErrorBody>,
    /// Tells the time that deliveries are judged by.
    pub(crate) verifier: Verifier,
}

/// In a request's extensions: the answer came too late, and is for the handler of late ones.
pub(crate) struct Late;

/// In a request's extensions: the state that the task will have.
#[derive(Clone)]
pub(crate) struct NewState(Rc<RefCell<Option<String>>>);

impl NewState {
    fn new(state: Option<String>) -> Self {
        Self(Rc::new(RefCell::new(state)))
    }

    pub(crate) fn set(&self, state: String) {
        self.0.replace(Some(state));
    }

    fn take(&self) -> Option<String> {
        self.0.take()
    }
}

/// In a request's extensions: what the handler wants to be sent, if it succeeds.
#[derive(Clone)]
pub(crate) struct Emitted {
    events: Rc<RefCell<Vec<Event>>>,
    /// Where events go that name no sink.
    routes: Routes,
    service: String,
    traceparent: Option<Traceparent>,
}

impl Emitted {
    /// An event with all that it needs, about the notification unless it says more.
    pub(crate) fn add(&self, event: Event, notification_id: &str) -> Result<(), EventError> {
        let event = if event.service.is_empty() { event.service(&*self.service) } else { event };
        let event = if event.subject.is_none() { event.subject(notification_id) } else { event };
        let event = self.routes.filled_in(event)?;
        let event = if event.traceparent.is_none() { self.traced(event) } else { event };
        self.events.borrow_mut().push(event);
        Ok(())
    }

    fn traced(&self, event: Event) -> Event {
        event.traceparent(traceparent(self.traceparent.as_ref()))
    }

    fn take(&self) -> Vec<Event> {
        self.events.take()
    }
}

/// What the hook says, which has no say in what is decided.
fn traceparent(hook: Option<&Traceparent>) -> Option<String> {
    let mut told = None;
    if let Some(hook) = hook {
        apart(|| told = hook());
    }
    told
}

/// The middleware between verification and the routes.
pub(crate) struct Decide<S> {
    pub(crate) store: S,
    pub(crate) settings: Arc<Settings>,
}

impl<S, N, B> Transform<N, ServiceRequest> for Decide<S>
where
    S: Store,
    N: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<BoxBody>;
    type Error = actix_web::Error;
    type Transform = Deciding<S, N>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, next: N) -> Self::Future {
        let (store, settings) = (self.store.clone(), Arc::clone(&self.settings));
        ready(Ok(Deciding(Rc::new(Inner { store, settings, next }))))
    }
}

/// The service that [`Decide`] makes.
pub(crate) struct Deciding<S, N>(Rc<Inner<S, N>>);

struct Inner<S, N> {
    store: S,
    settings: Arc<Settings>,
    next: N,
}

impl<S, N, B> Service<ServiceRequest> for Deciding<S, N>
where
    S: Store,
    N: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<BoxBody>;
    type Error = actix_web::Error;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.next.poll_ready(cx)
    }

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let inner = Rc::clone(&self.0);
        Box::pin(async move {
            let http = request.request().clone();
            let delivery = Delivery::of(&http, "Webhook")?;
            let report = PendingReport::take(&http).ok_or(Refusal::NotVerified { extractor: "Webhook" })?;
            let response = inner.answer(request, delivery, report).await;
            Ok(ServiceResponse::new(http, response))
        })
    }
}

/// What a delivery came to that went on to its handler.
enum Ended {
    Decided(HttpResponse, Verdict),
    /// Somebody else has the claim, or had it.
    Declined(Declined),
    NotDecided(Box<Undone>),
}

/// Nothing was decided, and there may be a claim to give back.
struct Undone {
    response: HttpResponse,
    verdict: Verdict,
    is_claimed: bool,
    /// Whether to give it back may take long: the store failed, or somebody still holds the
    /// transaction.
    at_leisure: bool,
    began: DateTime<Utc>,
}

impl<S, N, B> Inner<S, N>
where
    S: Store,
    N: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error> + 'static,
    B: MessageBody + 'static,
{
    /// Answers within the time that a sender waits. The work does not depend on who waits for it.
    async fn answer(
        self: Rc<Self>,
        request: ServiceRequest,
        delivery: Delivery,
        report: PendingReport,
    ) -> HttpResponse {
        let failed = |refusal: Refusal| {
            let response = HttpResponse::from_error(refusal);
            report.of_response(&delivery, Verdict::Failed, &response);
            response
        };
        if let Some((name, _)) = request.match_info().iter().next() {
            return failed(Refusal::PathParameter { name: name.to_owned() });
        }
        let Some(under_way) = self.store.get_activity().begin() else { return failed(Refusal::Ending) };
        let span = Span::current();
        if !span.is_disabled() {
            span.record("decision_id", display(delivery.decision_id()));
        }
        let work = rt::spawn({
            let (this, delivery, report) = (Rc::clone(&self), delivery.clone(), report.clone());
            async move { this.work(request, &delivery, &report, &under_way).await }.instrument(span)
        });
        match rt::time::timeout(self.settings.respond_within, work).await {
            Ok(Ok(response)) => response,
            Ok(Err(_)) => failed(Refusal::HandlerFault("the work panicked")),
            Err(_) => {
                report.sender_was_told(StatusCode::SERVICE_UNAVAILABLE);
                HttpResponse::from_error(Refusal::StillRunning)
            }
        }
    }

    /// Judges, claims, handles and completes; then reports and counts what that came to.
    async fn work(
        self: Rc<Self>,
        request: ServiceRequest,
        delivery: &Delivery,
        report: &PendingReport,
        under_way: &UnderWay,
    ) -> HttpResponse {
        let times = report.get_times();
        let accepted = match times.store(self.judge(delivery)).await {
            Ok(accepted) => accepted,
            Err(declined) => return self.decline(declined, delivery, report).await,
        };
        let claim = match self.claim(delivery, &accepted) {
            Ok(claim) => claim,
            Err(error) => {
                return self
                    .decline(Declined::Refused(Verdict::Failed, error.into()), delivery, report)
                    .await;
            }
        };
        match self.handle(request, delivery, accepted, &claim, times).await {
            Ended::Decided(response, verdict) => {
                self.report(delivery, verdict, &response, report).await;
                response
            }
            Ended::Declined(declined) => self.decline(declined, delivery, report).await,
            Ended::NotDecided(undone) => self.undo(*undone, delivery, claim, report, under_way).await,
        }
    }

    async fn judge(&self, delivery: &Delivery) -> Result<Accepted, Declined> {
        let notification_id = &delivery.answer().notification_id;
        let answer = Some(delivery.fingerprint());
        let known = self.store.find(&self.settings.service, notification_id, answer).await;
        let known = known.map_err(|error| Declined::Refused(Verdict::Failed, error.into()))?;
        judge(&self.settings.rules, delivery, known, self.settings.verifier.now())
    }

    /// Answers a delivery that goes no further. What is authentic is kept and counted.
    async fn decline(&self, declined: Declined, delivery: &Delivery, report: &PendingReport) -> HttpResponse {
        let (response, verdict, kept_as) = match declined {
            // Where the store is away there is nowhere to keep it; the server delivers it again.
            Declined::Refused(verdict, refusal @ Refusal::Store(_)) => {
                let response = HttpResponse::from_error(refusal);
                report.of_response(delivery, verdict, &response);
                return response;
            }
            Declined::Refused(verdict, refusal) => {
                let kept_as = Some(verdict).filter(|verdict| *verdict != Verdict::Running);
                (HttpResponse::from_error(refusal), verdict, kept_as)
            }
            // What a handler refused was kept then, if that did not fail.
            Declined::Replayed(outcome) => {
                let kept_as = Some(outcome.verdict()).filter(|verdict| *verdict == Verdict::Refused);
                (replayed(outcome), Verdict::Replayed, kept_as)
            }
        };
        if let Some(kept_as) = kept_as {
            match report.get_times().store(self.keep(delivery, kept_as)).await {
                Ok(is_new) => self.tell_of_conflict(delivery, verdict, is_new),
                // What cannot be kept is not refused for good.
                Err(error) => {
                    let response = HttpResponse::from_error(Refusal::Store(error));
                    report.of_response(delivery, Verdict::Failed, &response);
                    return response;
                }
            }
        }
        self.report(delivery, verdict, &response, report).await;
        response
    }

    /// Once for each answer that was signed, however often it comes.
    fn tell_of_conflict(&self, delivery: &Delivery, verdict: Verdict, is_new: bool) {
        if let (Some(hook), Verdict::Conflict, true) = (&self.settings.on_conflict, verdict, is_new) {
            apart(|| hook(delivery));
        }
    }

    fn claim(&self, delivery: &Delivery, accepted: &Accepted) -> Result<Claim, StoreError> {
        let answer = delivery.answer();
        let events = self.events(delivery, accepted)?;
        let data = answer.response_data.as_ref().filter(|_| self.settings.with_data);
        Ok(Claim::new(
            self.settings.service.clone(),
            answer.notification_id.clone(),
            delivery.fingerprint(),
            answer.action_id.clone(),
            delivery.arrival(),
            delivery.body().clone(),
        )
        .signed_text(delivery.signed_text().clone())
        .data(data.map(|data| data.as_str().to_owned()))
        .lease(self.settings.lease)
        .late(accepted.is_late)
        .events(events))
    }

    /// What tells of the decision, if it takes effect; nothing where nobody is to be told.
    fn events(&self, delivery: &Delivery, accepted: &Accepted) -> Result<Vec<Event>, StoreError> {
        let routes = self.store.get_routes();
        if *routes == Routes::new() {
            return Ok(Vec::new());
        }
        let question = &accepted.question;
        let mut decision = UserDecision::new(delivery.answer(), self.settings.verifier.now());
        decision.user_id.clone_from(&question.user_id);
        decision.request_id.clone_from(&question.request_id);
        decision.additional_data.take_if(|_| !self.settings.with_data);
        let events =
            routes.decided(&self.settings.service, &decision, delivery.decision_id(), accepted.is_late)?;
        let traceparent = traceparent(self.settings.traceparent.as_ref());
        Ok(events.into_iter().map(|event| event.traceparent(traceparent.clone())).collect())
    }

    /// Extractors, claim, handler, completion.
    async fn handle(
        &self,
        request: ServiceRequest,
        delivery: &Delivery,
        accepted: Accepted,
        claim: &Claim,
        times: &Times,
    ) -> Ended {
        let claims = ClaimOf { store: self.store.clone(), claim: claim.clone(), times: times.clone() };
        let cell = ClaimCell::new(claims);
        let began = self.settings.verifier.now();
        let state = NewState::new(None);
        let emitted = Emitted {
            events: Rc::default(),
            routes: self.store.get_routes().clone(),
            service: self.settings.service.clone(),
            traceparent: self.settings.traceparent.clone(),
        };
        prepare(request.request(), accepted, &cell, &state, &emitted);
        let work = async {
            let response = self.next.call(request).await?;
            Ok(HandlerReply::read(response, delivery, self.settings.error_body.as_ref()).await)
        };
        let within = Within { lease: self.settings.lease, transaction: self.store.get_transaction_limit() };
        let reply = run(work, &cell, within).await;
        // Whatever happened, the cell is empty from here on: what is dropped is rolled back.
        let (transaction, spoilt) = match cell.after_handler() {
            AfterHandler::Nothing => (None, None),
            AfterHandler::Transaction(transaction) => (Some(transaction), None),
            AfterHandler::Unclean(error) => (None, Some(error)),
            AfterHandler::Running => {
                return Ended::Declined(Declined::Refused(Verdict::Running, Refusal::StillRunning));
            }
            AfterHandler::Completed(decision) => return Ended::Declined(judge::decided(decision, delivery)),
            AfterHandler::Failed(error) => {
                return Ended::Declined(Declined::Refused(Verdict::Failed, error.into()));
            }
        };
        let (is_claimed, at_leisure) = (cell.has_claim(), spoilt.is_some());
        let undone = |response, verdict, at_leisure| {
            Ended::NotDecided(Box::new(Undone { response, verdict, is_claimed, at_leisure, began }))
        };
        let conclusion = match reply {
            Ok(reply) => reply.conclude(spoilt),
            Err(refusal) => Conclusion::failed(refusal),
        };
        let (response, outcome) = match conclusion {
            Conclusion::Decided(response, outcome) => (response, outcome),
            Conclusion::NotDecided(response, verdict) => return undone(response, verdict, at_leisure),
        };
        let verdict = outcome.verdict();
        let state = state.take().filter(|_| outcome.is_success());
        let completion = Completion::new(claim, outcome);
        let completion = match state {
            Some(state) => completion.state(state),
            None => completion,
        };
        let completion = completion.events(emitted.take());
        match times.store(self.complete(delivery, claim, completion, transaction)).await {
            Ok(()) => Ended::Decided(response, verdict),
            Err(error) => undone(HttpResponse::from_error(Refusal::Store(error)), Verdict::Failed, true),
        }
    }

    async fn complete(
        &self,
        delivery: &Delivery,
        claim: &Claim,
        completion: Completion,
        transaction: Option<S::Transaction>,
    ) -> Result<(), StoreError> {
        self.store.complete(claim, &completion, transaction).await?;
        // A refusal can be voided, and then there must be something to send in again.
        if completion.outcome.verdict() == Verdict::Refused {
            self.keep(delivery, Verdict::Refused).await?;
        }
        Ok(())
    }

    /// Keeps what was not decided, and gives its claim back: in this order, since the claim holds
    /// it as long as it is not kept. Where its lease may have ended it is kept again: whoever listed what
    /// was refused between the two took it for one whose process died.
    async fn undo(
        self: Rc<Self>,
        undone: Undone,
        delivery: &Delivery,
        claim: Claim,
        report: &PendingReport,
        under_way: &UnderWay,
    ) -> HttpResponse {
        let Undone { response, verdict, is_claimed, at_leisure, began } = undone;
        self.report(delivery, verdict, &response, report).await;
        let (this, delivery, still_under_way) = (Rc::clone(&self), delivery.clone(), under_way.another());
        let undo = async move {
            let _until_done = still_under_way;
            this.keep_undone(&delivery, verdict).await;
            if is_claimed && this.release(&claim).await && this.may_be_over(began) {
                this.keep_undone(&delivery, verdict).await;
            }
        };
        if at_leisure {
            rt::spawn(undo);
        } else {
            undo.await;
        }
        response
    }

    /// Whether the lease of a claim that was made then may have ended, by the store's clock.
    fn may_be_over(&self, began: DateTime<Utc>) -> bool {
        let lasts = (self.settings.verifier.now() - began).to_std();
        lasts.is_ok_and(|lasts| lasts > self.settings.lease / 2)
    }

    async fn keep_undone(&self, delivery: &Delivery, verdict: Verdict) {
        if let Err(error) = self.keep(delivery, verdict).await {
            let request_id = delivery.request_id();
            tracing::error!(target: "atp_actix", request_id, %error, "not kept");
        }
    }

    /// Whether the store was there for it. If it was not, the lease ends by itself.
    async fn release(&self, claim: &Claim) -> bool {
        let released = self.store.release_claim(claim).await;
        if let Err(error) = &released {
            tracing::error!(target: "atp_actix", %error, "a claim was not released");
        }
        released.is_ok()
    }

    /// Keeps the body of a delivery that is refused. Says whether it was not kept yet.
    async fn keep(&self, delivery: &Delivery, verdict: Verdict) -> Result<bool, StoreError> {
        let arrival = delivery.arrival();
        let kept = RefusedDelivery::new(
            self.settings.service.clone(),
            verdict,
            arrival.scheme,
            arrival.secret_index,
            delivery.signed_text(),
            delivery.body().clone(),
        )
        .notification_id(delivery.answer().notification_id.clone());
        match self.store.keep(&kept).await {
            // More of them would only fill the disk.
            Err(error @ StoreError::KeptEnough) => {
                if self.store.get_activity().may_tell() {
                    let request_id = delivery.request_id();
                    tracing::error!(target: "atp_actix", request_id, %error, "not kept");
                }
                Ok(false)
            }
            kept => kept,
        }
    }

    /// Makes the report of what a delivery came to, and counts it.
    async fn report(
        &self,
        delivery: &Delivery,
        verdict: Verdict,
        response: &HttpResponse,
        report: &PendingReport,
    ) {
        let report = report.of_response(delivery, verdict, response);
        if let Some(count) = report.to_count(&self.settings.service) {
            counters::count(&self.store, count).await;
        }
    }
}

/// A store, and the claim of one delivery.
struct ClaimOf<S> {
    store: S,
    claim: Claim,
    times: Times,
}

impl<S: Store> Claims<S::Transaction> for ClaimOf<S> {
    fn claim(&self) -> LocalBoxFuture<'_, Result<Claimed, StoreError>> {
        Box::pin(self.times.store(self.store.claim(&self.claim)))
    }

    fn begin(&self) -> LocalBoxFuture<'_, Result<Claimed<S::Transaction>, StoreError>> {
        Box::pin(self.times.store(self.store.claim_in_transaction(&self.claim)))
    }

    fn resume(&self) -> LocalBoxFuture<'_, Result<S::Transaction, StoreError>> {
        Box::pin(self.times.store(self.store.resume(&self.claim)))
    }
}

/// What the extractors of this crate find in the request.
fn prepare<T: 'static>(
    request: &HttpRequest,
    accepted: Accepted,
    cell: &Rc<ClaimCell<T>>,
    state: &NewState,
    emitted: &Emitted,
) {
    let Accepted { question, is_late } = accepted;
    let mut extensions = request.extensions_mut();
    extensions.insert(Rc::new(question));
    extensions.insert(Rc::clone(cell));
    let claiming: Rc<dyn AnyClaimCell> = Rc::<ClaimCell<T>>::clone(cell);
    extensions.insert(claiming);
    extensions.insert(state.clone());
    extensions.insert(emitted.clone());
    if is_late {
        extensions.insert(Late);
    }
}
