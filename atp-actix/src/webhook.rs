//! The mountable webhook: one path, one handler an action.

use std::{
    collections::HashMap,
    panic::Location,
    rc::Rc,
    sync::{Arc, Once},
    time::Duration,
};

use actix_web::{
    FromRequest, Handler, HttpMessage as _, HttpRequest, HttpResponse, Resource, Responder, Route,
    body::{BodySize, EitherBody, MessageBody as _},
    dev::{AppService, HttpServiceFactory},
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
    web,
};
use atp_core::Verifier;
use futures_util::future::{BoxFuture, LocalBoxFuture};
use serde_json::Value;

use crate::{
    claim_cell::Claiming,
    decide::{Decide, HandlerRan, Rules},
    delivery::Delivery,
    error::{ErrorReply, Refusal},
    guard::{Action, Late},
    mounted,
    store::{RefusedDelivery, Store, StoreError, Token},
    verify::{RefusalStore, VerifySignature},
};

/// A webhook that an ATP server posts answers to: verified, then routed by action.
///
/// It mounts wherever a resource does, in an `App`, a `Scope` or a `ServiceConfig`. Handlers are any actix handlers with
/// any extractors. What they return is the answer; one with nothing to say returns `Result<(), E>`, and an empty success
/// becomes 200 `{"status":"success"}`.
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
/// actix builds an `App` once a worker, so build the `Webhook` inside the closure, from parts that are made outside and
/// cloned.
///
/// Nothing is remembered: a delivery that comes twice runs its handler twice, so a handler must be idempotent.
///
/// # Panics
/// When it is mounted in an `App` where another webhook has the same path, since that would get all that comes there.
/// Within a scope that is not seen.
#[must_use = "a webhook does nothing until it is mounted with `.service(..)`"]
pub struct Webhook {
    path: String,
    verify: VerifySignature,
    actions: HashMap<String, Placed>,
    otherwise: Option<Placed>,
    late: Option<Placed>,
    rules: Rules,
    mount: Option<Mount>,
}

/// A handler's route, and where it was given.
type Placed = (&'static Location<'static>, Route);

/// Puts the middleware of a store around the routes, and mounts them.
type Mount = Box<dyn FnOnce(Resource, VerifySignature, Rules, &mut AppService)>;

impl Webhook {
    /// A webhook at a path, which may hold parameters, without handlers yet.
    pub fn new(path: impl Into<String>, verifier: Verifier) -> Self {
        Self {
            path: path.into(),
            rules: Rules::new(verifier.clone()),
            verify: VerifySignature::new(verifier),
            actions: HashMap::new(),
            otherwise: None,
            late: None,
            mount: None,
        }
    }

    /// Remembers in this store: every decision takes effect once.
    ///
    /// A service belongs to the secrets that it is mounted with.
    ///
    /// # Panics
    /// When it is mounted, if the service was mounted on this store with other secrets.
    ///
    /// Each question must be recorded before it is sent ([`Store::record`]); an answer to any other is refused. From then on
    /// a delivery that comes twice runs its handler once, and gets the same answer again.
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
    pub fn store(mut self, store: impl Store) -> Self {
        self.mount = Some(Box::new(move |resource, verify, rules, config| {
            if !store.activity().admits(&rules.service, &rules.verifier) {
                other_secrets(&rules.service);
            }
            let keeper = Keeping { store: store.clone(), service: rules.service.clone() };
            let verify = verify.remembering(Arc::new(keeper));
            let decide = Decide { store, rules: Arc::new(rules) };
            resource.wrap(decide).wrap(verify).register(config);
        }));
        self
    }

    /// Names the service whose questions are answered here; [`DEFAULT_SERVICE`](crate::store::DEFAULT_SERVICE) unless set.
    pub fn service(mut self, name: impl Into<String>) -> Self {
        self.rules.service = name.into();
        self
    }

    /// Accepts this action from humans only: an agent's answer, or one that does not say who answered, is 403. It is of use
    /// with a store alone.
    ///
    /// # Panics
    /// When it is mounted, if no handler was given for the action with [`Webhook::on`].
    pub fn humans_only(mut self, action_id: impl Into<String>) -> Self {
        self.rules.humans_only.insert(action_id.into());
        self
    }

