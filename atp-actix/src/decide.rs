//! From verified to took effect, once: the path of a delivery with a store.

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    future::{Future, Ready, ready},
    panic::AssertUnwindSafe,
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use actix_web::{
    HttpMessage as _, HttpRequest, HttpResponse,
    body::{self, BodySize, BoxBody, MessageBody},
    dev::{Service, ServiceRequest, ServiceResponse, Transform},
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
    rt,
};
use atp_core::{Action, Verifier};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::{
    FutureExt as _,
    future::{Either, LocalBoxFuture, select},
};

use crate::{
    age::Age,
    claim_cell::{AfterHandler, ClaimCell, Claiming, Claims},
    delivery::Delivery,
    error::{ErrorBody, ErrorReply, Refusal},
    log,
    store::{
        self, Arrival, Claim, Claimed, CompletedDecision, Completion, DEFAULT_SERVICE, DeliveryCount, Known,
        Outcome, RecordedQuestion, RefusedDelivery, Store, StoreError, Token, UnderWay, Verdict,
    },
    tally,
};

/// Told of an answer that differs from the one that stands.
pub(crate) type OnConflict = Arc<dyn Fn(&Delivery) + Send + Sync>;

/// What a webhook's decisions go by.
#[derive(Clone)]
pub(crate) struct Rules {
    pub(crate) service: String,
    pub(crate) unknown_grace: Duration,
    pub(crate) respond_within: Duration,
    pub(crate) lease: Duration,
    pub(crate) with_data: bool,
    pub(crate) humans_only: HashSet<String>,
    pub(crate) on_conflict: Option<OnConflict>,
    /// The actions that have a handler.
    pub(crate) actions: HashSet<String>,
    /// Whether all others have one.
    pub(crate) otherwise: bool,
    /// Whether late answers have one.
    pub(crate) late: bool,
    pub(crate) error_body: Option<ErrorBody>,
    /// For its clock.
    pub(crate) verifier: Verifier,
}

impl Rules {
    pub(crate) fn new(verifier: Verifier) -> Self {
        Self {
            service: DEFAULT_SERVICE.to_owned(),
            unknown_grace: Duration::from_mins(10),
            respond_within: Duration::from_secs(4),
            lease: Duration::from_mins(1),
            with_data: true,
            humans_only: HashSet::new(),
            on_conflict: None,
            actions: HashSet::new(),
            otherwise: false,
            late: false,
            error_body: None,
            verifier,
        }
    }
}

/// In a request's extensions: the handler itself answered, and no extractor before it.
pub(crate) struct HandlerRan;

/// In a request's extensions: the answer came too late, and is for the handler of those.
pub(crate) struct Late;

/// In a request's extensions: the state that the task will have.
#[derive(Clone)]
pub(crate) struct NewState(Rc<RefCell<Option<String>>>);

impl NewState {
    pub(crate) fn set(&self, state: String) {
        self.0.replace(Some(state));
    }

    fn take(&self) -> Option<String> {
        self.0.take()
    }
}

/// The middleware between verification and the routes.
pub(crate) struct Decide<S> {
    pub(crate) store: S,
    pub(crate) rules: Arc<Rules>,
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
        let (store, rules) = (self.store.clone(), Arc::clone(&self.rules));
        ready(Ok(Deciding(Rc::new(Inner { store, rules, next }))))
    }
}

pub(crate) struct Deciding<S, N>(Rc<Inner<S, N>>);

struct Inner<S, N> {
    store: S,
    rules: Arc<Rules>,
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
            let response = inner.answer(request, delivery).await;
            Ok(ServiceResponse::new(http, response))
        })
    }
}

/// A delivery that goes no further, and what it gets.
struct Declined {
    verdict: Verdict,
    answer: Answer,
}

enum Answer {
    Refused(Refusal),
    /// It was handled before.
    Again(Outcome),
}

impl Declined {
    fn refused(verdict: Verdict, refusal: Refusal) -> Self {
        Self { verdict, answer: Answer::Refused(refusal) }
    }

    fn failed(error: StoreError) -> Self {
        Self::refused(Verdict::Failed, Refusal::Store(error))
    }
}

