//! The middleware: nothing passes that was not signed.

use std::{
    future::{Ready, ready},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use actix_web::{
    HttpMessage as _,
    body::{BoxBody, EitherBody, MessageBody},
    dev::{Payload, Service, ServiceRequest, ServiceResponse, Transform},
    error::InternalError,
    http::{
        ConnectionType, Method,
        header::{self, HeaderMap, HeaderValue},
    },
};
use atp_core::{Malformed, RedriveError, Redriving, Scheme, Verification, Verified, Verifier, VerifyError};
use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use futures_util::{
    future::{BoxFuture, LocalBoxFuture},
    stream,
};
use serde_json::Value;
use tracing::{Instrument as _, Span, field::Empty};

use crate::{
    age::Age,
    body::{self, RefusalBody},
    delivery::Delivery,
    explain::explain,
    head,
    limits::{DEFAULT_BODY, DEFAULT_BODY_WITHIN},
    refusal::Refusal,
    reply::{ErrorBody, ErrorReply},
    report::{Cause, Observer, Report, verdict_of},
    reporter::{PendingReport, Reporter},
    store::{DEFAULT_SERVICE, RefusedDelivery, StoreError, Token, Verdict},
    times::Times,
};

/// Lets a request pass only if it carries a signed answer, and leaves a [`Delivery`] for guards and
/// extractors.
///
/// It wraps any resource, scope or app; [`Webhook`](crate::Webhook) wraps itself. Behind it
/// `web::Bytes` and `web::Json` see the text that was signed; they have limits of their own
/// (`web::PayloadConfig`, `web::JsonConfig`), and a canonical text may be six times as long as the
/// body, so raise those, or take [`AtpResponse`](crate::AtpResponse), which has none. Everything is
/// refused with a response, never an error, so that middleware outside of it runs as ever.
///
/// Middleware around an `App` or a `Scope` must not keep a clone of the `HttpRequest` while it
/// calls on: actix's own router panics then, whatever is mounted. Around a resource it may.
///
/// ```
/// use actix_web::{App, test, web};
/// use atp_actix::{AtpResponse, Secret, Text, Verifier, VerifySignature, test::Sender};
///
/// # #[actix_web::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let secret = "whsec_0123456789abcdef0123456789abcdef";
/// let verifier = Verifier::new(Secret::new(secret)?);
/// let app = test::init_service(App::new().service(
///     web::resource("/answers")
///         .wrap(VerifySignature::new(verifier))
///         .to(|answer: AtpResponse<Text>| async move { answer.data.to_uppercase() }),
/// ))
/// .await;
///
/// let request = Sender::new(secret).answer("n-1", "comment", "looks good");
/// let body = test::call_and_read_body(&app, request.post_to("/answers").to_request()).await;
/// assert_eq!(body, "LOOKS GOOD");
///
/// let status = test::call_service(&app, request.forged().post_to("/answers").to_request()).await.status();
/// assert_eq!(status, 401);
/// # Ok(())
/// # }
/// ```
///
/// # How defaults were chosen
///
/// * `limit`, 256 KiB: actix's own for a body. A form or a long text is far below; raise it for
///   files.
/// * `body_within`, 3 s: a sender waits 5 s for the whole answer.
#[derive(Clone)]
pub struct VerifySignature {
    verifier: Verifier,
    limit: usize,
    body_within: Duration,
    error_body: Option<ErrorBody>,
    observer: Option<Observer>,
    service: Arc<str>,
    kept: Option<Arc<dyn RefusalStore>>,
}

/// What a store does for verification.
pub(crate) trait RefusalStore: Send + Sync {
    /// Keeps what is authentic and no answer.
    fn keep(&self, kept: RefusedDelivery) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Whether the token of a redrive was there to be used; it is not any more.
    fn redeem(&self, id: i64, token: Token) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// [`Store::get_redelivery_window`](crate::store::Store::get_redelivery_window).
    fn redelivery_window(&self) -> Duration;

    /// [`Store::fingerprint_key`](crate::store::Store::fingerprint_key).
    fn fingerprint_key(&self) -> [u8; 32];
}

impl VerifySignature {
    /// The longest body, in bytes, unless set.
    pub const DEFAULT_LIMIT: usize = DEFAULT_BODY;
    /// The time that a body may take to arrive, unless set.
    pub const DEFAULT_BODY_WITHIN: Duration = DEFAULT_BODY_WITHIN;

    /// Checks with this verifier.
    #[must_use]
    pub fn new(verifier: Verifier) -> Self {
        Self {
            verifier,
            limit: Self::DEFAULT_LIMIT,
            body_within: Self::DEFAULT_BODY_WITHIN,
            error_body: None,
            observer: None,
            service: DEFAULT_SERVICE.into(),
            kept: None,
        }
    }

    /// Sets the longest body, in bytes; [`VerifySignature::DEFAULT_LIMIT`] unless set.
    ///
    /// After a refusal with the body unread, actix goes on discarding what comes for its
    /// `client_disconnect_timeout`, one second: set it to 0 on your `HttpServer` if strangers may
    /// send gigabytes.
    ///
    /// In the worst case, a body of nothing but the shortest members, thirty times the body is held
    /// in memory while it is read, signed or not. With all schemes accepted the worst body that was
    /// found takes up to 60 µs of a core for each KiB before it is refused (numbers, or members
    /// that are repeated); to pin the timestamped or the raw scheme ([`Verifier::schemes`]) leaves
    /// one hash, 1 µs a KiB, for each secret.
    #[must_use]
    pub fn limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// Sets the time that a body may take to arrive; [`VerifySignature::DEFAULT_BODY_WITHIN`]
    /// unless set. A body that takes longer is answered 408.
    #[must_use]
    pub fn body_within(mut self, time: Duration) -> Self {
        self.body_within = time;
        self
    }

    /// Makes the JSON body of refusals; [`ErrorReply::json`] unless set. The status stays what it
    /// is.
    #[must_use]
    pub fn error_body(mut self, body: impl Fn(&ErrorReply) -> Value + Send + Sync + 'static) -> Self {
        self.error_body = Some(Arc::new(body));
        self
    }

    /// Is told of every request what became of it, in one [`Report`] each: for metrics. It is
    /// called on the worker's thread, for what strangers send too, so it should be quick; a second
    /// one takes the place of the first. If it panics, the delivery goes on as if it had not.
    ///
    /// Together with the log it is all that is told of a delivery; the log holds back what comes in
    /// masses, and this does not.
    #[must_use]
    pub fn observe(mut self, observer: impl Fn(&Report<'_>) + Send + Sync + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    pub(crate) fn get_limit(&self) -> usize {
        self.limit
    }

    /// For a webhook with a store.
    pub(crate) fn remembering(self, keeper: Arc<dyn RefusalStore>) -> Self {
        Self { verifier: self.verifier.any_age(), kept: Some(keeper), ..self }
    }

    pub(crate) fn service(self, name: &str) -> Self {
        Self { service: name.into(), ..self }
    }

    pub(crate) fn get_error_body(&self) -> Option<ErrorBody> {
        self.error_body.clone()
    }
}

impl<S, B> Transform<S, ServiceRequest> for VerifySignature
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B, RefusalBody>>;
    type Error = actix_web::Error;
    type Transform = Verifying<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        #[cfg(feature = "metrics")]
        crate::metrics::describe();
        let reporter = Reporter::new(self.observer.clone());
        ready(Ok(Verifying(Rc::new(Inner { service, settings: self.clone(), reporter }))))
    }
}

