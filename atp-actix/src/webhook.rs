//! The mountable webhook: one path, one handler an action.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Once},
    time::Duration,
};

use actix_web::{
    FromRequest, Handler, HttpResponse, Resource, Responder,
    body::MessageBody,
    dev::{AppService, HttpServiceFactory, ServiceRequest, ServiceResponse},
    middleware::{Next, from_fn},
    web,
};
use atp_core::Verifier;
use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::{
    decide::{
        Decide, Settings,
        judge::{Rules, may_decide},
    },
    decisions::Decisions,
    delivery::Delivery,
    guard::Action,
    handler::Placed,
    limits::CANONICAL_PER_BODY,
    mounted,
    refusal::Refusal,
    reply::ErrorReply,
    report::Report,
    store::{RefusedDelivery, Store, StoreError, Token},
    verify::{RefusalStore, VerifySignature},
};

/// A webhook that an ATP server posts answers to: verified, then routed by action.
///
/// It mounts wherever a resource does, in an `App`, a `Scope` or a `ServiceConfig`. Handlers are
/// any actix handlers with any extractors. What they return is the answer; one with nothing to say
/// returns `Result<(), E>`, and an empty success becomes 200 `{"status":"success"}`.
///
/// ```
/// use actix_web::{App, test};
/// use atp_actix::{AtpResponse, Error, Secret, Simple, Text, Verifier, Webhook, test::Sender};
///
/// async fn approve(answer: AtpResponse<Simple>) -> Result<(), Error> {
///     assert_eq!(answer.notification_id, "n-1");
///     Ok(())
/// }
///
/// async fn reject(reason: AtpResponse<Text>) -> String {
///     format!("rejected: {}", reason.data)
/// }
///
/// # #[actix_web::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let secret = "whsec_0123456789abcdef0123456789abcdef";
/// let verifier = Verifier::new(Secret::new(secret)?);
/// let webhook = Webhook::new("/atp/webhook", verifier).on("approve", approve).on("reject", reject);
/// let app = test::init_service(App::new().service(webhook)).await;
///
/// let request = Sender::new(secret).answer("n-1", "approve", ()).post_to("/atp/webhook").to_request();
/// assert_eq!(test::call_and_read_body(&app, request).await, r#"{"status":"success"}"#);
///
/// let request = Sender::new(secret).answer("n-1", "reject", "too risky").post_to("/atp/webhook").to_request();
/// assert_eq!(test::call_and_read_body(&app, request).await, "rejected: too risky");
/// # Ok(())
/// # }
/// ```
///
/// actix builds an `App` once a worker, so build the `Webhook` inside the closure, from parts that
/// are made outside and cloned.
///
/// Without [`Webhook::store`] nothing is remembered: a delivery that comes twice runs its handler
/// twice, so a handler must be idempotent. With a store a decision takes effect once.
///
/// # What is answered
///
/// | case | status |
/// |---|---|
/// | handled | the handler's; an empty success becomes 200 `{"status":"success"}` |
/// | signature missing, malformed, wrong or outside its time | 401 `{"error":"Invalid signature"}`, never which |
/// | wrong method, media type or encoding, too large, too slow, broken off | 405, 415, 415, 413, 408, 400 |
/// | signed, but no answer | 400 `MALFORMED_PAYLOAD` |
/// | without a store: data that does not fit the handler's type | 400 `INVALID_RESPONSE_DATA` |
/// | an agent, where [`Webhook::humans_only`] says so | 403 `NOTIFICATION_ACCESS_DENIED` |
/// | `?` in a handler that returns `Result<_, Error>` | 503 with `Retry-After`, so that the server delivers again |
/// | an action without a handler | 500: the handler may be deployed a minute later |
///
/// With a store there is more, see [`Webhook::store`]. [`Refusal`] is the whole table.
///
/// # Panics
/// When it is mounted in an `App` where another webhook has the same path, since that would get all
/// that comes there. Within a scope that is not seen.
#[must_use = "a webhook does nothing until it is mounted with `.service(..)`"]
pub struct Webhook {
    path: String,
    verifier: Verifier,
    verify: VerifySignature,
    actions: HashMap<String, Placed>,
    otherwise: Option<Placed>,
    humans_only: HashSet<String>,
    mount: Option<Mount>,
}

/// Mounts a webhook with a store.
type Mount = Box<dyn FnOnce(Webhook, &mut AppService)>;