    /// Handles the answers that came after the deadline, or after the question was taken back: through the same claim and
    /// completion as others. Unless set they are answered 409. It is of use with a store alone.
    ///
    /// # Panics
    /// If it is set already; the message names both places.
    #[track_caller]
    pub fn late<F, Args>(mut self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        let here = Location::caller();
        if let Some((earlier, _)) = &self.late {
            twice("`late`", earlier, here);
        }
        self.late = Some((here, web::route().guard(Late).to(Concluding(handler))));
        self
    }

    /// Is told of an answer that differs from the one that stands, which is answered 409 and kept: once, however often it
    /// comes.
    pub fn on_conflict(mut self, hook: impl Fn(&Delivery) + Send + Sync + 'static) -> Self {
        self.rules.on_conflict = Some(Arc::new(hook));
        self
    }

    /// Stores no response data with decisions. What is refused is kept all the same, until it is erased or purged, and so is
    /// what a handler without a transaction is at work on, until it ends.
    ///
    /// The fingerprint stays, hashed with the store's key: who reads the whole database can find a short answer by trying all
    /// of them.
    pub fn without_data(mut self) -> Self {
        self.rules.with_data = false;
        self
    }

    /// Sets how long an answer to a question that is not recorded is asked to come again, since it may be faster than our own
    /// `record`; 10 minutes from its first delivery unless set. Then it is answered 404.
    pub fn unknown_grace(mut self, time: Duration) -> Self {
        self.rules.unknown_grace = time;
        self
    }

    /// Sets how long a delivery waits for its answer; 4 s unless set, since a server waits 5 s. Then it is answered 503,
    /// the handler goes on, and the next delivery finds what it said.
    pub fn respond_within(mut self, time: Duration) -> Self {
        self.rules.respond_within = time;
        self
    }

    /// Sets how long a handler may take, its claim included; 60 s unless set. Shortly before that it is dropped, and another
    /// delivery may try. After the process of a handler without a [`Transaction`](crate::Transaction) died, its answer waits
    /// for so long. Extractors may take as long before it.
    pub fn lease(mut self, time: Duration) -> Self {
        self.rules.lease = time;
        self
    }

    /// Handles the answers that chose this action.
    ///
    /// # Panics
    /// If the action has a handler already; the message names both places. It happens when the server starts.
    #[track_caller]
    pub fn on<F, Args>(mut self, action_id: impl Into<String>, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        let (action_id, here) = (action_id.into(), Location::caller());
        let route = web::route().guard(Action::new(&*action_id)).to(Concluding(handler));
        if let Some((earlier, _)) = self.actions.get(&action_id) {
            twice(&format!("the action `{action_id}`"), earlier, here);
        }
        self.actions.insert(action_id, (here, route));
        self
    }

    /// Handles the answers that chose any other action. Unless set they are answered 500, and the log says so: the
    /// handler may be deployed a minute later, and then the server's next delivery finds it.
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
        let here = Location::caller();
        if let Some((earlier, _)) = &self.otherwise {
            twice("`otherwise`", earlier, here);
        }
        self.otherwise = Some((here, web::route().to(Concluding(handler))));
        self
    }

    /// Sets the longest body, in bytes, also for `web::Bytes` and `web::Json` in handlers;
    /// [`VerifySignature::DEFAULT_LIMIT`] unless set.
    pub fn limit(mut self, bytes: usize) -> Self {
        self.verify = self.verify.limit(bytes);
        self
    }

    /// Sets the time that a body may take to arrive; [`VerifySignature::DEFAULT_BODY_WITHIN`] unless set.
    pub fn body_within(mut self, time: Duration) -> Self {
        self.verify = self.verify.body_within(time);
        self
    }

    /// Makes the JSON body of refusals; [`ErrorReply::json`] unless set. The status stays what it is.
    pub fn error_body(mut self, body: impl Fn(&ErrorReply) -> Value + Send + Sync + 'static) -> Self {
        self.verify = self.verify.error_body(body);
        self
    }
}

