//! What a desk keeps, and what it makes of it later.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix_web::{HttpResponse, http::StatusCode, rt::time::sleep, web};
use atp_cli::desk::{Desk, Fault, RunningDesk};
use serde_json::{Value, json};
use sqlx::{Connection as _, SqliteConnection};

use super::{call, story, until};
use crate::support::{asked::asked, databases::SqliteFile, server::Server};

/// Takes so long for the first answer, and gives it this status.
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
                    let status = if nth == 0 { first } else { 200 };
                    if nth == 0 {
                        sleep(takes).await;
                    }
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
async fn what_is_delayed_takes_no_turn_and_goes_out_when_somebody_ends_it() {
    let desk = Desk::new().start().await.expect("a desk");
    let taker = Taker::new(200, Duration::ZERO);
    let service = desk.register("orders", &taker.url()).await.expect("a service");
    let answer = async |nth: usize| {
        let id = format!("n-{nth}");
        desk.ask(&service.service_id, &asked(&id)).await.expect("asked");
        desk.answer(&id, "approve", &json!(null)).await.expect("answered");
    };
    // As many as are under way at a time.
    let delayed = 64;
    desk.faults(|faults| faults.next(Fault::Delay(Duration::from_hours(1)), delayed));
    for nth in 0..=delayed {
        answer(nth).await;
    }
    taker.is_called(1).await;
    let last = format!("n-{delayed}");
    until("it is not taken", async || story(&desk, &last).await["deliveries"][0]["outcome"] == "taken").await;
    desk.send_again("n-0").await.expect("it has an answer");
    taker.is_called(2).await;
    until("it is not told", async || {
        story(&desk, "n-0").await["deliveries"][0]["attempts"][0]["fault"] == "delay=3600000"
    })
    .await;
    let (status, faults) =
        call(&desk, "PUT", "/desk/api/faults", desk.admin_token(), Some(json!({ "away": false }))).await;
    assert!(status == 200 && faults.contains(&format!(r#""delayed":{}"#, delayed - 1)), "{faults}");
    assert_eq!(taker.calls.load(Ordering::SeqCst), 2, "nothing else went out");
    let (status, faults) = call(&desk, "PUT", "/desk/api/faults", desk.admin_token(), Some(json!({}))).await;
    assert!(status == 200 && faults.contains(r#""delayed":0"#), "{faults}");
    taker.is_called(1 + delayed).await;
    desk.stop().await;
}

#[actix_web::test]
async fn what_a_desk_breaks_off_when_it_stops_is_told_and_sent_again() {
    let file = SqliteFile::new();
    let open = || Desk::new().file(file.path()).start();
    let desk = open().await.expect("a desk");
    // It has not answered when the desk stops, however long that takes to come about.
    let taker = Taker::new(200, Duration::from_secs(20));
    taker.answer(&desk).await;
    taker.is_called(1).await;
    desk.stop().await;
    let desk = open().await.expect("a desk");
    let delivery = async || story(&desk, "n-1").await["deliveries"][0].take();
    until("it is not taken", async || delivery().await["outcome"] == "taken").await;
    let attempts = delivery().await["attempts"].take();
    let told: Vec<(&Value, &Value)> =
        attempts.as_array().expect("a list").iter().map(|one| (&one["status"], &one["answer"])).collect();
    let broken = (&json!(null), &json!("broken off: the desk stopped"));
    assert_eq!(told, [broken, (&json!(200), &json!(""))], "as many as were made");
    desk.stop().await;
}

#[actix_web::test]
async fn a_page_shows_the_start_of_long_bodies_and_the_last_of_many_attempts_and_the_api_tells_all() {
    let desk = Desk::new().start().await.expect("a desk");
    let taker = Taker::new(200, Duration::ZERO);
    let service = desk.register("orders", &taker.url()).await.expect("a service");
    let question = json!({
        "id": "n-1", "context": { "title": "Why?" },
        "actions": [{ "id": "say", "label": "Say it", "response_type": "text" }],
    });
    let asked = call(&desk, "POST", "/api/v1/notifications", &service.api_key, Some(question)).await;
    assert_eq!(asked.0, 201, "{}", asked.1);
    let long = "x".repeat(9000);
    desk.faults(|faults| faults.always(Some(Fault::Burst)));
    desk.answer("n-1", "say", &long).await.expect("answered");
    for bursts in 1..=3 {
        let attempts = async || story(&desk, "n-1").await["deliveries"][0]["attempts"].clone();
        let is_told = async || attempts().await.as_array().is_some_and(|all| all.len() == 100 * bursts);
        until(&format!("{bursts} bursts are not told"), is_told).await;
        assert!(attempts().await[0]["body"].as_str().is_some_and(|body| body.contains(&long)));
        let page = call(&desk, "GET", "/questions/n-1", "", None).await.1;
        assert_eq!(page.contains("100 attempts before these are not shown"), bursts == 3);
        assert_eq!(page.matches("What was sent").count(), 100 * bursts.min(2));
        assert!(page.contains(" bytes in all)") && !page.contains(&"x".repeat(4100)), "{bursts}");
        desk.send_again("n-1").await.expect("it has an answer");
    }
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