/// The service that [`VerifySignature`] makes.
pub struct Verifying<S>(Rc<Inner<S>>);

struct Inner<S> {
    service: S,
    settings: VerifySignature,
    reporter: Rc<Reporter>,
}

impl<S, B> Service<ServiceRequest> for Verifying<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B, RefusalBody>>;
    type Error = actix_web::Error;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.service.poll_ready(cx)
    }

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let inner = Rc::clone(&self.0);
        Box::pin(async move {
            let started = Instant::now();
            let (request, delivery) = match inner.settings.verify(request).await {
                Ok(verified) => verified,
                Err(refused) => {
                    inner.report_refused(&refused, started);
                    return Ok(inner.settings.refuse(*refused));
                }
            };
            let times = Times::default();
            times.verified(started, &inner.settings.verifier);
            times.leave_in(request.request());
            let mut pending = PendingReport::new(&inner.reporter, started, times);
            // With a store more is known of a delivery than its response says.
            if inner.settings.kept.is_some() {
                pending.offer(request.request());
            }
            let span = span(&delivery);
            let answered = inner.service.call(request).instrument(span.clone()).await;
            let _reported_in_it = span.enter();
            match answered {
                Ok(response) => {
                    if !pending.is_taken() {
                        let verdict = verdict_of(response.status());
                        pending.of_response(&delivery, verdict, response.response());
                    }
                    Ok(inner.settings.finish(response, &delivery))
                }
                // Middleware behind this one gave up without a response; no request is left to make
                // one for.
                Err(error) => {
                    if !pending.is_taken() {
                        let verdict = verdict_of(error.as_response_error().status_code());
                        pending.of_error(&delivery, verdict, &error);
                    }
                    Err(inner.settings.finish_error(error, &delivery))
                }
            }
        })
    }
}

