//! Connections that are encrypted: who is believed, and who is not.

use atp_actix::store::{PostgresStore, StoreError};
use futures_util::future::join_all;

use crate::support::{
    asked::record,
    databases::{Database as _, PostgresDatabase},
};

/// A database of its own, on a server that offers TLS.
async fn database() -> Option<PostgresDatabase> {
    let database = PostgresDatabase::new().await?;
    let offers: String = sqlx::query_scalar("SHOW ssl").fetch_one(&database.pool).await.expect("a setting");
    if offers == "on" {
        return Some(database);
    }
    assert!(std::env::var_os("CI").is_none(), "PostgreSQL offers no TLS, and CI must not skip it: ssl = on");
    println!("SKIPPED: PostgreSQL offers no TLS, so none was tried");
    None
}

#[actix_web::test]
async fn all_connections_of_a_store_are_encrypted_where_that_is_asked() {
    let Some(database) = database().await else { return };
    let signed: String =
        sqlx::query_scalar("SHOW ssl_cert_file").fetch_one(&database.pool).await.expect("a setting");
    for mode in ["prefer", "require", &format!("verify-ca&sslrootcert={signed}")] {
        let url = format!("{}?sslmode={mode}&application_name=encrypted", database.url());
        let store = PostgresStore::connect(&url).await.unwrap_or_else(|error| panic!("{mode}: {error:?}"));
        let ids = (0..4).map(|nth| format!("{mode}-{nth}"));
        join_all(ids.map(async |id| record(&store, &id).await)).await;
        let (all, encrypted): (i64, i64) = sqlx::query_as(
            "SELECT count(*), count(*) FILTER (WHERE ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
             WHERE application_name = 'encrypted'",
        )
        .fetch_one(&database.pool)
        .await
        .expect("two numbers");
        assert!(all > 0, "{mode}");
        assert_eq!(encrypted, all, "{mode}");
        store.close().await;
    }
}

#[actix_web::test]
async fn a_server_whose_certificate_nobody_signed_is_refused_where_that_is_asked() {
    let Some(database) = database().await else { return };
    let refused = PostgresStore::connect(&format!("{}?sslmode=verify-full", database.url())).await;
    let Err(error) = refused else { panic!("a server that anybody could be was believed") };
    assert!(matches!(error, StoreError::Backend(_)), "{error:?}");
    assert!(format!("{error:?}").to_lowercase().contains("certificate"), "{error:?}");
}
