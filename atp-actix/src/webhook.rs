//! The mountable webhook: one path, one handler an action.

use std::{collections::HashMap, panic::Location, time::Duration};

use actix_web::{
    FromRequest, Handler, HttpRequest, HttpResponse, Resource, Responder, Route,
    body::{BodySize, EitherBody, MessageBody as _},
    dev::{AppService, HttpServiceFactory},
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
    web,
};
use atp_core::Verifier;
use futures_util::future::{FutureExt as _, Map};
use serde_json::Value;

use crate::{
    delivery::Delivery,
    error::{ErrorReply, Refusal},
    guard::Action,
    verify::VerifySignature,
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
#[must_use = "a webhook does nothing until it is mounted with `.service(..)`"]
pub struct Webhook {
    path: String,
    verify: VerifySignature,
    actions: HashMap<String, (&'static Location<'static>, Route)>,
    otherwise: Option<(&'static Location<'static>, Route)>,
}

impl Webhook {
    /// A webhook at a path, which may hold parameters, without handlers yet.
    pub fn new(path: impl Into<String>, verifier: Verifier) -> Self {
        Self {
            path: path.into(),
            verify: VerifySignature::new(verifier),
            actions: HashMap::new(),
            otherwise: None,
        }
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
        let Self { path, verify, actions, otherwise } = self;
        // A canonical text may be longer than the body: at most six times, since a byte can become `\u00xx`.
        let limit = verify.get_limit().saturating_mul(6);
        let otherwise = otherwise.map_or_else(|| web::route().to(no_handler), |(_, route)| route);
        let resource = Resource::new(path)
            .app_data(web::PayloadConfig::new(limit))
            .app_data(web::JsonConfig::default().limit(limit));
        actions
            .into_values()
            .fold(resource, |resource, (_, route)| resource.route(route))
            .route(otherwise)
            .wrap(verify)
            .register(config);
    }
}

async fn no_handler(delivery: Delivery) -> Result<HttpResponse, Refusal> {
    Err(Refusal::NoHandler { action: delivery.answer().action_id.clone() })
}

#[allow(clippy::panic, reason = "a fault of the program, found when it starts")]
#[track_caller]
fn twice(what: &str, earlier: &Location<'_>, here: &Location<'_>) {
    panic!("a second handler for {what}: the first is at {earlier}, the second at {here}");
}

/// A handler whose empty success says `{"status":"success"}`.
#[derive(Clone)]
struct Concluding<H>(H);

impl<H: Handler<Args>, Args> Handler<Args> for Concluding<H> {
    type Output = Concluded<H::Output>;
    type Future = Map<H::Future, fn(H::Output) -> Concluded<H::Output>>;

    fn call(&self, args: Args) -> Self::Future {
        self.0.call(args).map(Concluded)
    }
}

struct Concluded<R>(R);

impl<R: Responder> Responder for Concluded<R> {
    type Body = EitherBody<R::Body, &'static str>;

    fn respond_to(self, request: &HttpRequest) -> HttpResponse<Self::Body> {
        let mut response = self.0.respond_to(request);
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