impl Webhook {
    /// A webhook at a path, without handlers yet.
    ///
    /// The path may hold parameters where there is no store. No signature covers it, so a parameter
    /// cannot say whose question is answered.
    pub fn new(path: impl Into<String>, verifier: Verifier) -> Self {
        Self {
            path: path.into(),
            verify: VerifySignature::new(verifier.clone()),
            verifier,
            actions: HashMap::new(),
            otherwise: None,
            humans_only: HashSet::new(),
            mount: None,
        }
    }

    /// Remembers in this store: every decision takes effect once. It takes a store, or
    /// [`Decisions`] with settings.
    ///
    /// Each question must be recorded before it is sent ([`Store::record`]); an answer to any other
    /// is refused. From then on a delivery that comes twice runs its handler once, and gets the
    /// same answer again.
    ///
    /// ```
    /// use actix_web::{App, test};
    /// use atp_actix::{
    ///     AtpResponse, Correlation, Error, Secret, Simple, Verifier, Webhook,
    ///     atp_core::{Action, Notification},
    ///     store::{MemoryStore, Question, Store},
    ///     test::Sender,
    /// };
    ///
    /// async fn approve(_: AtpResponse<Simple>, origin: Correlation) -> Result<String, Error> {
    ///     Ok(format!("approved for {}", origin.user_id.as_deref().unwrap_or("nobody")))
    /// }
    ///
    /// # #[actix_web::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = MemoryStore::new();
    /// let notification = Notification::new("Deploy?", "Version 2.1.0 is ready.").id("n-1");
    /// let notification = notification.action(Action::simple("approve", "Approve"));
    /// store.record(&Question::new(notification).user_id("user_9")).await?;
    ///
    /// let secret = "whsec_0123456789abcdef0123456789abcdef";
    /// let webhook = Webhook::new("/atp", Verifier::new(Secret::new(secret)?)).store(store).on("approve", approve);
    /// let app = test::init_service(App::new().service(webhook)).await;
    /// let answer = Sender::new(secret).answer("n-1", "approve", ());
    /// for _ in 0..2 {
    ///     let body = test::call_and_read_body(&app, answer.post_to("/atp").to_request()).await;
    ///     assert_eq!(body, "approved for user_9");
    /// }
    /// let other = Sender::new(secret).answer("n-2", "approve", ());
    /// assert_eq!(test::call_service(&app, other.post_to("/atp").to_request()).await.status(), 503);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # What is answered
    ///
    /// A delivery that was verified is answered by the first line that fits:
    ///
    /// | case | answer |
    /// |---|---|
    /// | its decision is completed, by the same answer | the recorded outcome |
    /// | its decision is completed, by another answer, which took effect | 409 `NOTIFICATION_ALREADY_RESPONDED` |
    /// | its decision is completed, by another answer, which was refused | 409 `ALREADY_REFUSED` |
    /// | signed longer ago than the redelivery window, or in the future | 401 |
    /// | the notification is not recorded, for [`Decisions::unknown_grace`] | 503 |
    /// | the notification is not recorded, after that | 404 `NOTIFICATION_NOT_FOUND` |
    /// | an action that the question lacks | 400 `INVALID_ACTION_ID` |
    /// | data that does not fit the action as it was sent | 400 `INVALID_RESPONSE_DATA` |
    /// | an agent, where [`Webhook::humans_only`] says so | 403 `NOTIFICATION_ACCESS_DENIED` |
    /// | answered after the deadline, with a handler of late answers | that handler's |
    /// | taken back | 409 `NOTIFICATION_INVALIDATED` |
    /// | answered after the deadline | 409 `NOTIFICATION_EXPIRED` |
    /// | no handler for the action | 500 |
    /// | being handled, or not done within [`Decisions::respond_within`] | 503; the handler goes on, the retry finds what it said |
    /// | handled | the handler's: [`ErrorReply`] tells what of it is final |
    /// | the store is away, cannot keep what is refused, or is being closed | 503 |
    ///
    /// The same answer is the same action and data, numbers compared as decimals: times, responder
    /// and unknown members do not count. Whatever is refused though it was signed is kept:
    /// [`Store::refused`]. Of all refusals a handler's own 4xx alone closes the question.
    ///
    /// # Panics
    /// When it is mounted, if the service was mounted on this store with other secrets, or if the
    /// path has a parameter: that would answer one service's questions at another's path. Behind a
    /// scope whose path has one every delivery is answered 500.
    pub fn store<S: Store>(mut self, decisions: impl Into<Decisions<S>>) -> Self {
        let decisions = decisions.into();
        self.mount = Some(Box::new(move |webhook, config| webhook.mount_with(decisions, config)));
        self
    }

