//! A desk beside the test, with a clock that the test sets and a service that takes every answer.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use actix_web::{App, HttpResponse, HttpServer, dev::ServerHandle, rt, web};
use atp_actix::{Client, atp_core::Notification, client::ApiKey};
use atp_cli::desk::{Desk, Registered, RunningDesk};
use chrono::{DateTime, TimeDelta, Utc};

/// A desk, and who asks there.
pub struct At {
    pub desk: RunningDesk,
    pub service: Registered,
    ahead: Arc<AtomicI64>,
    server: ServerHandle,
}

impl At {
    pub async fn start() -> Self {
        Self::start_as(Desk::new()).await
    }

    pub async fn start_as(desk: Desk) -> Self {
        let ahead = Arc::new(AtomicI64::new(0));
        let clock = Arc::clone(&ahead);
        let desk = desk.clock(move || Utc::now() + TimeDelta::seconds(clock.load(Ordering::SeqCst)));
        let desk = desk.unpaced().start().await.expect("a desk");
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let callback = format!("http://{}/atp/webhook", listener.local_addr().expect("an address"));
        let app = || App::new().default_service(web::to(|| async { HttpResponse::Ok().body("taken") }));
        let server =
            HttpServer::new(app).workers(1).disable_signals().listen(listener).expect("a server").run();
        let handle = server.handle();
        rt::spawn(server);
        let service = desk.register("Orders", &callback).await.expect("a service");
        Self { desk, service, ahead, server: handle }
    }

    /// The time by the desk's clock.
    pub fn now(&self) -> DateTime<Utc> {
        Utc::now() + TimeDelta::seconds(self.ahead.load(Ordering::SeqCst))
    }

    /// Lets time pass.
    pub fn wait(&self, seconds: i64) {
        self.ahead.fetch_add(seconds, Ordering::SeqCst);
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.desk.url())
    }

    pub async fn ask(&self, question: &Notification) {
        self.desk.ask(&self.service.service_id, question).await.expect("it is asked");
    }

    /// Takes a question back.
    pub async fn withdraw(&self, id: &str, reason: &str) {
        let key = ApiKey::new(self.service.api_key.clone()).expect("a key");
        let client = Client::new(&self.desk.url(), key).expect("a client");
        let change = atp_actix::atp_core::StatusChange::invalidated(reason);
        client.change_status(id, &change).await.expect("it is taken back");
    }

    pub async fn stop(self) {
        self.desk.stop().await;
        self.server.stop(false).await;
    }
}
