//! What strangers and broken senders send, byte for byte: each gets its status, and the server
//! serves on.

use std::{
    env,
    io::{self, Read as _},
    ops::Deref,
    time::Duration,
};

use actix_web::{HttpResponse, web};
use atp_actix::{
    Webhook,
    store::Store,
    test::{Sender, SignedAnswer},
};
use atp_tests::SECRET;
use chrono::DateTime;

use crate::support::{
    asked::{record, verifier},
    server::{Address, Answer, Server, post},
    told::UNAUTHORIZED,
    watched::{Calls, Watched},
};

/// The same tests for webhooks without a store, and with each store.
macro_rules! with_and_without_a_store {
    ($($name:ident),* $(,)?) => {
        mod stateless {
            $(#[actix_web::test]
            async fn $name() {
                super::$name(crate::webhook::hostile::Site::stateless()).await;
            })*
        }
        mod stateful {
            $(async fn $name(store: impl atp_actix::store::Store) {
                super::$name(crate::webhook::hostile::Site::over(store).await).await;
            })*
            crate::support::databases::on_every_store!($($name),*);
        }
    };
}

mod bodies;
mod heads;
mod streams;

/// Stands in what strangers send, wherever text can stand. No answer may hold it.
const MARKER: &str = "Xq7StrangersOwnWordsXq7";

const BODY_WITHIN: Duration = Duration::from_millis(300);
const BIG_LIMIT: usize = 16 << 20;

fn sender() -> Sender {
    Sender::new(SECRET)
}

fn good() -> SignedAnswer {
    sender().answer("n-1", "approve", ())
}

async fn accepted() -> HttpResponse {
    HttpResponse::Ok().body("accepted")
}

/// `/small` has the limit that is set unless one sets it, `/big` 16 MiB, and at `/epoch` it is five
/// seconds past 1970.
fn webhooks() -> [Webhook; 3] {
    let epoch = verifier().clock(|| DateTime::from_timestamp(5, 0).expect("a time"));
    [
        Webhook::new("/small", verifier()).body_within(BODY_WITHIN).otherwise(accepted),
        Webhook::new("/big", verifier()).limit(BIG_LIMIT).otherwise(accepted),
        Webhook::new("/epoch", epoch).otherwise(accepted),
    ]
}

fn mount(config: &mut web::ServiceConfig) {
    for webhook in webhooks() {
        config.service(webhook);
    }
}

/// Without a store; one worker, so that whoever stalls it stalls everybody.
fn serve() -> Server {
    Server::start(1, mount)
}

/// [`webhooks`], served without a store or with one that tells what it was asked.
struct Site {
    server: Server,
    calls: Option<Calls>,
}

impl Site {
    fn stateless() -> Self {
        Self { server: serve(), calls: None }
    }

    /// The question of [`good`] is recorded, and answered so.
    async fn over(store: impl Store) -> Self {
        record(&store, "n-1").await;
        let store = Watched::new(store);
        let calls = store.calls.clone();
        let server = Server::start(1, move |config: &mut web::ServiceConfig| {
            for webhook in webhooks() {
                config.service(webhook.store(store.clone()));
            }
        });
        let site = Self { server, calls: Some(calls) };
        site.serves_on("nothing").await;
        site
    }

    fn has_a_store(&self) -> bool {
        self.calls.is_some()
    }

    /// A good request on a new connection is served.
    async fn serves_on(&self, after: &str) {
        self.server.serves_on(after).await;
        let asked = self.calls.as_ref().map(Calls::take);
        assert!(asked.is_none_or(|asked| asked.contains(&"find")), "{after}: the store is not watched");
    }

    /// The store was not asked for anything since the last good request.
    fn assert_untouched(&self, case: &str) {
        let asked = self.calls.as_ref().map(Calls::take).unwrap_or_default();
        assert!(asked.is_empty(), "{case}: the store was asked to {asked:?}");
    }

    /// A stranger learns nothing, and the store does not learn of him.
    fn assert_tells_nothing(&self, answer: &Answer, case: &str) {
        assert_tells_nothing(answer, case);
        if matches!(answer.status, 401 | 405 | 408 | 413 | 415) {
            self.assert_untouched(case);
        }
    }
}

impl Deref for Site {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Address {
    /// A good request on a new connection is served.
    async fn serves_on(&self, after: &str) {
        let answer = self.exchange(&post("/small", &good())).await;
        assert_eq!(
            answer.map(|answer| answer.status),
            Some(200),
            "the server does not serve on after {after}"
        );
    }
}

/// What a stranger may see of a refusal: its status and a fixed text.
fn assert_tells_nothing(answer: &Answer, case: &str) {
    assert!(!answer.holds(MARKER), "{case}: the answer repeats what was sent: {answer:?}");
    let texts = [
        (401, UNAUTHORIZED),
        (405, r#"{"error":"Method not allowed"}"#),
        (408, r#"{"error":"Request timeout"}"#),
        (413, r#"{"error":"Payload too large"}"#),
        (415, r#"{"error":"Unsupported media type"}"#),
    ];
    if let Some((_, text)) = texts.iter().find(|(status, _)| *status == answer.status) {
        assert_eq!(answer.text(), *text, "{case}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{case}");
    }
}

/// The variable that makes [`serves_in_a_process_of_its_own`] a server.
const CHILD: &str = "ATP_TESTS_SERVE";

/// Not a test by itself: a server in its own process, whose memory is then its own too. It ends
/// with its input.
#[actix_web::test]
async fn serves_in_a_process_of_its_own() {
    if env::var_os(CHILD).is_some() {
        let server = serve();
        println!("{CHILD}={}", server.0);
        let _ = io::stdin().read(&mut [0]);
    }
}