/// The span of a delivery, in which it is handled. Whoever knows the decision records it.
fn span(delivery: &Delivery) -> Span {
    let answer = delivery.answer();
    tracing::info_span!(
        target: "atp_actix::delivery",
        "delivery",
        notification_id = answer.notification_id,
        action_id = answer.action_id,
        decision_id = Empty,
    )
}

impl<S> Inner<S> {
    /// Reports a request that goes no further than verification.
    fn report_refused(&self, refused: &RefusedRequest, started: Instant) {
        let RefusedRequest { request, refusal, body } = refused;
        let status = refusal.status();
        let verdict = match refusal {
            refusal if !refusal.is_authentic() => None,
            Refusal::SignedTime(_) | Refusal::Stale { .. } | Refusal::Ahead { .. } => Some(Verdict::Stale),
            _ => Some(Verdict::Malformed),
        };
        let report = Report {
            service: &self.settings.service,
            delivery: None,
            request_id: head::request_id(request.headers()),
            verdict,
            status,
            told: status,
            duration: started.elapsed(),
            cause: Cause::Refusal(refusal),
            times: Times::default(),
        };
        let is_logged = self.reporter.tell(&report);
        if let (true, Refusal::Signature(_), Some(body)) = (is_logged, refusal, body) {
            explain(&self.settings.verifier, request.headers(), body);
        }
    }
}

/// Why a body may be believed.
#[allow(clippy::large_enum_variant, reason = "it is moved once, and the large one is the usual one")]
enum Proof {
    Signature(Verification),
    Token { redriving: Redriving, keeper: Arc<dyn RefusalStore>, body: BytesMut },
}

impl Proof {
    fn update(&mut self, chunk: Bytes) {
        match self {
            Self::Signature(verification) => verification.update(chunk),
            Self::Token { body, .. } => body.extend_from_slice(&chunk),
        }
    }

    fn body(&mut self) -> Bytes {
        match self {
            Self::Signature(verification) => verification.body(),
            Self::Token { body, .. } => std::mem::take(body).freeze(),
        }
    }
}

/// Why a delivery was not read.
enum NotRead {
    Refused(Refusal),
    Malformed(Box<MalformedDelivery>),
}

