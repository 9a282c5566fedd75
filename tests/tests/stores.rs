//! Every store keeps the contract.

use std::time::Duration;

use atp_actix::store::{MemoryStore, SqliteStore, contract};

use crate::databases::{Database as _, PostgresDatabase, SqliteFile};

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
