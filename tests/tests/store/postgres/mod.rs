//! What PostgreSQL alone lets a handler do to its transaction, or does to it: a statement that
//! fails spoils all of it, a commit by hand is a commit, and the end of all that is written, and
//! one that was asked for may still be refused.

use std::{panic, time::Duration};

use actix_web::{HttpResponse, http::StatusCode};
use atp_actix::{AtpResponse, Error, PostgresTransaction, Simple, Webhook, store::PostgresStore};
use sqlx::{
    PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::support::{
    databases::{Database as _, PostgresDatabase},
    orders::{Orders, Transactional as _, write},
};

mod by_hand;
mod conflicts;
mod encrypted;
mod plans;
mod sessions;

async fn orders() -> Option<Orders<PostgresDatabase>> {
    Some(Orders::over(PostgresDatabase::new().await?))
}

/// With a store of one's own, in which a handler may wait for another.
async fn patient(
    options: impl FnOnce(PgConnectOptions) -> PgConnectOptions,
) -> Option<Orders<PostgresDatabase>> {
    let database = PostgresDatabase::new().await?;
    let url: PgConnectOptions = database.url().parse().expect("a URL");
    let pool = PgPoolOptions::new().max_connections(6).connect_with(options(url)).await.expect("a pool");
    let store = PostgresStore::from_pool(pool).await.expect("a store");
    let store = store.transaction_limit(Duration::from_secs(10));
    Some(Orders { database, store, respond_within: Duration::from_secs(20) })
}

async fn execute(connection: &mut PgConnection, sql: &'static str) -> Result<(), Error> {
    Ok(PostgresDatabase::execute(connection, sql).await?)
}

/// The service's own work beside the store.
async fn prepare(pool: &PgPool, sql: &'static str) {
    sqlx::raw_sql(sql).execute(pool).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// A handler that writes its row, takes these steps whatever comes of them, and says this.
fn careless(steps: &'static [&'static str], says: StatusCode) -> impl Fn(Webhook) -> Webhook {
    let handler = move |answer: AtpResponse<Simple>, mut tx: PostgresTransaction| async move {
        write::<PostgresDatabase>(&mut tx, &answer.notification_id).await?;
        for step in steps {
            let _ = execute(&mut tx, step).await;
        }
        Ok::<_, Error>(HttpResponse::new(says))
    };
    move |webhook| webhook.on("approve", handler)
}

/// How often this was written.
async fn count(orders: &Orders<PostgresDatabase>, note: &str) -> usize {
    orders.notes().await.iter().filter(|other| *other == note).count()
}
