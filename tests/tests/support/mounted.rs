//! A webhook with a store, mounted in an app without a socket.

use std::{
    future::{Ready, ready},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use actix_web::{App, rt::time::sleep, test};
use atp_actix::{
    AtpResponse, Decisions, Webhook,
    store::{Redrive, Store},
    test::SignedAnswer,
};
use atp_tests::PATH;
use futures_util::future::LocalBoxFuture;
use serde_json::{Value, json};

use crate::support::asked::{Clock, approve, verifier};

/// A webhook that is mounted.
#[derive(Clone)]
pub(crate) struct Mounted(Rc<dyn Fn(test::TestRequest) -> LocalBoxFuture<'static, (u16, String)>>);

impl Mounted {
    pub(crate) async fn new(webhook: Webhook) -> Self {
        let app = Rc::new(test::init_service(App::new().service(webhook)).await);
        Self(Rc::new(move |request| {
            let app = Rc::clone(&app);
            Box::pin(async move {
                let response = test::call_service(&*app, request.to_request()).await;
                let (status, body) = (response.status().as_u16(), test::read_body(response).await);
                (status, String::from_utf8_lossy(&body).into_owned())
            })
        }))
    }

    pub(crate) async fn send(&self, sent: &SignedAnswer) -> (u16, String) {
        (self.0)(sent.post_to(PATH)).await
    }

    pub(crate) async fn expect(&self, sent: &SignedAnswer, status: u16, body: &str) {
        let seen = self.send(sent).await;
        assert_eq!((seen.0, &*seen.1), (status, body), "{sent:?}");
    }

    /// Delivers the approval until it is handled, as a server would.
    pub(crate) async fn until_handled(&self, id: &str) {
        let patience = Instant::now() + Duration::from_secs(20);
        loop {
            let (status, body) = self.send(&approve(id)).await;
            match status {
                200 => return,
                503 => assert!(Instant::now() < patience, "{id} is lost"),
                _ => panic!("{id}: {status} {body}"),
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Expects an error with this code.
    pub(crate) async fn refuses(&self, sent: &SignedAnswer, status: u16, code: &str) {
        let (seen, body) = self.send(sent).await;
        let json: Value = serde_json::from_str(&body).unwrap_or_default();
        assert_eq!((seen, &json["code"]), (status, &json!(code)), "{body}");
    }

    pub(crate) async fn redrive(&self, redrive: Redrive) -> (u16, String) {
        let request = test::TestRequest::post().uri(PATH).set_payload(redrive.body);
        (self.0)(redrive.headers.into_iter().fold(request, test::TestRequest::append_header)).await
    }
}

/// A request of a kept body for the webhook.
pub(crate) async fn redrive(store: &impl Store, id: i64) -> Redrive {
    Redrive::prepare(store, &verifier(), "default", id).await.expect("a redrive")
}

pub(crate) fn webhook(store: &impl Store) -> Webhook {
    remembering(decisions(store))
}

pub(crate) fn decisions<S: Store>(store: &S) -> Decisions<S> {
    Decisions::in_store(store.clone())
}

pub(crate) fn remembering<S: Store>(decisions: Decisions<S>) -> Webhook {
    Webhook::new(PATH, verifier()).store(decisions)
}

/// A handler that counts how often it runs, and says so.
pub(crate) fn counting(runs: &Arc<AtomicUsize>) -> impl Fn(AtpResponse) -> Ready<String> + Clone + use<> {
    let runs = Arc::clone(runs);
    move |_| ready(format!("run {}", runs.fetch_add(1, Ordering::SeqCst) + 1))
}

pub(crate) fn runs() -> Arc<AtomicUsize> {
    Arc::default()
}

pub(crate) fn count(runs: &AtomicUsize) -> usize {
    runs.load(Ordering::SeqCst)
}

/// A webhook that knows no time but this clock's.
pub(crate) fn webhook_by(clock: &Clock, store: &impl Store) -> Webhook {
    Webhook::new(PATH, clock.verifier()).store(store.clone())
}

/// Its handler says `done` after the sender was told to come again.
pub(crate) async fn slower_than_its_answer(store: &impl Store, runs: &Arc<AtomicUsize>) -> Mounted {
    let counted = Arc::clone(runs);
    let slow = move |_: AtpResponse| {
        counted.fetch_add(1, Ordering::SeqCst);
        async {
            sleep(Duration::from_millis(400)).await;
            "done"
        }
    };
    Mounted::new(remembering(decisions(store).respond_within(Duration::from_millis(50))).otherwise(slow))
        .await
}
