//! One SQLite file: the tables of this service, and the library's store beside them.

use std::{fs, io, path::Path};

use atp_actix::{
    Error,
    atp_core::Response,
    store::{DEFAULT_SERVICE, DeliveryRow, Known, Question, SqliteStore, Store as _},
};
use atp_examples::Failure;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::value::RawValue;
use sqlx::{SqliteConnection, SqlitePool};

use crate::events;

/// The tasks. A clone shares the connections.
#[derive(Clone)]
pub struct Tasks {
    /// For the webhook.
    pub store: SqliteStore,
}

/// A task as `GET /tasks` shows it.
#[derive(Serialize)]
pub struct Task {
    pub notification_id: String,
    pub title: String,
    pub description: String,
    pub state: String,
    pub outcome: Option<String>,
    /// What other systems are told of the decision.
    pub event: Option<Box<RawValue>>,
    /// Whether they were.
    pub is_sent: bool,
    /// What came of the answers, as the store's audit has it.
    pub deliveries: Vec<Delivered>,
}

/// Answers that came to the same.
#[derive(Serialize)]
pub struct Delivered {
    pub verdict: &'static str,
    pub status: u16,
    pub count: u64,
    pub last: DateTime<Utc>,
}

impl From<&DeliveryRow> for Delivered {
    fn from(row: &DeliveryRow) -> Self {
        Self { verdict: row.verdict.name(), status: row.status, count: row.count, last: row.last_seen }
    }
}

impl Tasks {
    /// Opens the file, or makes it.
    pub async fn open(file: &Path) -> Result<Self, Failure> {
        let explain = |error: Error| {
            let file = file.display();
            Failure::new(format!(
                "the database {file} cannot be opened: {error}; name another with --database"
            ))
        };
        Self::try_open(file).await.map_err(explain)
    }

    async fn try_open(file: &Path) -> Result<Self, Error> {
        create_private(file)?;
        let store = SqliteStore::open(file).await?.routes(events::routes());
        sqlx::raw_sql(include_str!("schema.sql")).execute(store.pool()).await?;
        Ok(Self { store })
    }

    fn pool(&self) -> &SqlitePool {
        self.store.pool()
    }

    /// The webhook secret that was made when the file was.
    pub async fn secret(&self) -> sqlx::Result<String> {
        // SQLite seeds its generator from the operating system.
        sqlx::query(
            "INSERT OR IGNORE INTO settings VALUES ('webhook_secret', 'whsec_' || lower(hex(randomblob(32))))",
        )
        .execute(self.pool())
        .await?;
        sqlx::query_scalar("SELECT value FROM settings WHERE name = 'webhook_secret'")
            .fetch_one(self.pool())
            .await
    }

    /// Adds a task and records its question, both or neither, before the question is sent. It can
    /// be done again.
    pub async fn add(&self, notification_id: &str, question: &Question) -> Result<(), Error> {
        let mut transaction = self.store.begin().await?;
        sqlx::query("INSERT OR IGNORE INTO tasks VALUES (?)")
            .bind(notification_id)
            .execute(&mut *transaction)
            .await?;
        self.store.record_in(&mut transaction, question).await?;
        Ok(transaction.commit().await?)
    }

    /// All tasks, in the order in which they were added.
    pub async fn all(&self) -> Result<Vec<Task>, Error> {
        type Row = (String, Option<String>, Option<String>, bool);
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT notification_id, outcome, e.data, e.seq IS NOT NULL AND s.seq IS NULL
             FROM tasks LEFT JOIN effects USING (notification_id)
                 LEFT JOIN atp_events AS e ON e.subject = notification_id AND e.kind = 'atp.decision'
                 LEFT JOIN atp_sends AS s ON s.seq = e.seq
             ORDER BY tasks.rowid",
        )
        .fetch_all(self.pool())
        .await?;
        let mut tasks = Vec::new();
        for (notification_id, outcome, event, is_sent) in rows {
            let Known { question: Some(question), .. } =
                self.store.find(DEFAULT_SERVICE, &notification_id, None).await?
            else {
                continue;
            };
            let state = question.state.unwrap_or_else(|| "pending".to_owned());
            let context = question.notification.context;
            let (title, description) = (context.title, context.description);
            let event = event.map(RawValue::from_string).transpose()?;
            let deliveries = self.store.deliveries(DEFAULT_SERVICE, &notification_id).await?;
            let deliveries = deliveries.iter().map(Delivered::from).collect();
            tasks.push(Task {
                notification_id,
                title,
                description,
                state,
                outcome,
                event,
                is_sent,
                deliveries,
            });
        }
        Ok(tasks)
    }
}

/// Lets a decision take effect, in the transaction that completes it.
pub async fn take_effect(
    transaction: &mut SqliteConnection,
    answer: &Response,
    outcome: &str,
) -> Result<(), Error> {
    sqlx::query("INSERT INTO effects VALUES (?, ?)")
        .bind(&answer.notification_id)
        .bind(outcome)
        .execute(transaction)
        .await?;
    Ok(())
}

/// Makes the file for this user alone, if it is not there: it will hold the secret.
fn create_private(file: &Path) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file).map(drop)
}