impl HttpServiceFactory for Webhook {
    fn register(self, config: &mut AppService) {
        let Self { path, verify, actions, otherwise, late, mut rules, mount } = self;
        if mounted::is_second_at(&path, config) {
            mounted_twice(&path);
        }
        // A canonical text may be longer than the body: at most six times, since a byte can become `\u00xx`.
        let limit = verify.get_limit().saturating_mul(6);
        rules.actions = actions.keys().cloned().collect();
        rules.otherwise = otherwise.is_some();
        rules.late = late.is_some();
        rules.error_body = verify.get_error_body();
        let verify = verify.service(&rules.service);
        if let Some(action) = rules.humans_only.difference(&rules.actions).next() {
            no_such_action(action);
        }
        let otherwise = otherwise.map_or_else(|| web::route().to(no_handler), |(_, route)| route);
        let resource = Resource::new(path)
            .app_data(web::PayloadConfig::new(limit))
            .app_data(web::JsonConfig::default().limit(limit));
        // Late answers first: their action may have a handler of its own.
        let routes = late.into_iter().chain(actions.into_values()).map(|(_, route)| route);
        let resource = routes.fold(resource, Resource::route).route(otherwise);
        if let Some(mount) = mount {
            return mount(resource, verify, rules, config);
        }
        say_that_nothing_is_remembered();
        resource.wrap(verify).register(config);
    }
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
struct Keeping<S> {
    store: S,
    service: String,
}

impl<S: Store> RefusalStore for Keeping<S> {
    fn keep(&self, kept: RefusedDelivery) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { self.store.keep(&kept).await })
    }

    fn redeem(&self, id: i64, token: Token) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.store.redeem(&self.service, id, token))
    }

    fn redelivery_window(&self) -> Duration {
        self.store.get_redelivery_window()
    }

    fn fingerprint_key(&self) -> [u8; 32] {
        *self.store.fingerprint_key()
    }
}

#[allow(clippy::panic, reason = "a fault of the program, found when it starts")]
fn other_secrets(service: &str) {
    panic!(
        "two webhooks of the service {service:?} on one store have different secrets, so that who holds one could decide \
         what was asked under the other: name their services with `Webhook::service`, or give both the same verifier"
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

async fn no_handler(delivery: Delivery) -> Result<HttpResponse, Refusal> {
    Err(Refusal::NoHandler { action: delivery.answer().action_id.clone() })
}

#[allow(clippy::panic, reason = "a fault of the program, found when it starts")]
#[track_caller]
fn twice(what: &str, earlier: &Location<'_>, here: &Location<'_>) {
    panic!("a second handler for {what}: the first is at {earlier}, the second at {here}");
}

/// A handler that runs if the claim is ours, and whose empty success says `{"status":"success"}`.
#[derive(Clone)]
struct Concluding<H>(H);

impl<H: Handler<Args>, Args: 'static> Handler<(HttpRequest, Args)> for Concluding<H> {
    type Output = Concluded<H::Output>;
    type Future = LocalBoxFuture<'static, Self::Output>;

    fn call(&self, (request, args): (HttpRequest, Args)) -> Self::Future {
        let (handler, claiming) = (self.0.clone(), request.extensions().get::<Rc<dyn Claiming>>().cloned());
        Box::pin(async move {
            let is_ours = match claiming {
                Some(claiming) => claiming.is_ours().await,
                None => true,
            };
            if is_ours { Concluded(Some(handler.call(args).await)) } else { Concluded(None) }
        })
    }
}

/// What the handler said, if it ran.
struct Concluded<R>(Option<R>);

impl<R: Responder> Responder for Concluded<R> {
    type Body = EitherBody<R::Body, &'static str>;

    fn respond_to(self, request: &HttpRequest) -> HttpResponse<Self::Body> {
        let Some(said) = self.0 else {
            return HttpResponse::with_body(StatusCode::SERVICE_UNAVAILABLE, EitherBody::right(""));
        };
        request.extensions_mut().insert(HandlerRan);
        let mut response = said.respond_to(request);
        let empty = matches!(response.body().size(), BodySize::None | BodySize::Sized(0));
        if !response.status().is_success() || !empty {
            return response.map_into_left_body();
        }
        *response.status_mut() = StatusCode::OK;
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response.map_body(|_, _| EitherBody::right(r#"{"status":"success"}"#))
    }
}