/// A delivery that goes on.
struct Accepted {
    question: RecordedQuestion,
    is_late: bool,
}

impl<S, N, B> Inner<S, N>
where
    S: Store,
    N: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error> + 'static,
    B: MessageBody + 'static,
{
    async fn answer(self: Rc<Self>, request: ServiceRequest, delivery: Delivery) -> HttpResponse {
        let Some(under_way) = self.store.activity().begin() else {
            return HttpResponse::from_error(Refusal::Ending);
        };
        let (this, clock) = (Rc::clone(&self), Clock::start());
        // The work does not depend on who waits for it.
        let work = rt::spawn({
            let clock = clock.clone();
            async move {
                match this.judge(&delivery).await {
                    Ok(accepted) => this.work(request, delivery, accepted, &clock, &under_way).await,
                    Err(stop) => this.stop(stop, &delivery, &clock).await,
                }
            }
        });
        match rt::time::timeout(self.rules.respond_within, work).await {
            Ok(Ok(response)) => response,
            Ok(Err(_)) => HttpResponse::from_error(Refusal::HandlerFault("the work panicked")),
            Err(_) => {
                clock.sender_was_told(StatusCode::SERVICE_UNAVAILABLE);
                HttpResponse::from_error(Refusal::StillRunning)
            }
        }
    }

    /// All that is judged before the claim.
    async fn judge(&self, delivery: &Delivery) -> Result<Accepted, Declined> {
        let (answer, now) = (delivery.answer(), self.rules.verifier.now());
        let (notification_id, fingerprint) = (&answer.notification_id, delivery.fingerprint());
        let found = self.store.find(&self.rules.service, notification_id, Some(fingerprint)).await;
        let Known { question, decision, first_seen, answer_seen } = found.map_err(Declined::failed)?;
        if let Some(decision) = decision {
            return Err(Self::decided(decision, delivery));
        }
        if let Some(signed_at) = delivery.signed_at() {
            self.check_age(signed_at, now)?;
        }
        let Some(question) = question else { return Err(self.unknown(first_seen.unwrap_or(now), now)) };
        // It was not signed before it was asked for; what we ourselves send again was judged when it came.
        if delivery.signed_at().is_none() && !delivery.is_redriven() {
            self.check_age(question.recorded_at.min(now), now)?;
        }
        let Some(action) = question.notification.find_action(&answer.action_id) else {
            return Err(Declined::refused(Verdict::Unfit, Refusal::UnknownAction));
        };
        answer
            .fits(action)
            .map_err(|violations| Declined::refused(Verdict::Unfit, Refusal::Unfit(violations)))?;
        self.check_who(delivery, action)?;
        let is_late = self.check_time(&question, delivery, answer_seen.unwrap_or(now))?;
        let has_handler = self.rules.otherwise || self.rules.actions.contains(&action.id);
        if !is_late && !has_handler {
            let action = answer.action_id.clone();
            return Err(Declined::refused(Verdict::Failed, Refusal::NoHandler { action }));
        }
        Ok(Accepted { question, is_late })
    }

    fn check_age(&self, since: DateTime<Utc>, now: DateTime<Utc>) -> Result<(), Declined> {
        let (window, tolerance) = (self.store.get_redelivery_window(), self.rules.verifier.get_tolerance());
        let age = Age { now, window, tolerance };
        age.check(since).map_err(|refusal| Declined::refused(Verdict::Stale, refusal))
    }

    /// The decision is completed: by this answer, or by another.
    fn decided(decision: CompletedDecision, delivery: &Delivery) -> Declined {
        if decision.fingerprint == delivery.fingerprint() {
            return Declined { verdict: Verdict::Replayed, answer: Answer::Again(decision.outcome) };
        }
        Declined::refused(Verdict::Conflict, Refusal::Conflict)
    }

    /// An answer may be faster than our own `record`.
    fn unknown(&self, first_seen: DateTime<Utc>, now: DateTime<Utc>) -> Declined {
        // The store's clock may be ahead of ours.
        let within = (now - first_seen).to_std().map_or(true, |waited| waited < self.rules.unknown_grace);
        let refusal = if within { Refusal::NotYetRecorded } else { Refusal::NotRecorded };
        Declined::refused(Verdict::Unknown, refusal)
    }

    fn check_who(&self, delivery: &Delivery, action: &Action) -> Result<(), Declined> {
        let human = delivery.answer().responder.as_ref().is_some_and(atp_core::Responder::is_human);
        if human || !self.rules.humans_only.contains(&action.id) {
            return Ok(());
        }
        Err(Declined::refused(Verdict::Forbidden, Refusal::Forbidden))
    }

    /// Whether it is late, and there is a handler for that. Judged by when the human answered, not by when that came through;
    /// where the answer does not say, by when it first came itself.
    fn check_time(
        &self,
        question: &RecordedQuestion,
        delivery: &Delivery,
        came: DateTime<Utc>,
    ) -> Result<bool, Declined> {
        let answer = delivery.answer();
        let signed = answer.responded_at.as_ref().or(answer.timestamp.as_ref());
        let answered = signed.and_then(atp_core::Timestamp::time).unwrap_or(came);
        let expired = question.notification.deadline.is_some_and(|deadline| answered > deadline);
        if !expired && question.invalidated.is_none() {
            return Ok(false);
        }
        if self.rules.late {
            return Ok(true);
        }
        let refusal = if question.invalidated.is_some() { Refusal::Invalidated } else { Refusal::Expired };
        Err(Declined::refused(Verdict::Late, refusal))
    }

    /// Answers a delivery that goes no further. What is authentic is kept and counted.
    async fn stop(&self, declined: Declined, delivery: &Delivery, clock: &Clock) -> HttpResponse {
        let Declined { verdict, answer } = declined;
        let (response, kept_as) = match answer {
            // Where the store is away there is nowhere to keep it; the server delivers it again.
            Answer::Refused(refusal @ Refusal::Store(_)) => return HttpResponse::from_error(refusal),
            Answer::Refused(refusal) => (
                HttpResponse::from_error(refusal),
                Some(verdict).filter(|verdict| *verdict != Verdict::Running),
            ),
            // What a handler refused was kept then, if that did not fail.
            Answer::Again(outcome) => {
                let kept_as = Some(outcome.verdict()).filter(|verdict| *verdict == Verdict::Refused);
                (again(outcome), kept_as)
            }
        };
        if let Some(verdict) = kept_as {
            match self.keep(delivery, verdict).await {
                Ok(is_new) => self.tell_of_conflict(delivery, verdict, is_new),
                // What cannot be kept is not refused for good.
                Err(error) => return HttpResponse::from_error(Refusal::Store(error)),
            }
        }
        self.note(delivery, verdict, response.status(), clock).await;
        response
    }

    /// Once for each answer that was signed, however often it comes.
    fn tell_of_conflict(&self, delivery: &Delivery, verdict: Verdict, is_new: bool) {
        if let (Some(hook), Verdict::Conflict, true) = (&self.rules.on_conflict, verdict, is_new) {
            hook(delivery);
        }
    }

    /// Whether it was not kept yet.
    async fn keep(&self, delivery: &Delivery, verdict: Verdict) -> Result<bool, StoreError> {
        let kept = RefusedDelivery {
            service: self.rules.service.clone(),
            notification_id: Some(delivery.answer().notification_id.clone()),
            verdict,
            scheme: delivery.scheme(),
            secret: delivery.secret(),
            signed: store::digest(delivery.bytes()),
            body: delivery.body().clone(),
        };
        match self.store.keep(&kept).await {
            // More of them would only fill the disk.
            Err(error @ StoreError::KeptEnough) => {
                if self.store.activity().may_tell() {
                    let request_id = delivery.request_id();
                    tracing::error!(target: "atp_actix", request_id, %error, "not kept");
                }
                Ok(false)
            }
            kept => kept,
        }
    }

    /// Counts the delivery, after it was answered.
    async fn note(&self, delivery: &Delivery, verdict: Verdict, status: StatusCode, clock: &Clock) {
        let answer = delivery.answer();
        let note = DeliveryCount {
            service: self.rules.service.clone(),
            notification_id: answer.notification_id.clone(),
            fingerprint: delivery.fingerprint(),
            verdict,
            count: 1,
            request_id: delivery.request_id().map(str::to_owned),
            scheme: delivery.scheme(),
            secret: delivery.secret(),
            responder: answer.responder.as_ref().map(|responder| responder.id.clone()),
            status: clock.told().unwrap_or(status).as_u16(),
            duration: clock.elapsed(),
        };
        tally::count(&self.store, note).await;
    }

    /// Extractors, claim, handler, completion.
    async fn work(
        self: Rc<Self>,
        request: ServiceRequest,
        delivery: Delivery,
        accepted: Accepted,
        clock: &Clock,
        under_way: &UnderWay,
    ) -> HttpResponse {
        let claim = self.claim(&delivery);
        match self.handle(request, &delivery, accepted, &claim).await {
            Ok((response, verdict)) => {
                self.note(&delivery, verdict, response.status(), clock).await;
                response
            }
            Err(NotHandled::Declined(stop)) => self.stop(stop, &delivery, clock).await,
            Err(NotHandled::Failed(failure)) => {
                let Failure { response, is_claimed, at_leisure } = *failure;
                let (this, clock) = (Rc::clone(&self), clock.clone());
                let status = response.status();
                let after_work = under_way.another();
                let after = async move {
                    let _until_done = after_work;
                    // Before the claim is given back, which holds it as long as it is not kept. It comes again.
                    if let Err(error) = this.keep(&delivery, Verdict::Failed).await {
                        tracing::error!(target: "atp_actix", request_id = delivery.request_id(), %error, "not kept");
                    }
                    if is_claimed {
                        this.release(&claim).await;
                    }
                    this.note(&delivery, Verdict::Failed, status, &clock).await;
                };
                if at_leisure {
                    rt::spawn(after);
                } else {
                    after.await;
                }
                response
            }
        }
    }

    fn claim(&self, delivery: &Delivery) -> Claim {
        let answer = delivery.answer();
        let data = answer.response_data.as_ref().filter(|_| self.rules.with_data);
        Claim {
            service: self.rules.service.clone(),
            notification_id: answer.notification_id.clone(),
            fingerprint: delivery.fingerprint(),
            action_id: answer.action_id.clone(),
            data: data.map(|data| data.as_str().to_owned()),
            token: Token::random(),
            lease: self.rules.lease,
            arrival: Arrival {
                request_id: delivery.request_id().map(str::to_owned),
                scheme: delivery.scheme(),
                secret: delivery.secret(),
                responder: answer.responder.as_ref().map(|responder| responder.id.clone()),
                text: delivery.bytes().clone(),
                body: delivery.body().clone(),
            },
        }
    }

    async fn release(&self, claim: &Claim) {
        // If this fails the lease ends by itself.
        if let Err(error) = self.store.release(claim).await {
            tracing::error!(target: "atp_actix", %error, "a claim was not released");
        }
    }

    /// Runs the handler and completes the claim.
    async fn handle(
        &self,
        request: ServiceRequest,
        delivery: &Delivery,
        accepted: Accepted,
        claim: &Claim,
    ) -> Result<(HttpResponse, Verdict), NotHandled> {
        let slot = self.slot(claim);
        let state = NewState(Rc::new(RefCell::new(Some(delivery.answer().action_id.clone()))));
        prepare(request.request(), accepted, &slot, &state);
        let response = self.run(request, delivery, &slot).await;
        // Whatever happened, the slot is empty from here on: what is dropped is rolled back.
        let left = slot.left();
        let is_claimed = slot.has_claim();
        let (transaction, unclean) = match left {
            AfterHandler::Nothing => (None, None),
            AfterHandler::Transaction(transaction) => (Some(transaction), None),
            AfterHandler::Unclean(error) => (None, Some(error)),
            AfterHandler::Running => {
                return Err(Declined::refused(Verdict::Running, Refusal::StillRunning).into());
            }
            AfterHandler::Completed(decision) => {
                return Err(Self::decided(decision, delivery).into());
            }
            AfterHandler::Failed(error) => return Err(Declined::failed(error).into()),
        };
        let at_leisure = unclean.is_some();
        let fail = |response| Err(NotHandled::Failed(Box::new(Failure { response, is_claimed, at_leisure })));
        let refuse = |refusal: Refusal| fail(HttpResponse::from_error(refusal));
        let HandlerReply { response, outcome, answered } = match response {
            Ok(said) => said,
            Err(refusal) => return refuse(refusal),
        };
        if let Some(error) = unclean {
            return refuse(error.into());
        }
        let status = response.status();
        if status == StatusCode::SERVICE_UNAVAILABLE || (answered && means_later(status)) {
            return fail(response);
        }
        if !answered {
            let reason = response.error().map_or_else(|| "no reason".to_owned(), log::reason);
            return refuse(Refusal::NotHandled { reason });
        }
        if !status.is_success() && !status.is_client_error() {
            return refuse(Refusal::HandlerFault("a handler answered neither a success nor an error"));
        }
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(fault) => return refuse(Refusal::HandlerFault(fault)),
        };
        let state = state.take().filter(|_| status.is_success());
        let verdict = outcome.verdict();
        let completion = Completion { outcome, state };
        let completed = match self.store.complete(claim, &completion, transaction).await {
            // It can be voided, and then there must be something to send in again.
            Ok(()) if verdict == Verdict::Refused => self.keep(delivery, verdict).await.map(drop),
            completed => completed,
        };
        match completed {
            Ok(()) => Ok((response, verdict)),
            Err(error) => {
                let response = HttpResponse::from_error(Refusal::Store(error));
                Err(NotHandled::Failed(Box::new(Failure { response, is_claimed, at_leisure: true })))
            }
        }
    }

    fn slot(&self, claim: &Claim) -> Rc<ClaimCell<S::Transaction>> {
        ClaimCell::new(OfDelivery { store: self.store.clone(), claim: claim.clone() })
    }

    /// What the handler says, to the end of its body, unless it panics or takes too long.
    async fn run(
        &self,
        request: ServiceRequest,
        delivery: &Delivery,
        slot: &ClaimCell<S::Transaction>,
    ) -> Result<HandlerReply, Refusal> {
        let call = async {
            let (http, response) = self.next.call(request).await?.into_parts();
            let answered = http.extensions_mut().remove::<HandlerRan>().is_some();
            let (response, outcome) = self.outcome(response, delivery).await;
            Ok::<_, actix_web::Error>(HandlerReply { response, outcome, answered })
        };
        let call = AssertUnwindSafe(call).catch_unwind();
        // Dropped before others may take the claim.
        let lease = self.rules.lease.mul_f32(0.9);
        let limit = self.store.transaction_limit();
        let too_long = async {
            if rt::time::timeout(lease, slot.claimed.notified()).await.is_err() {
                return Refusal::HandlerTooSlow("its extractors did not end");
            }
            let held = async {
                slot.opened.notified().await;
                match limit {
                    Some(limit) => rt::time::sleep(limit).await,
                    None => std::future::pending().await,
                }
            };
            match select(pin!(held), pin!(rt::time::sleep(lease))).await {
                Either::Left(_) => Refusal::HandlerTooSlow("its transaction was open too long"),
                Either::Right(_) => Refusal::HandlerTooSlow("its lease ended"),
            }
        };
        match first(call, too_long).await {
            Either::Left(Ok(Ok(said))) => Ok(said),
            Either::Left(Ok(Err(error))) => Err(Refusal::NotHandled { reason: log::reason(&error) }),
            Either::Left(Err(_)) => Err(Refusal::HandlerFault("a handler panicked")),
            Either::Right(refusal) => Err(refusal),
        }
    }

    /// A response with its body read, and what is recorded of it, or why it cannot be.
    async fn outcome<M: MessageBody + 'static>(
        &self,
        response: HttpResponse<M>,
        delivery: &Delivery,
    ) -> (HttpResponse, Result<Outcome, &'static str>) {
        let told = response.error().and_then(|error| ErrorReply::of(error, delivery.request_id()));
        let (response, body) = response.into_parts();
        let read = match body.size() {
            BodySize::Stream => Err("a handler answered with a stream, which cannot be recorded"),
            BodySize::Sized(size) if size > MAX_ANSWER => Err("a handler answered with more than 8 MiB"),
            _ => body::to_bytes(body).await.map_err(|_| "the body of a handler's answer failed"),
        };
        let body = match read {
            Ok(body) => body,
            Err(fault) => return (response.set_body(BoxBody::new(())), Err(fault)),
        };
        let recorded =
            told.map_or_else(|| body.clone(), |reply| reply.body(self.rules.error_body.as_ref()).into());
        let content_type = response.headers().get(header::CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let status = response.status().as_u16();
        let outcome = Outcome { status, content_type, body: recorded };
        let outcome = if outcome.body.len() <= Outcome::MAX_BODY {
            outcome
        } else if outcome.is_success() {
            Outcome { status, ..Outcome::success() }
        } else {
            Outcome { status, content_type: None, body: Bytes::new() }
        };
        (response.set_body(BoxBody::new(body)), Ok(outcome))
    }
}