    /// Accepts this action from humans only: an agent's answer, or one that does not say who
    /// answered, is 403.
    ///
    /// # Panics
    /// When it is mounted, if no handler was given for the action with [`Webhook::on`].
    pub fn humans_only(mut self, action_id: impl Into<String>) -> Self {
        self.humans_only.insert(action_id.into());
        self
    }

    /// Handles the answers that chose this action.
    ///
    /// What a handler returns is the answer. In a webhook with a store a success and a 4xx are
    /// final: they are recorded, and whoever delivers again gets them again. [`ErrorReply`] tells
    /// how a 4xx leaves the question open.
    ///
    /// # Panics
    /// If the action has a handler already; the message names both places. It happens when the
    /// server starts.
    #[track_caller]
    pub fn on<F, Args>(mut self, action_id: impl Into<String>, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        let action_id = action_id.into();
        let (what, guard) = (format!("the action `{action_id}`"), Action::new(&*action_id));
        let placed = Placed::new(&what, self.actions.get(&action_id), Some(guard), handler);
        self.actions.insert(action_id, placed);
        self
    }

    /// Handles the answers that chose any other action. Unless set they are answered 500, and the
    /// log says so: the handler may be deployed a minute later, and then the server's next delivery
    /// finds it.
    ///
    /// # Panics
    /// If it is set already; the message names both places.
    #[track_caller]
    pub fn otherwise<F, Args>(mut self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        let placed = Placed::new("`otherwise`", self.otherwise.as_ref(), None::<Action>, handler);
        self.otherwise = Some(placed);
        self
    }

    /// Is told of every request what became of it, in one [`Report`] each: for metrics. It is
    /// called on the worker's thread, for what strangers send too, so it should be quick; a second
    /// one takes the place of the first. If it panics, the delivery goes on as if it had not.
    pub fn observe(mut self, observer: impl Fn(&Report<'_>) + Send + Sync + 'static) -> Self {
        self.verify = self.verify.observe(observer);
        self
    }

    /// Sets the longest body, in bytes, also for `web::Bytes` and `web::Json` in handlers;
    /// [`VerifySignature::DEFAULT_LIMIT`] unless set.
    pub fn limit(mut self, bytes: usize) -> Self {
        self.verify = self.verify.limit(bytes);
        self
    }

    /// Sets the time that a body may take to arrive; [`VerifySignature::DEFAULT_BODY_WITHIN`]
    /// unless set.
    pub fn body_within(mut self, time: Duration) -> Self {
        self.verify = self.verify.body_within(time);
        self
    }

    /// Makes the JSON body of refusals; [`ErrorReply::json`] unless set. The status stays what it
    /// is.
    pub fn error_body(mut self, body: impl Fn(&ErrorReply) -> Value + Send + Sync + 'static) -> Self {
        self.verify = self.verify.error_body(body);
        self
    }

    /// Mounts the routes of these handlers, those of late answers first: their action may have a
    /// handler of its own.
    fn resource(&mut self, late: Option<Placed>) -> Resource {
        let limit = self.verify.get_limit().saturating_mul(CANONICAL_PER_BODY);
        let resource = Resource::new(&*self.path)
            .app_data(web::PayloadConfig::new(limit))
            .app_data(web::JsonConfig::default().limit(limit));
        let placed = late.into_iter().chain(self.actions.drain().map(|(_, placed)| placed));
        let resource = placed.fold(resource, |resource, placed| resource.route(placed.route));
        let otherwise = self.otherwise.take();
        resource.route(otherwise.map_or_else(|| web::route().to(no_handler), |placed| placed.route))
    }

    fn mount_with<S: Store>(mut self, decisions: Decisions<S>, config: &mut AppService) {
        // A tail need not have a name.
        if self.path.contains('{') || self.path.ends_with('*') {
            path_with_parameter(&self.path);
        }
        if !decisions.store.get_activity().admits(&decisions.service, &self.verifier) {
            other_secrets(&decisions.service);
        }
        let settings = Settings {
            rules: Rules {
                humans_only: self.humans_only.clone(),
                actions: self.actions.keys().cloned().collect(),
                has_otherwise: self.otherwise.is_some(),
                ..decisions.rules(&self.verifier)
            },
            service: decisions.service.clone(),
            respond_within: decisions.respond_within,
            lease: decisions.lease,
            with_data: decisions.with_data,
            on_conflict: decisions.on_conflict,
            traceparent: decisions.traceparent,
            error_body: self.verify.get_error_body(),
            verifier: self.verifier.clone(),
        };
        let Decisions { store, service, late, .. } = decisions;
        let resource = self.resource(late);
        let refusals = RefusalsOf { store: store.clone(), service: service.clone() };
        let verify = self.verify.service(&service).remembering(Arc::new(refusals));
        let decide = Decide { store, settings: Arc::new(settings) };
        resource.wrap(decide).wrap(verify).register(config);
    }

    fn mount_without(mut self, config: &mut AppService) {
        say_that_nothing_is_remembered();
        let resource = self.resource(None);
        if self.humans_only.is_empty() {
            return resource.wrap(self.verify).register(config);
        }
        let humans_only = Arc::new(self.humans_only);
        let check = from_fn(move |request, next| check_responder(Arc::clone(&humans_only), request, next));
        resource.wrap(check).wrap(self.verify).register(config);
    }
}

impl HttpServiceFactory for Webhook {
    fn register(mut self, config: &mut AppService) {
        if mounted::is_second_at(&self.path, config) {
            mounted_twice(&self.path);
        }
        if let Some(action) = self.humans_only.iter().find(|action| !self.actions.contains_key(*action)) {
            no_such_action(action);
        }
        match self.mount.take() {
            Some(mount) => mount(self, config),
            None => self.mount_without(config),
        }
    }
}

/// Who may decide, where no store is asked before.
async fn check_responder<B: MessageBody + 'static>(
    humans_only: Arc<HashSet<String>>,
    request: ServiceRequest,
    next: Next<B>,
) -> actix_web::Result<ServiceResponse<impl MessageBody>> {
    let delivery = Delivery::of(request.request(), "Webhook")?;
    if may_decide(&humans_only, delivery.answer()) {
        return Ok(next.call(request).await?.map_into_left_body());
    }
    let response = HttpResponse::from_error(Refusal::Forbidden);
    Ok(request.into_response(response).map_into_right_body())
}