impl From<Refusal> for NotRead {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// What was signed and is no answer.
struct MalformedDelivery {
    malformed: Malformed,
    scheme: Scheme,
    secret: usize,
    text: Bytes,
    signed_at: Option<DateTime<Utc>>,
}

/// A request that was refused, with what is left of it.
struct RefusedRequest {
    request: ServiceRequest,
    refusal: Refusal,
    /// The body, if it was read to its end.
    body: Option<Bytes>,
}

impl VerifySignature {
    /// Head, body, verdict, parse: the request as it goes on, and what is known of it.
    async fn verify(
        &self,
        request: ServiceRequest,
    ) -> Result<(ServiceRequest, Delivery), Box<RefusedRequest>> {
        let refused = |request, refusal, body| Box::new(RefusedRequest { request, refusal, body });
        let mut proof = match self.head(&request) {
            Ok(proof) => proof,
            Err(refusal) => return Err(refused(request, refusal, None)),
        };
        let (request, mut payload) = request.into_parts();
        let read = body::read(&mut payload, self.limit, self.body_within, |chunk| proof.update(chunk)).await;
        if let Err(refusal) = read {
            return Err(refused(ServiceRequest::from_parts(request, payload), refusal, None));
        }
        let body = proof.body();
        // What waits for a store is rare, and has a future of its own: this one is made for every
        // request, and what is moved into it costs more than its work.
        let read = match proof {
            Proof::Signature(verification) => match verification.finish() {
                Ok(verified) => self.read(verified, &body, request.headers(), false),
                Err(error) => Err(NotRead::Refused(Refusal::of_verdict(error))),
            },
            Proof::Token { redriving, keeper, .. } => {
                Box::pin(self.redeem(redriving, keeper, &body, request.headers())).await
            }
        };
        let delivery = match read {
            Ok(delivery) => Ok(delivery),
            Err(NotRead::Refused(refusal)) => Err(refusal),
            Err(NotRead::Malformed(malformed)) => Err(Box::pin(self.keep(*malformed, &body)).await),
        };
        let mut request = ServiceRequest::from_parts(request, Payload::None);
        match delivery {
            Ok(delivery) => {
                put_back(&mut request, &delivery);
                Ok((request, delivery))
            }
            Err(refusal) => Err(refused(request, refusal, Some(body))),
        }
    }

    /// Whether it is what our own store kept. The token of a redrive that was used is no reason to
    /// refuse a good signature beside it.
    async fn redeem(
        &self,
        redriving: Redriving,
        keeper: Arc<dyn RefusalStore>,
        body: &Bytes,
        headers: &HeaderMap,
    ) -> Result<Delivery, NotRead> {
        let (id, token) = (redriving.id(), Token::from_bytes(redriving.nonce()));
        let verified = redriving.verify(body.clone()).map_err(Refusal::of_verdict)?;
        let is_unused = keeper.redeem(id, token).await.map_err(Refusal::NotRedeemed)?;
        if is_unused {
            return self.read(verified, body, headers, true);
        }
        match self.verifier.verify(head::signatures(headers), body.clone()) {
            Err(VerifyError::NoSignature) => Err(Refusal::RedriveUsed.into()),
            verdict => self.read(verdict.map_err(Refusal::of_verdict)?, body, headers, false),
        }
    }

    /// Reads what was verified.
    fn read(
        &self,
        verified: Verified,
        body: &Bytes,
        headers: &HeaderMap,
        is_redriven: bool,
    ) -> Result<Delivery, NotRead> {
        let (scheme, secret) = (verified.scheme(), verified.secret_index());
        let (text, signed_at) = (verified.signed_text().clone(), verified.signed_at());
        let key = self.kept.as_ref().map(|keeper| keeper.fingerprint_key());
        let request_id = head::request_id(headers);
        let delivery = Delivery::new(verified, body.clone(), request_id, &self.service, key, is_redriven);
        delivery.map_err(|malformed| {
            NotRead::Malformed(Box::new(MalformedDelivery { malformed, scheme, secret, text, signed_at }))
        })
    }

    /// Keeps what was signed and is no answer, where there is a store. Says why it is refused.
    async fn keep(&self, delivery: MalformedDelivery, body: &Bytes) -> Refusal {
        let MalformedDelivery { malformed, scheme, secret, text, signed_at } = delivery;
        // What was signed may be an answer: then it is kept when it comes as it was sent.
        let Some(keeper) = self.kept.as_ref().filter(|_| malformed.is_signed()) else {
            return Refusal::Malformed(malformed);
        };
        let (window, tolerance) = (keeper.redelivery_window(), self.verifier.get_tolerance());
        let age = Age { now: self.verifier.now(), window, tolerance };
        let in_time = signed_at.map_or(Ok(()), |signed_at| age.check(signed_at));
        let (verdict, refusal) = match in_time {
            Ok(()) => (Verdict::Malformed, Refusal::Malformed(malformed)),
            Err(refusal) => (Verdict::Stale, refusal),
        };
        let service = self.service.as_ref();
        let refused = RefusedDelivery::new(service, verdict, scheme, secret, &text, body.clone());
        keeper.keep(refused).await.err().map_or(refusal, Refusal::from)
    }

