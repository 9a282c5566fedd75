//! Middleware of actix and of others around the webhook and inside of verification: nothing panics,
//! statuses stay what they are, and handlers see what was signed.

use std::{
    cell::RefCell,
    fmt,
    future::{Ready, ready},
    panic::AssertUnwindSafe,
    rc::Rc,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use actix_cors::Cors;
use actix_session::{SessionExt as _, SessionMiddleware, storage::CookieSessionStore};
use actix_web::{
    App, Error as ActixError, HttpRequest,
    body::{BoxBody, MessageBody},
    cookie::Key,
    dev::{Service, ServiceRequest, ServiceResponse, Transform},
    http::header,
    middleware::{
        Compat, Compress, Condition, DefaultHeaders, ErrorHandlerResponse, ErrorHandlers, Logger, Next,
        NormalizePath, from_fn,
    },
    rt, test, web,
};
use atp_actix::{
    AtpResponse, Scheme, Text, VerifySignature, Webhook,
    atp_core::{Action, Notification, TextRules, canonical},
    store::{MemoryStore, Question, Store as _},
    test::{Sender, SignedAnswer},
};
use atp_tests::{PATH, SECRET};
use bytes::Bytes;
use futures_util::{FutureExt as _, future::LocalBoxFuture};
use serde_json::json;
use tracing_actix_web::TracingLogger;

use crate::support::{
    asked::verifier,
    server::{Server, post},
};

/// Above every body here but one.
const LIMIT: usize = 2000;

/// A service whose type is forgotten.
struct Erased(Box<dyn Fn(ServiceRequest) -> Answering>);

type Answering = LocalBoxFuture<'static, Result<ServiceResponse<BoxBody>, ActixError>>;

impl Erased {
    fn new<S, B>(service: S) -> Self
    where
        S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = ActixError> + 'static,
        B: MessageBody + 'static,
    {
        Self(Box::new(move |request| {
            let answer = service.call(request);
            Box::pin(async move { answer.await.map(ServiceResponse::map_into_boxed_body) })
        }))
    }
}

impl Service<ServiceRequest> for Erased {
    type Response = ServiceResponse<BoxBody>;
    type Error = ActixError;
    type Future = Answering;

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<Result<(), ActixError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&self, request: ServiceRequest) -> Answering {
        (self.0)(request)
    }
}

/// Middleware whose type is forgotten, so that tables of it can be made.
#[derive(Clone)]
struct Layer {
    name: &'static str,
    build: Rc<dyn Fn(Erased) -> LocalBoxFuture<'static, Result<Erased, ()>>>,
}

impl Layer {
    fn new<M, B>(name: &'static str, make: impl Fn() -> M + 'static) -> Self
    where
        M: Transform<
                Erased,
                ServiceRequest,
                Response = ServiceResponse<B>,
                Error = ActixError,
                InitError = (),
            >,
        M::Transform: 'static,
        M::Future: 'static,
        B: MessageBody + 'static,
    {
        let build = move |service| -> LocalBoxFuture<'static, Result<Erased, ()>> {
            let service = make().new_transform(service);
            Box::pin(async move { service.await.map(Erased::new) })
        };
        Self { name, build: Rc::new(build) }
    }
}

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl<S, B> Transform<S, ServiceRequest> for Layer
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = ActixError> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<BoxBody>;
    type Error = ActixError;
    type Transform = Erased;
    type InitError = ();
    type Future = LocalBoxFuture<'static, Result<Erased, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        (self.build)(Erased::new(service))
    }
}

type Answered<B> = Result<ServiceResponse<B>, ActixError>;

async fn passes_on(request: ServiceRequest, next: Next<BoxBody>) -> Answered<BoxBody> {
    next.call(request).await
}

async fn keeps_the_request_meanwhile(request: ServiceRequest, next: Next<BoxBody>) -> Answered<BoxBody> {
    let kept = request.request().clone();
    let answered = next.call(request).await;
    assert_eq!(kept.method(), "POST");
    answered
}

async fn keeps_two_of_the_request(request: ServiceRequest, next: Next<BoxBody>) -> Answered<BoxBody> {
    let kept = [request.request().clone(), request.request().clone()];
    let answered = next.call(request).await;
    drop(kept);
    answered
}

async fn keeps_the_request_in_a_task(request: ServiceRequest, next: Next<BoxBody>) -> Answered<BoxBody> {
    let kept = request.request().clone();
    rt::spawn(async move {
        rt::time::sleep(Duration::from_millis(20)).await;
        drop(kept);
    });
    next.call(request).await
}

