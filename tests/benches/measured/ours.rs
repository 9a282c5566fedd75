//! The server that is measured.

use actix_web::{App, HttpServer, web};
use atp_actix::{
    AtpResponse, Error, PostgresTransaction, Secret, Simple, SqliteTransaction, Verifier, Webhook,
    store::{Outbox, PostgresStore, Routes, SqliteStore, Store},
};
use atp_tests::{PATH, SECRET};

/// What is started beside the webhook, and goes on until the server ends.
pub(crate) trait Beside {
    type Running;
    fn start(&self, store: &impl Outbox) -> Self::Running;
}

/// Nothing.
impl Beside for () {
    type Running = ();
    fn start(&self, _: &impl Outbox) {}
}

/// Serves decisions that are told to where these routes lead, with this beside the webhook.
pub(crate) async fn serve(url: &str, routes: Routes, beside: &impl Beside) {
    if let Some(file) = url.strip_prefix("sqlite:") {
        let store = SqliteStore::open(file).await.expect("a store").routes(routes);
        let _running = beside.start(&store);
        return run(move |config| {
            config.service(webhook(&store).on("approve", ours_sqlite));
        })
        .await;
    }
    let store = PostgresStore::connect(url).await.expect("a store").routes(routes);
    let _running = beside.start(&store);
    run(move |config| {
        config.service(webhook(&store).on("approve", ours_postgres));
    })
    .await;
}

pub(crate) async fn run(configure: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static) {
    let server = HttpServer::new(move || App::new().configure(configure.clone())).workers(1);
    let server = server.bind("127.0.0.1:0").expect("a port");
    println!("{}", server.addrs()[0]);
    server.run().await.expect("a server");
}

fn webhook(store: &impl Store) -> Webhook {
    Webhook::new(PATH, Verifier::new(Secret::new(SECRET).expect("a secret"))).store(store.clone())
}

async fn ours_sqlite(answer: AtpResponse<Simple>, mut tx: SqliteTransaction) -> Result<(), Error> {
    sqlx::query("UPDATE orders SET state = 'approved' WHERE id = ?")
        .bind(&answer.notification_id)
        .execute(&mut *tx)
        .await?;
    Ok(())
}

async fn ours_postgres(answer: AtpResponse<Simple>, mut tx: PostgresTransaction) -> Result<(), Error> {
    sqlx::query("UPDATE orders SET state = 'approved' WHERE id = $1")
        .bind(&answer.notification_id)
        .execute(&mut *tx)
        .await?;
    Ok(())
}