/// Once, and not once a worker.
fn say_that_nothing_is_remembered() {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        tracing::warn!(
            target: "atp_actix",
            "a webhook without a store remembers nothing: a delivery that comes twice runs its handler twice"
        );
    });
}

/// What a store does for verification.
struct RefusalsOf<S> {
    store: S,
    service: String,
}

impl<S: Store> RefusalStore for RefusalsOf<S> {
    fn keep(&self, refused: RefusedDelivery) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { self.store.keep(&refused).await })
    }

    fn redeem(&self, id: i64, token: Token) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.store.redeem(&self.service, id, token))
    }

    fn redelivery_window(&self) -> Duration {
        self.store.get_redelivery_window()
    }

    fn fingerprint_key(&self) -> [u8; 32] {
        *self.store.get_fingerprint_key()
    }
}

async fn no_handler(delivery: Delivery) -> Result<HttpResponse, Refusal> {
    Err(Refusal::NoHandler { action: delivery.answer().action_id.clone() })
}

#[allow(clippy::panic, reason = "a fault of the program, found when it starts")]
fn other_secrets(service: &str) {
    panic!(
        "two webhooks of the service {service:?} on one store have different secrets, so that who holds one could decide \
         what was asked under the other: name their services with `Decisions::service`, or give both the same verifier"
    );
}

#[allow(clippy::panic, reason = "a fault of the program, found when it starts")]
fn path_with_parameter(path: &str) {
    panic!(
        "a webhook with a store at {path:?}: no signature covers the path, so its parameter or tail cannot say whose question is \
         answered; mount one webhook for each value, with `Decisions::service`"
    );
}

#[allow(clippy::panic, reason = "a fault of the program, found when it starts")]
fn mounted_twice(path: &str) {
    panic!(
        "a second webhook at {path:?}: the first gets all that comes there, so give both sets of handlers to one"
    );
}

#[allow(clippy::panic, reason = "a fault of the program, found when it starts")]
fn no_such_action(action: &str) {
    panic!(
        "`humans_only({action:?})` without `.on({action:?}, ..)`: give the action a handler, or mend its id"
    );
}