async fn keeps_the_request_for_ever(request: ServiceRequest, next: Next<BoxBody>) -> Answered<BoxBody> {
    thread_local! {
        static KEPT: RefCell<Vec<HttpRequest>> = const { RefCell::new(Vec::new()) };
    }
    KEPT.with_borrow_mut(|kept| kept.push(request.request().clone()));
    next.call(request).await
}

/// Takes the request apart and puts it together, as middleware does that reads bodies.
async fn takes_the_request_apart(request: ServiceRequest, next: Next<BoxBody>) -> Answered<BoxBody> {
    let (http, payload) = request.into_parts();
    let kept = http.clone();
    let answered = next.call(ServiceRequest::from_parts(http, payload)).await;
    drop(kept);
    answered
}

async fn changes_headers(mut request: ServiceRequest, next: Next<BoxBody>) -> Answered<BoxBody> {
    request.headers_mut().insert(header::ACCEPT, header::HeaderValue::from_static("*/*"));
    let mut answered = next.call(request).await?;
    answered.headers_mut().insert(header::SERVER, header::HeaderValue::from_static("ours"));
    Ok(answered)
}

/// What can stand anywhere.
fn layers() -> Vec<Layer> {
    let marked = || {
        ErrorHandlers::new().default_handler(|mut response: ServiceResponse<BoxBody>| {
            response.headers_mut().insert(header::SERVER, header::HeaderValue::from_static("ours"));
            Ok(ErrorHandlerResponse::Response(response.map_into_left_body()))
        })
    };
    let session = || {
        SessionMiddleware::builder(CookieSessionStore::default(), Key::from(&[7; 64]))
            .cookie_secure(false)
            .build()
    };
    vec![
        Layer::new("Logger", || Logger::new("%a %r %s %b %D %{content-length}i %{server}o")),
        Layer::new("Compress", Compress::default),
        Layer::new("NormalizePath", NormalizePath::trim),
        Layer::new("DefaultHeaders", || DefaultHeaders::new().add(("x-own", "1"))),
        Layer::new("Condition, true", || Condition::new(true, Logger::default())),
        Layer::new("Condition, false", || Condition::new(false, Logger::default())),
        Layer::new("ErrorHandlers", marked),
        Layer::new("Compat", || Compat::new(Compress::default())),
        Layer::new("actix-session", session),
        Layer::new("actix-cors", Cors::permissive),
        Layer::new("tracing-actix-web", TracingLogger::default),
        Layer::new("from_fn", || from_fn(passes_on)),
        Layer::new("other headers", || from_fn(changes_headers)),
    ]
}

/// What holds the request while others answer it. It can stand around a resource and inside of it:
/// actix itself panics where it has yet to find the way, around an app or a scope, whatever is
/// mounted there.
fn keeping() -> [Layer; 5] {
    [
        Layer::new("a clone meanwhile", || from_fn(keeps_the_request_meanwhile)),
        Layer::new("two clones", || from_fn(keeps_two_of_the_request)),
        Layer::new("a clone in a task", || from_fn(keeps_the_request_in_a_task)),
        Layer::new("a clone for ever", || from_fn(keeps_the_request_for_ever)),
        Layer::new("parts", || from_fn(takes_the_request_apart)),
    ]
}

/// Those that change the request's head, which actix allows to nobody while somebody else holds the
/// request.
const CHANGING: [&str; 2] = ["NormalizePath", "other headers"];

/// Nothing around.
fn nothing() -> Layer {
    Layer::new("nothing", || Condition::new(false, Logger::default()))
}

/// None, and each of these.
fn or_none(layers: Vec<Layer>) -> Vec<Layer> {
    [nothing()].into_iter().chain(layers).collect()
}

/// What can stand around a resource.
fn all() -> Vec<Layer> {
    layers().into_iter().chain(keeping()).collect()
}

/// What handlers were given.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<Bytes>>>);

impl Heard {
    fn take(&self) -> Vec<Bytes> {
        std::mem::take(&mut self.0.lock().expect("nobody panicked while it wrote"))
    }

    /// A handler that asks for everything.
    fn handler(
        &self,
    ) -> impl Fn(HttpRequest, Bytes, AtpResponse<Text>) -> Ready<Result<String, ActixError>> + Clone + 'static
    {
        let heard = self.clone();
        move |request, body, answer| {
            let counted = request.get_session().insert("answers", 1).map_err(ActixError::from);
            heard.0.lock().expect("nobody panicked while it wrote").push(body);
            ready(counted.map(|()| answer.into_data()))
        }
    }
}

/// One delivery, the status that it gets, and the text that its handler sees.
struct Case {
    name: &'static str,
    sent: SignedAnswer,
    status: u16,
    heard: Option<Bytes>,
}