    /// All that can be refused before a chunk of the body is polled.
    fn head(&self, request: &ServiceRequest) -> Result<Proof, Refusal> {
        if request.method() != Method::POST {
            return Err(Refusal::Method);
        }
        let headers = request.headers();
        let mut proof = self.proof(headers)?;
        head::check_media_type(headers)?;
        let announced = head::announced_len(headers);
        if announced.is_some_and(|announced| announced > self.limit) {
            return Err(Refusal::TooLarge { limit: self.limit });
        }
        if let (Proof::Signature(verification), Some(announced)) = (&mut proof, announced) {
            verification.expect_len(announced);
        }
        Ok(proof)
    }

    /// A signature; or, where there is a store, the token of a body that it kept. One that is not
    /// this service's counts for nothing, and all that in memory.
    fn proof(&self, headers: &HeaderMap) -> Result<Proof, Refusal> {
        let bad_token = match (self.token(headers), &self.kept) {
            (Ok(Some(redriving)), Some(keeper)) => {
                return Ok(Proof::Token { redriving, keeper: Arc::clone(keeper), body: BytesMut::new() });
            }
            (token, _) => token.err(),
        };
        match (self.verifier.begin(head::signatures(headers)), bad_token) {
            (Ok(verification), _) => Ok(Proof::Signature(verification)),
            (Err(VerifyError::NoSignature), Some(error)) => Err(Refusal::Redrive(error)),
            (Err(error), _) => Err(error.into()),
        }
    }

    /// The token of a redrive, if there is one header for it and a store that could have made it.
    fn token(&self, headers: &HeaderMap) -> Result<Option<Redriving>, RedriveError> {
        let Some(token) = self.kept.as_ref().and_then(|_| head::redrive_token(headers)) else {
            return Ok(None);
        };
        self.verifier.admit_redrive(token, &self.service, self.verifier.now()).map(Some)
    }

    /// The answer to a request that goes no further. What was not read of it is held until the
    /// answer is sent.
    fn refuse<B>(&self, refused: RefusedRequest) -> ServiceResponse<EitherBody<B, RefusalBody>> {
        let (request, payload) = refused.request.into_parts();
        let unread = !matches!(payload, Payload::None);
        let reply = refused.refusal.reply();
        let mut response = reply.response(RefusalBody::new(self.body(&reply), payload));
        if unread {
            response.head_mut().set_connection_type(ConnectionType::Close);
        }
        ServiceResponse::new(request, response.map_body(|_, body| EitherBody::right(body)))
    }

    /// The answer of what was behind. Where that is a refusal of ours, its body can say more now:
    /// the request id.
    fn finish<B>(
        &self,
        response: ServiceResponse<B>,
        delivery: &Delivery,
    ) -> ServiceResponse<EitherBody<B, RefusalBody>> {
        let Some(reply) = ErrorReply::of(response.response(), delivery.request_id()) else {
            return response.map_into_left_body();
        };
        let body = RefusalBody::new(self.body(&reply), Payload::None);
        let mut response = response.map_body(|_, _| EitherBody::right(body));
        let headers = response.headers_mut();
        // Of the body that is gone.
        headers.remove(header::CONTENT_ENCODING);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }

    /// [`VerifySignature::finish`], of an error.
    fn finish_error(&self, error: actix_web::Error, delivery: &Delivery) -> actix_web::Error {
        match ErrorReply::of(&error.error_response(), delivery.request_id()) {
            Some(reply) => {
                let response = reply.response(BoxBody::new(self.body(&reply)));
                InternalError::from_response(error, response).into()
            }
            None => error,
        }
    }

    fn body(&self, reply: &ErrorReply) -> String {
        reply.body(self.error_body.as_ref())
    }
}

/// Gives the signed text to what is behind, as if it had been the body.
///
/// The headers stay as they came: middleware outside may hold the request, and then nobody can
/// alter them. So `Content-Length` is that of the body as it came; actix's extractors read to the
/// end whatever it says.
fn put_back(request: &mut ServiceRequest, delivery: &Delivery) {
    let text = delivery.signed_text().clone();
    request.set_payload(Payload::Stream { payload: Box::pin(stream::once(ready(Ok(text)))) });
    request.extensions_mut().insert(delivery.clone());
}
