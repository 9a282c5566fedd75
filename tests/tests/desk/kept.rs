//! What a desk keeps, and what it makes of it later.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix_web::{HttpResponse, http::StatusCode, rt::time::sleep, web};
use atp_cli::desk::{Desk, RunningDesk};
use serde_json::json;
use sqlx::{Connection as _, SqliteConnection};

use super::until;
use crate::support::{asked::asked, databases::SqliteFile, server::Server};

/// Takes so long for each answer, and answers the first with this status.
struct Taker {
    server: Server,
    calls: Arc<AtomicUsize>,
}

impl Taker {
    fn new(first: u16, takes: Duration) -> Self {
        let calls = Arc::<AtomicUsize>::default();
        let counting = Arc::clone(&calls);
        let server = Server::start(1, move |config| {
            let calls = Arc::clone(&counting);
            let take = move || {
                let nth = calls.fetch_add(1, Ordering::SeqCst);
                async move {
                    sleep(takes).await;
                    let status = if nth == 0 { first } else { 200 };
                    HttpResponse::build(StatusCode::from_u16(status).expect("a status")).finish()
                }
            };
            config.route("/", web::post().to(take));
        });
        Self { server, calls }
    }

    fn url(&self) -> String {
        format!("http://{}/", self.server.0)
    }

    async fn is_called(&self, times: usize) {
        until("it is not called that often", async || self.calls.load(Ordering::SeqCst) >= times).await;
    }

    /// Asks and answers a question.
    async fn answer(&self, desk: &RunningDesk) {
        let service = desk.register("orders", &self.url()).await.expect("a service");
        desk.ask(&service.service_id, &asked("n-1")).await.expect("asked");
        desk.answer("n-1", "approve", &json!(null)).await.expect("answered");
    }
}

#[actix_web::test]
async fn what_is_to_be_sent_again_while_it_is_sent_comes_twice() {
    let desk = Desk::new().start().await.expect("a desk");
    let taker = Taker::new(200, Duration::from_millis(300));
    taker.answer(&desk).await;
    taker.is_called(1).await;
    desk.send_again("n-1").await.expect("it has an answer");
    taker.is_called(2).await;
    desk.stop().await;
}

#[actix_web::test]
async fn what_waits_is_sent_soon_though_the_clock_is_set_back() {
    let desk = Desk::new().start().await.expect("a desk");
    let taker = Taker::new(503, Duration::ZERO);
    desk.set_clock_skew(3_600_000);
    taker.answer(&desk).await;
    taker.is_called(1).await;
    desk.set_clock_skew(0);
    taker.is_called(2).await;
    desk.stop().await;
}

#[actix_web::test]
async fn a_file_is_of_one_desk_alone_and_of_its_owner() {
    let file = SqliteFile::new();
    let open = || Desk::new().file(file.path()).start();
    let first = open().await.expect("a desk");
    let second = open().await.err().expect("the first has the file").to_string();
    assert!(second.contains("locked"), "{second}");
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(file.path()).expect("a file"));
        assert_eq!(mode & 0o777, 0o600);
    }
    first.stop().await;
    open().await.expect("nobody has it any more").stop().await;
}

#[actix_web::test]
async fn a_database_of_another_program_stays_as_it_is() {
    let file = SqliteFile::new();
    let url = format!("sqlite:{}?mode=rwc", file.path().display());
    let mut other = SqliteConnection::connect(&url).await.expect("a file");
    sqlx::raw_sql("CREATE TABLE services (id TEXT)").execute(&mut other).await.expect("a table");
    other.close().await.expect("closed");
    let before = std::fs::read(file.path()).expect("a file");
    let refused = Desk::new().file(file.path()).start().await.err().expect("it is no desk's").to_string();
    assert!(refused.contains("not a desk's"), "{refused}");
    assert!(std::fs::read(file.path()).expect("a file") == before, "it was changed");
}

#[actix_web::test]
async fn answers_go_where_a_service_says_last() {
    let desk = Desk::new().start().await.expect("a desk");
    let before = desk.register("orders", "http://127.0.0.1:9/").await.expect("a service");
    let taker = Taker::new(200, Duration::ZERO);
    let secret = "a-secret-of-another-start-0123456789";
    let after = desk.redirect("orders", &taker.url(), secret).await.expect("it is registered");
    assert_eq!((&after.api_key, &*after.webhook_secret), (&before.api_key, secret));
    desk.ask(&after.service_id, &asked("n-1")).await.expect("asked");
    desk.answer("n-1", "approve", &json!(null)).await.expect("answered");
    taker.is_called(1).await;
    let unknown = desk.redirect("others", &taker.url(), "").await.expect_err("there is none");
    assert_eq!(unknown.code(), "INVALID_PARAMETER");
    desk.stop().await;
}
