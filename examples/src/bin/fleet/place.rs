//! A database of the fleet's own on the PostgreSQL: the library's tables and the service's.

use atp_actix::{
    atp_core::{Action, Notification},
    store::{PostgresStore, Question, Routes},
};
use atp_examples::Failure;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, postgres::PgConnectOptions};

/// The name by which what is stored and what is sent agree on the bus.
pub const BUS: &str = "bus";

/// Questions that are recorded in one transaction: no transaction is long.
const A_BATCH: usize = 100;

/// A database with a store in it.
pub struct Place {
    server: PgConnectOptions,
    name: String,
    pub store: PostgresStore,
}

impl Place {
    /// Makes the database.
    pub async fn make(server: &PgConnectOptions, name: &str) -> Result<Self, Failure> {
        run(server, &format!("CREATE DATABASE {name}")).await.map_err(|error| {
            Failure::new(format!(
                "cannot make the database {name}: {error}; DATABASE_URL must be of a user who may"
            ))
        })?;
        let store = open(&url(server, name)).await?;
        sqlx::raw_sql(include_str!("effects.sql")).execute(store.pool()).await?;
        Ok(Self { server: server.clone(), name: name.to_owned(), store })
    }

    /// For another process.
    pub fn url(&self) -> String {
        url(&self.server, &self.name)
    }

    /// Records questions before anybody is asked them.
    pub async fn ask(&self, ids: &[String]) -> Result<(), Failure> {
        for batch in ids.chunks(A_BATCH) {
            let mut transaction = self.store.begin().await?;
            for id in batch {
                let notification = Notification::new("Refund?", "The customer reports a broken cup.")
                    .id(id)
                    .action(Action::simple("approve", "Refund"));
                self.store.record_in(&mut transaction, &Question::new(notification)).await?;
            }
            transaction.commit().await?;
        }
        Ok(())
    }

    /// What took effect: how often in all, for how many questions, and by which process.
    pub async fn effects(&self) -> Result<Vec<Effect>, Failure> {
        let effects: Vec<(String, String, String)> =
            sqlx::query_as("SELECT notification_id, decision_id, member FROM effects")
                .fetch_all(self.store.pool())
                .await?;
        let effect = |(notification_id, decision_id, member)| Effect { notification_id, decision_id, member };
        Ok(effects.into_iter().map(effect).collect())
    }

    /// Forgets it all.
    pub async fn drop(self) -> Result<(), Failure> {
        self.store.close().await;
        Ok(run(&self.server, &format!("DROP DATABASE {} WITH (FORCE)", self.name)).await?)
    }
}

/// A row of the service's own table, written in the transaction that completes the decision.
pub struct Effect {
    pub notification_id: String,
    pub decision_id: String,
    pub member: String,
}

/// The store, as every process of the fleet opens it.
pub async fn open(url: &str) -> Result<PostgresStore, Failure> {
    Ok(PostgresStore::connect(url).await?.routes(Routes::new().events(BUS)))
}

fn url(server: &PgConnectOptions, name: &str) -> String {
    server.clone().database(name).to_url_lossy().to_string()
}

async fn run(server: &PgConnectOptions, statement: &str) -> sqlx::Result<()> {
    let mut connection = PgConnection::connect_with(server).await?;
    // The names in it are ours.
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut connection).await?;
    connection.close().await
}
