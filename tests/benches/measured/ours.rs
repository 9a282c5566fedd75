//! The server that is measured.

use actix_web::{App, HttpServer, web};
use atp_actix::{
    AtpResponse, Error, PostgresTransaction, Secret, Simple, SqliteTransaction, Verifier, Webhook,
    store::{PostgresStore, Routes, SqliteStore, Store},
};
use atp_tests::{PATH, SECRET};

/// Serves decisions that are told to where these routes lead.
pub(crate) async fn serve(url: &str, routes: Routes) {
    if let Some(file) = url.strip_prefix("sqlite:") {
        let store = SqliteStore::open(file).await.expect("a store").routes(routes);
        return run(move |config| {
            config.service(webhook(&store).on("approve", ours_sqlite));
        })
        .await;
    }
    let store = PostgresStore::connect(url).await.expect("a store").routes(routes);
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
