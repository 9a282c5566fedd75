//! How a webhook is mounted and routed, what handlers get, and what senders see.

use actix_web::{App, body::MessageBody, dev::ServiceResponse, test};
use atp_actix::{
    AtpResponse, Text, Webhook,
    test::{Sender, SignedAnswer},
};
use atp_tests::{PATH, SECRET};
use serde_json::Value;

use crate::support::asked::verifier;

mod extractors;
mod guide;
mod middleware;
mod replies;
mod routing;

fn webhook() -> Webhook {
    Webhook::new(PATH, verifier())
}

fn answer(action: &str, data: Value) -> SignedAnswer {
    Sender::new(SECRET).answer("n-1", action, data)
}

/// Status, the headers and the body of one delivery to an app with these services.
struct Seen {
    status: u16,
    headers: actix_web::http::header::HeaderMap,
    body: String,
}

impl Seen {
    async fn of<B: MessageBody>(response: ServiceResponse<B>) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = String::from_utf8_lossy(&test::read_body(response).await).into_owned();
        Self { status, headers, body }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }

    fn assert(&self, case: &str, status: u16, body: &str) {
        assert_eq!((self.status, &*self.body), (status, body), "{case}");
    }

    fn code(&self) -> Value {
        serde_json::from_str::<Value>(&self.body).unwrap_or_default()["code"].clone()
    }
}

/// One delivery to one webhook.
async fn deliver(webhook: Webhook, answer: &SignedAnswer) -> Seen {
    deliver_to(PATH, webhook, answer).await
}

async fn deliver_to(path: &str, webhook: Webhook, answer: &SignedAnswer) -> Seen {
    let app = test::init_service(App::new().service(webhook)).await;
    Seen::of(test::call_service(&app, answer.post_to(path).to_request()).await).await
}

/// A handler that says what it got.
async fn say(answer: AtpResponse<Text>) -> String {
    answer.into_data()
}
