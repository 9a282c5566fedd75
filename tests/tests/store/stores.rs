//! Every store keeps the contract.

use std::time::Duration;

use actix_web::rt;
use atp_actix::store::{Claimed, MemoryStore, Routes, SqliteStore, Store, contract, outbox_contract};
use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::time::sleep;

use crate::support::{
    asked::claim,
    databases::{Database as _, PostgresDatabase, SqliteFile},
};

#[actix_web::test]
async fn memory_keeps_the_contract() {
    contract(MemoryStore::new().redelivery_window(Duration::ZERO)).await;
}

#[actix_web::test]
async fn a_sqlite_file_keeps_the_contract() {
    let file = SqliteFile::new();
    contract(file.open().await.redelivery_window(Duration::ZERO)).await;
}

#[actix_web::test]
async fn sqlite_in_memory_keeps_the_contract() {
    let store = SqliteStore::in_memory().await.expect("a database in memory");
    contract(store.redelivery_window(Duration::ZERO)).await;
}

#[actix_web::test]
async fn postgres_keeps_the_contract() {
    if let Some(database) = PostgresDatabase::new().await {
        contract(database.store().clone().redelivery_window(Duration::ZERO)).await;
    }
}

fn routes() -> Routes {
    Routes::new().events("bus").events("audit").server("atp")
}

#[actix_web::test]
async fn memory_keeps_the_contract_of_an_outbox() {
    outbox_contract(MemoryStore::new().routes(routes())).await;
}

#[actix_web::test]
async fn a_sqlite_file_keeps_the_contract_of_an_outbox() {
    let file = SqliteFile::new();
    outbox_contract(file.open().await.routes(routes())).await;
}

#[actix_web::test]
async fn postgres_keeps_the_contract_of_an_outbox() {
    if let Some(database) = PostgresDatabase::new().await {
        outbox_contract(database.store().clone().routes(routes())).await;
    }
}

/// Claims of several processes that all wait for a lock; how many start once it is free.
async fn started<S: Store>(stores: &[S], id: &str, free: impl Future<Output = ()>) -> usize {
    let claims = stores.iter().cloned().zip(0..).map(|(store, nth): (S, u64)| {
        let claim = claim(id, "approve", "as it came");
        rt::spawn(async move {
            sleep(Duration::from_millis(7 * nth)).await;
            store.claim(&claim).await
        })
    });
    let claims: Vec<_> = claims.collect();
    sleep(Duration::from_millis(200)).await;
    free.await;
    let mut started = 0;
    for claim in claims {
        started += usize::from(matches!(claim.await.expect("no panic"), Ok(Claimed::Started(()))));
    }
    started
}

#[actix_web::test]
async fn of_claims_that_waited_for_a_lock_one_starts_on_sqlite() {
    let file = SqliteFile::new();
    let mut stores = Vec::new();
    for _ in 0..6 {
        stores.push(file.open().await);
    }
    let options = SqliteConnectOptions::new().filename(file.path());
    let mut other = SqliteConnection::connect_with(&options).await.expect("another program");
    for round in 0..5 {
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.expect("a lock");
        let free = async {
            sqlx::raw_sql("ROLLBACK").execute(&mut other).await.expect("no lock");
        };
        assert_eq!(started(&stores, &format!("n-{round}"), free).await, 1);
    }
}

#[actix_web::test]
async fn of_claims_that_waited_for_a_lock_one_starts_on_postgres() {
    let Some(database) = PostgresDatabase::new().await else { return };
    let stores = vec![database.store().clone(); 8];
    let mut other = database.pool.acquire().await.expect("a connection");
    for round in 0..5 {
        let id = format!("n-{round}");
        sqlx::raw_sql("BEGIN").execute(&mut *other).await.expect("a transaction");
        let row = "INSERT INTO atp_decisions (service, notification_id, fingerprint, action_id, token, leased_at, lease_until,
                 is_late, scheme, secret_index)
             VALUES ('default', $1, 'a', 'a', 'a', 0, 0, false, 'raw', 0)";
        sqlx::query(row).bind(&id).execute(&mut *other).await.expect("a row that others wait for");
        let free = async {
            sqlx::raw_sql("ROLLBACK").execute(&mut *other).await.expect("no lock");
        };
        assert_eq!(started(&stores, &id, free).await, 1);
    }
}