/// The longest answer of a handler, in bytes: it is held in memory while its decision is completed.
const MAX_ANSWER: u64 = 8 << 20;

/// What was said in the end.
struct HandlerReply {
    response: HttpResponse,
    /// What is recorded of it.
    outcome: Result<Outcome, &'static str>,
    /// Whether the handler itself said it.
    answered: bool,
}

/// A store, and the claim of one delivery.
struct OfDelivery<S> {
    store: S,
    claim: Claim,
}

impl<S: Store> Claims<S::Transaction> for OfDelivery<S> {
    fn claim(&self) -> LocalBoxFuture<'_, Result<Claimed, StoreError>> {
        Box::pin(self.store.claim(&self.claim))
    }

    fn begin(&self) -> LocalBoxFuture<'_, Result<Claimed<S::Transaction>, StoreError>> {
        Box::pin(self.store.begin(&self.claim))
    }

    fn resume(&self) -> LocalBoxFuture<'_, Result<S::Transaction, StoreError>> {
        Box::pin(self.store.resume(&self.claim))
    }
}

/// What is not handled in the end.
enum NotHandled {
    /// Somebody else has the claim.
    Declined(Declined),
    Failed(Box<Failure>),
}

struct Failure {
    response: HttpResponse,
    /// Whether there is a claim to give back.
    is_claimed: bool,
    /// Whether that may take long: the store failed, or somebody still holds the transaction.
    at_leisure: bool,
}