/// In other spacing than any printer's, with an escape that CPython prints otherwise than V8.
fn body(id: &str) -> Bytes {
    format!(
        "{{ \"notification_id\" : \"{id}\",\"action_id\":\"say\", \"response_data\": \"gr\u{fc}n\",\n\"responded_at\":\"{}\" }}",
        chrono::Utc::now().to_rfc3339()
    )
    .into()
}

/// To a webhook that recorded the question `id`, or remembers nothing.
fn cases(id: &str) -> Vec<Case> {
    let sender = Sender::new(SECRET);
    let answer = |data| {
        let sent = sender.answer(id, "say", data).header("origin", "https://example.org");
        sent.header("accept-encoding", "gzip")
    };
    let mut cases = Vec::new();
    for scheme in Scheme::ALL {
        let body = body(id);
        let text = match scheme {
            Scheme::PythonCanonical => canonical::python(&body).expect("a text").into(),
            Scheme::NodeCompact => canonical::node(&body).expect("a text").into(),
            _ => body.clone(),
        };
        let sent = answer(json!(null)).body(body).scheme(scheme);
        cases.push(Case { name: scheme.name(), sent, status: 200, heard: Some(text) });
    }
    let large = answer(json!("x".repeat(2 * LIMIT)));
    for (name, sent, status) in [
        ("forged", answer(json!("no")).forged(), 401),
        ("forged, bare", answer(json!("no")).scheme(Scheme::Raw).forged(), 401),
        ("no signature", answer(json!("no")).without_header("x-atp-signature"), 401),
        ("no answer", answer(json!("no")).body("[]"), 400),
        ("no answer, of CPython", answer(json!("no")).body("[1,2]").scheme(Scheme::PythonCanonical), 400),
        ("unfit", answer(json!(5)), 400),
        ("unfit, of CPython", answer(json!(5)).scheme(Scheme::PythonCanonical), 400),
        ("unfit, of V8", answer(json!(["a", 5])).by_nobody().scheme(Scheme::NodeCompact), 400),
        ("too large", large.clone(), 413),
        ("too large, forged", large.forged(), 413),
        ("a text", answer(json!("no")).header("content-type", "text/plain"), 415),
    ] {
        cases.push(Case { name, sent, status, heard: None });
    }
    cases
}

/// What went wrong in which composition.
#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn judge(&mut self, place: &str, case: &Case, status: Option<u16>, heard: &[Bytes]) {
        let fault = match status {
            None => "panicked, or the connection ended".to_owned(),
            Some(status) if status != case.status => format!("{status} and not {}", case.status),
            Some(_) if heard.first() != case.heard.as_ref() || heard.len() > 1 => {
                format!("the handler saw {heard:?} and not {:?}", case.heard)
            }
            Some(_) => return,
        };
        self.0.push(format!("{place}: {}: {fault}", case.name));
    }

    fn assert_none(&self) {
        let some: Vec<_> = self.0.iter().take(40).map(String::as_str).collect();
        assert!(self.0.is_empty(), "{} faults, of them:\n{}", self.0.len(), some.join("\n"));
    }
}

/// The cases to one app in this process. A panic is of one delivery.
macro_rules! deliver {
    ($faults:ident, $place:expr, $cases:expr, $heard:ident, $app:expr) => {
        let app = test::init_service($app).await;
        for case in $cases {
            let request = case.sent.post_to(PATH);
            // As every client does for such a body.
            let request = request.append_header((header::CONTENT_LENGTH, case.sent.to_parts().1.len()));
            let call = async {
                let response = app.call(request.to_request()).await;
                let response = response.unwrap_or_else(|error| panic!("no response: {error}"));
                let status = response.status().as_u16();
                // Middleware may have more to do while its body is read.
                let _ = test::read_body(response).await;
                status
            };
            let status = AssertUnwindSafe(call).catch_unwind().await.ok();
            $faults.judge(&$place, &case, status, &$heard.take());
        }
    };
}

fn webhook(heard: &Heard) -> Webhook {
    Webhook::new(PATH, verifier()).limit(LIMIT).on("say", heard.handler())
}

fn verification() -> VerifySignature {
    VerifySignature::new(verifier()).limit(LIMIT)
}

async fn asked(store: &MemoryStore, id: &str) {
    let notification = Notification::new("What?", "").id(id);
    let notification = notification.action(Action::text("say", "Say", TextRules::new()));
    store.record(&Question::new(notification)).await.expect("a question");
}

