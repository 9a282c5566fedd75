//! The tasks, in one SQLite file: what was asked, and what was decided.

use std::{fs, io, path::Path, time::Duration};

use atp_actix::atp_core::{Notification, RawJson, Response, UserDecision, Violations, canonical};
use atp_examples::Failure;
use chrono::Utc;
use serde::Serialize;
use serde_json::value::RawValue;
use sqlx::{
    SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous},
};

use crate::questions::Asked;

/// The tasks. A clone shares the connections.
#[derive(Clone)]
pub struct Tasks(SqlitePool);

/// A task as `GET /tasks` shows it.
#[derive(Serialize)]
pub struct Task {
    pub notification_id: String,
    pub title: String,
    pub description: String,
    pub state: String,
    pub outcome: Option<String>,
    pub event: Option<Box<RawValue>>,
}

/// What an answer makes of its task.
pub struct Decision {
    pub state: &'static str,
    /// In words, for humans.
    pub outcome: String,
}

/// Why an answer changes nothing.
pub enum Refused {
    /// This service did not ask that.
    NotAsked,
    /// The question does not have that action.
    NotAnAction,
    /// The data does not fit the action.
    Unfit(Violations),
    /// Another answer stands.
    AlreadyAnswered,
    /// The database failed. The server should deliver again.
    Failed(atp_actix::Error),
}

impl<E: std::error::Error + 'static> From<E> for Refused {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Tasks {
    /// How long to wait for the database. The sender waits five seconds, and should still get a 503.
    const PATIENCE: Duration = Duration::from_secs(2);

    /// Opens the file, or makes it.
    pub async fn open(file: &Path) -> Result<Self, Failure> {
        let explain = |error: &dyn std::error::Error| {
            let file = file.display();
            Failure::new(format!(
                "the database {file} cannot be opened: {error}; name another with --database"
            ))
        };
        create_private(file).map_err(|error| explain(&error))?;
        let options = SqliteConnectOptions::new()
            .filename(file)
            .foreign_keys(true)
            .busy_timeout(Self::PATIENCE)
            .journal_mode(SqliteJournalMode::Wal)
            // Flush before an answer is acknowledged: after the 200 nobody delivers it again.
            .synchronous(SqliteSynchronous::Full);
        let pool = SqlitePoolOptions::new().acquire_timeout(Self::PATIENCE).connect_with(options).await;
        let pool = pool.map_err(|error| explain(&error))?;
        sqlx::raw_sql(include_str!("schema.sql")).execute(&pool).await.map_err(|error| explain(&error))?;
        Ok(Self(pool))
    }

    /// The webhook secret that was made when the file was.
    pub async fn secret(&self) -> sqlx::Result<String> {
        // SQLite seeds its generator from the operating system.
        sqlx::query(
            "INSERT OR IGNORE INTO settings VALUES ('webhook_secret', 'whsec_' || lower(hex(randomblob(32))))",
        )
        .execute(&self.0)
        .await?;
        sqlx::query_scalar("SELECT value FROM settings WHERE name = 'webhook_secret'")
            .fetch_one(&self.0)
            .await
    }

    /// Records a question before it is sent, so that its answer finds it. One that is there stays as it is.
    pub async fn record(&self, asked: &Asked) -> Result<(), Failure> {
        asked.question.check()?;
        sqlx::query("INSERT OR IGNORE INTO tasks (notification_id, question, user_id, request_id) VALUES (?, ?, ?, ?)")
            .bind(&asked.question.id)
            .bind(serde_json::to_string(&asked.question)?)
            .bind(asked.user_id)
            .bind(asked.request_id)
            .execute(&self.0)
            .await?;
        Ok(())
    }

    /// All tasks, in the order in which they were recorded.
    pub async fn all(&self) -> Result<Vec<Task>, atp_actix::Error> {
        type Row = (String, String, String, Option<String>, Option<String>);
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT notification_id, question, state, outcome, event
             FROM tasks LEFT JOIN events USING (notification_id) ORDER BY tasks.rowid",
        )
        .fetch_all(&self.0)
        .await?;
        let task = |(notification_id, question, state, outcome, event): Row| {
            let context = serde_json::from_str::<Notification>(&question)?.context;
            let (title, description) = (context.title, context.description);
            let event = event.map(RawValue::from_string).transpose()?;
            Ok(Task { notification_id, title, description, state, outcome, event })
        };
        rows.into_iter().map(task).collect()
    }

    /// Lets an answer decide its task, once: the same answer again changes nothing and is no error. All of it happens in
    /// one transaction, or none.
    pub async fn decide(&self, answer: &Response, decision: Decision) -> Result<(), Refused> {
        // IMMEDIATE: of two answers at once the second waits here, and then sees what the first has decided.
        let mut transaction = self.0.begin_with("BEGIN IMMEDIATE").await?;
        let task = Stored::find(&mut transaction, &answer.notification_id).await?.ok_or(Refused::NotAsked)?;
        let given = (answer.action_id.clone(), canonical_data(answer.response_data.as_ref()));
        if let Some(standing) = &task.answer {
            return if *standing == given { Ok(()) } else { Err(Refused::AlreadyAnswered) };
        }
        let action = task.question.find_action(&answer.action_id).ok_or(Refused::NotAnAction)?;
        answer.fits(action).map_err(Refused::Unfit)?;

        sqlx::query("UPDATE tasks SET state = ?, outcome = ?, action_id = ?, response_data = ? WHERE notification_id = ?")
            .bind(decision.state)
            .bind(decision.outcome)
            .bind(given.0)
            .bind(given.1)
            .bind(&answer.notification_id)
            .execute(&mut *transaction)
            .await?;
        let event = UserDecision::new(answer, Utc::now()).user_id(task.user_id).request_id(task.request_id);
        sqlx::query("INSERT INTO events VALUES (?, ?)")
            .bind(&answer.notification_id)
            .bind(serde_json::to_string(&event)?)
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }

    /// Closes the file.
    pub async fn close(&self) {
        self.0.close().await;
    }
}

/// What is known of a task when its answer arrives.
struct Stored {
    question: Notification,
    user_id: String,
    request_id: String,
    /// The action and the data of the answer that stands.
    answer: Option<(String, String)>,
}

impl Stored {
    async fn find(connection: &mut SqliteConnection, id: &str) -> Result<Option<Self>, Refused> {
        type Row = (String, String, String, Option<String>, Option<String>);
        let row: Option<Row> = sqlx::query_as(
            "SELECT question, user_id, request_id, action_id, response_data FROM tasks WHERE notification_id = ?",
        )
        .bind(id)
        .fetch_optional(connection)
        .await?;
        let Some((question, user_id, request_id, action_id, data)) = row else { return Ok(None) };
        let question = serde_json::from_str(&question)?;
        Ok(Some(Self { question, user_id, request_id, answer: action_id.zip(data) }))
    }
}

/// Data in a form in which white space and the order of members make no difference. Data that is missing counts as `null`.
fn canonical_data(data: Option<&RawJson>) -> String {
    let text = data.map_or("null", RawJson::as_str);
    // What CPython cannot print, an integer of thousands of digits, is compared as it was written.
    canonical::python(text.as_bytes()).unwrap_or_else(|_| text.to_owned())
}

/// Makes the file for this user alone, if it is not there: it will hold the secret.
fn create_private(file: &Path) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file).map(drop)
}