impl From<Declined> for NotHandled {
    fn from(declined: Declined) -> Self {
        Self::Declined(declined)
    }
}

/// Whether a handler says that it could not do its work now, so that the delivery is to come again.
fn means_later(status: StatusCode) -> bool {
    // Too Early has no name yet in the `http` of actix.
    status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429)
}

/// When a delivery came, and what its sender was told before its work was done.
#[derive(Clone)]
struct Clock {
    started: Instant,
    told: Rc<Cell<Option<StatusCode>>>,
}

impl Clock {
    fn start() -> Self {
        Self { started: Instant::now(), told: Rc::default() }
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn sender_was_told(&self, status: StatusCode) {
        self.told.set(Some(status));
    }

    fn told(&self) -> Option<StatusCode> {
        self.told.get()
    }
}

/// The first of two to end.
async fn first<A: Future, B: Future>(one: A, other: B) -> Either<A::Output, B::Output> {
    match select(pin!(one), pin!(other)).await {
        Either::Left((output, _)) => Either::Left(output),
        Either::Right((output, _)) => Either::Right(output),
    }
}

/// What the extractors of this crate find in the request.
fn prepare<T: 'static>(request: &HttpRequest, accepted: Accepted, slot: &Rc<ClaimCell<T>>, state: &NewState) {
    let mut extensions = request.extensions_mut();
    extensions.insert(Rc::new(accepted.question));
    extensions.insert(Rc::clone(slot));
    let claiming: Rc<dyn Claiming> = Rc::<ClaimCell<T>>::clone(slot);
    extensions.insert(claiming);
    extensions.insert(state.clone());
    if accepted.is_late {
        extensions.insert(Late);
    }
}

/// A recorded outcome, as a response.
fn again(outcome: Outcome) -> HttpResponse {
    let Outcome { status, content_type, body } = outcome;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let mut response = HttpResponse::with_body(status, BoxBody::new(body));
    response.extensions_mut().insert(log::Replayed);
    let content_type = content_type.and_then(|text| HeaderValue::try_from(text).ok());
    if let Some(content_type) = content_type {
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    }
    response
}