#[actix_web::test]
async fn nothing_panics_around_a_webhook() {
    let (heard, mut faults) = (Heard::default(), Faults::default());
    for outer in or_none(layers()) {
        for layer in layers() {
            let place = format!("{outer:?} and {layer:?} around a webhook");
            let app = App::new().wrap(layer.clone()).wrap(outer.clone()).service(webhook(&heard));
            deliver!(faults, place, cases("n-1"), heard, app);
        }
    }
    faults.assert_none();
}

#[actix_web::test]
async fn nothing_panics_around_a_scope_with_a_webhook() {
    let (heard, mut faults) = (Heard::default(), Faults::default());
    for outer in or_none(layers()) {
        for layer in layers() {
            let place = format!("{outer:?} around an app, {layer:?} around its scope");
            let scope = web::scope("").wrap(layer.clone()).service(webhook(&heard));
            deliver!(faults, place, cases("n-1"), heard, App::new().wrap(outer.clone()).service(scope));
        }
    }
    faults.assert_none();
}

#[actix_web::test]
async fn nothing_panics_around_a_webhook_with_a_store() {
    let (heard, mut faults) = (Heard::default(), Faults::default());
    for outer in or_none(layers()) {
        for layer in layers() {
            // The same answer in each scheme is handled once: each has a question of its own.
            for nth in 0..Scheme::ALL.len() {
                let place = format!("{outer:?} and {layer:?} around a webhook with a store");
                let (store, id) = (MemoryStore::new(), format!("n-{nth}"));
                asked(&store, &id).await;
                let app = App::new().wrap(layer.clone()).wrap(outer.clone());
                let mut cases = cases(&id);
                let mut first = cases.split_off(Scheme::ALL.len());
                // What is refused comes before there is a decision, since afterwards it is another
                // answer.
                first.push(cases.swap_remove(nth));
                deliver!(faults, place, first, heard, app.service(webhook(&heard).store(store)));
            }
        }
    }
    faults.assert_none();
}

#[actix_web::test]
async fn nothing_panics_around_verification_and_inside_of_it() {
    let (heard, mut faults) = (Heard::default(), Faults::default());
    let holds = keeping().map(|layer| layer.name);
    for outer in or_none(all()) {
        for inner in or_none(all()) {
            // Of these two it is the inner that panics, with verification between them or without.
            if holds.contains(&outer.name) && CHANGING.contains(&inner.name) {
                continue;
            }
            let place = format!("{outer:?} around verification, {inner:?} inside");
            let resource = web::resource(PATH).route(web::post().to(heard.handler()));
            let resource = resource.wrap(inner.clone()).wrap(verification()).wrap(outer.clone());
            deliver!(faults, place, cases("n-1"), heard, App::new().service(resource));
        }
    }
    faults.assert_none();
}

#[actix_web::test]
async fn nothing_panics_around_a_verified_scope_and_inside_of_it() {
    let (heard, mut faults) = (Heard::default(), Faults::default());
    for outer in or_none(layers()) {
        for inner in or_none(layers()) {
            let place = format!("{outer:?} around a verified scope, {inner:?} inside");
            let scope = web::scope("").wrap(inner.clone()).wrap(verification()).wrap(outer.clone());
            let scope = scope.route(PATH, web::post().to(heard.handler()));
            deliver!(faults, place, cases("n-1"), heard, App::new().service(scope));
        }
    }
    faults.assert_none();
}

/// The same over sockets, where what is not read of a body matters.
#[actix_web::test]
async fn every_composition_answers_on_a_socket() {
    let (heard, mut faults) = (Heard::default(), Faults::default());
    let handler = heard.clone();
    let server = Server::start(1, move |config| {
        for (nth, layer) in layers().into_iter().enumerate() {
            let scope = web::scope(&format!("/webhook-{nth}")).wrap(layer.clone());
            config.service(scope.service(webhook(&handler)));
        }
        for (nth, layer) in all().into_iter().enumerate() {
            let resource = |place: &str| {
                let resource = web::resource(format!("/{place}-{nth}{PATH}"));
                resource.route(web::post().to(handler.handler()))
            };
            config.service(resource("outside").wrap(verification()).wrap(layer.clone()));
            config.service(resource("inside").wrap(layer).wrap(verification()));
        }
    });
    for (place, layers) in [("webhook", layers()), ("outside", all()), ("inside", all())] {
        for (nth, layer) in layers.into_iter().enumerate() {
            for case in cases("n-1") {
                let mut client = server.connect().await;
                let _ = client.send(&post(&format!("/{place}-{nth}{PATH}"), &case.sent)).await;
                // A body may be compressed: the head says enough.
                let status = client.answer_to_head().await.map(|answer| answer.status);
                faults.judge(&format!("{layer:?}, {place}"), &case, status, &heard.take());
            }
        }
    }
    faults.assert_none();
}
