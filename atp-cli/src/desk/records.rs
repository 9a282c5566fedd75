//! What the desk keeps, in an SQLite file or in memory: services, questions, answers and how they
//! were delivered.

use std::{collections::BTreeSet, path::Path};

use atp_core::{Action, ClientResponded, Notification, RawJson, Scheme, Status, validate};
use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::{
    Connection as _, FromRow, Sqlite, SqliteConnection, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use tokio::sync::{Mutex, MutexGuard};
use uuid::Uuid;

use super::{
    refusal::Refusal,
    signing::{Answer, Responder, new_secret},
    state::{self, Step, step},
};
use crate::limits::PAGE;

/// One connection for all: who writes a file takes turns in any case.
pub(super) struct Records(Mutex<SqliteConnection>);

/// A service that asks.
#[derive(Clone, FromRow)]
pub(super) struct ServiceRow {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) callback_url: String,
    pub(super) secret: String,
    pub(super) api_key: String,
    scheme: String,
}

impl ServiceRow {
    pub(super) fn scheme(&self) -> Scheme {
        scheme_of(&self.scheme).unwrap_or(Scheme::Timestamped)
    }
}

/// The scheme of this name.
pub(super) fn scheme_of(name: &str) -> Option<Scheme> {
    Scheme::ALL.into_iter().find(|scheme| scheme.name() == name)
}

/// A question in a list.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) id: String,
    pub(super) service: String,
    pub(super) status: Status,
    pub(super) notification: Notification,
    pub(super) action: Option<String>,
}

#[derive(FromRow)]
struct QuestionRow {
    id: String,
    service: String,
    notification: String,
    status: String,
    deadline: Option<i64>,
    action: Option<String>,
    data: Option<String>,
}

impl QuestionRow {
    fn listed(self) -> Result<Listed, Refusal> {
        let notification = serde_json::from_str(&self.notification)
            .map_err(|error| sqlx::Error::Decode(error.to_string().into()))?;
        let status = self.status();
        Ok(Listed { id: self.id, service: self.service, status, notification, action: self.action })
    }

    fn status(&self) -> Status {
        state::of_name(&self.status).unwrap_or(Status::Completed)
    }
}

/// A question with all that became of it.
pub(super) struct Story {
    pub(super) listed: Listed,
    pub(super) data: Option<String>,
    pub(super) service_name: String,
    pub(super) happened: Vec<Happened>,
    pub(super) deliveries: Vec<(DeliveryRow, Vec<AttemptRow>)>,
}

/// Something that happened to a question.
#[derive(Clone, Debug, FromRow)]
pub(super) struct Happened {
    pub(super) at: i64,
    pub(super) what: String,
    pub(super) detail: String,
}

/// An answer on its way.
#[derive(Clone, Debug, FromRow)]
pub(super) struct DeliveryRow {
    pub(super) nth: i64,
    pub(super) question: String,
    pub(super) service: String,
    pub(super) request_id: String,
    pub(super) body: String,
    pub(super) attempts: i64,
    pub(super) outcome: Option<String>,
}

/// One attempt to deliver.
#[derive(Clone, Debug, FromRow)]
pub(super) struct AttemptRow {
    pub(super) at: i64,
    pub(super) url: String,
    pub(super) fault: Option<String>,
    pub(super) headers: String,
    pub(super) body: String,
    pub(super) status: Option<i64>,
    pub(super) answer: String,
    pub(super) micros: i64,
}

/// What becomes of a delivery after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// The service took it.
    Taken,
    /// It said that it will never.
    Refused,
    /// It was tried often enough.
    GivenUp,
    /// It is tried again then.
    Again(DateTime<Utc>),
}

/// Which questions are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Filter {
    #[default]
    Waiting,
    Answered,
    Expired,
    Withdrawn,
    All,
}

impl Filter {
    pub(super) const ALL: [Self; 5] =
        [Self::Waiting, Self::Answered, Self::Expired, Self::Withdrawn, Self::All];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Answered => "answered",
            Self::Expired => "expired",
            Self::Withdrawn => "withdrawn",
            Self::All => "all",
        }
    }

    pub(super) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|filter| filter.name() == name)
    }

    fn condition(self) -> &'static str {
        match self {
            Self::Waiting => "status IN ('created', 'delivered', 'acknowledged')",
            Self::Answered => "status IN ('responded', 'completed')",
            Self::Expired => "status = 'expired'",
            Self::Withdrawn => "status = 'invalidated'",
            Self::All => "true",
        }
    }
}

const COLUMNS: &str = "id, service, notification, status, deadline, action, data";

fn micros(time: DateTime<Utc>) -> i64 {
    time.timestamp_micros()
}

fn not_found(id: &str) -> Refusal {
    let id: String = id.chars().take(100).collect();
    Refusal::new("NOTIFICATION_NOT_FOUND", "There is no such question.").detail("notification_id", id)
}

impl Records {
    /// Opens a file, which is made if it is not there, or keeps all in memory.
    pub(super) async fn open(file: Option<&Path>) -> sqlx::Result<Self> {
        let options = match file {
            Some(file) => SqliteConnectOptions::new()
                .filename(file)
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full),
            None => SqliteConnectOptions::new().in_memory(true),
        };
        let mut connection = SqliteConnection::connect_with(&options).await?;
        sqlx::raw_sql(include_str!("schema.sql")).execute(&mut connection).await?;
        Ok(Self(Mutex::new(connection)))
    }

    async fn connection(&self) -> MutexGuard<'_, SqliteConnection> {
        self.0.lock().await
    }

    // Services.

    pub(super) async fn register(
        &self,
        name: &str,
        description: &str,
        callback_url: &str,
        secret: &str,
    ) -> Result<ServiceRow, Refusal> {
        let mut connection = self.connection().await;
        let there = sqlx::query("SELECT 1 FROM services WHERE name = $1").bind(json!(name).to_string());
        if there.fetch_optional(&mut *connection).await?.is_some() {
            let there = "There is a service of this name; a desk tells services apart by it.";
            return Err(Refusal::new("SERVICE_ALREADY_EXISTS", there));
        }
        let row = sqlx::query_as(
            "INSERT INTO services (id, name, description, callback_url, secret, api_key, scheme)
             VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING *",
        )
        .bind(format!("svc_{}", Uuid::new_v4().simple()))
        .bind(json!(name).to_string())
        .bind(json!(description).to_string())
        .bind(callback_url)
        .bind(secret)
        .bind(format!("sk_{}", new_secret()))
        .bind(Scheme::Timestamped.name())
        .fetch_one(&mut *connection)
        .await?;
        Ok(row)
    }

    pub(super) async fn services(&self) -> Result<Vec<ServiceRow>, Refusal> {
        let mut connection = self.connection().await;
        Ok(sqlx::query_as("SELECT * FROM services ORDER BY rowid").fetch_all(&mut *connection).await?)
    }

    pub(super) async fn service(&self, id: &str) -> Result<Option<ServiceRow>, Refusal> {
        let mut connection = self.connection().await;
        let row = sqlx::query_as("SELECT * FROM services WHERE id = $1").bind(id);
        Ok(row.fetch_optional(&mut *connection).await?)
    }

    pub(super) async fn service_of_key(&self, api_key: &str) -> Result<Option<ServiceRow>, Refusal> {
        let mut connection = self.connection().await;
        let row = sqlx::query_as("SELECT * FROM services WHERE api_key = $1").bind(api_key);
        Ok(row.fetch_optional(&mut *connection).await?)
    }

    /// What is delivered from now on is signed in this scheme.
    pub(super) async fn set_scheme(&self, id: &str, scheme: Scheme) -> Result<bool, Refusal> {
        let mut connection = self.connection().await;
        let set = sqlx::query("UPDATE services SET scheme = $2 WHERE id = $1").bind(id).bind(scheme.name());
        Ok(set.execute(&mut *connection).await?.rows_affected() > 0)
    }

    /// What is delivered from now on is signed with this secret.
    pub(super) async fn set_secret(&self, id: &str, secret: &str) -> Result<bool, Refusal> {
        let mut connection = self.connection().await;
        let set = "UPDATE services SET previous_secret = secret, secret = $2 WHERE id = $1";
        Ok(sqlx::query(set).bind(id).bind(secret).execute(&mut *connection).await?.rows_affected() > 0)
    }

    // Questions.

    /// Keeps a question that has an id; whether it was there already, word for word.
    pub(super) async fn ask(
        &self,
        service: &ServiceRow,
        id: &str,
        notification: &Notification,
        now: DateTime<Utc>,
    ) -> Result<(Status, bool), Refusal> {
        let text = serde_json::to_string(notification)
            .map_err(|error| Refusal::new("INVALID_PARAMETER", error.to_string()))?;
        let mut connection = self.connection().await;
        let mut tx = connection.begin().await?;
        if let Some(there) = find(&mut tx, id).await? {
            if there.service == service.id && there.notification == text {
                return Ok((there.status(), true));
            }
            let other = "Another question has this id.";
            return Err(Refusal::new("INVALID_PARAMETER", other).detail("notification_id", id));
        }
        sqlx::query(
            "INSERT INTO questions (id, service, notification, title, status, deadline)
             VALUES ($1, $2, $3, $4, 'created', $5)",
        )
        .bind(id)
        .bind(&service.id)
        .bind(text)
        .bind(notification.context.title.to_lowercase().replace('\0', " "))
        .bind(notification.deadline.map(micros))
        .execute(&mut *tx)
        .await?;
        happened(&mut tx, id, now, "asked", "").await?;
        tx.commit().await?;
        Ok((Status::Created, false))
    }

    /// Takes a step with a question.
    ///
    /// # Errors
    /// If the question does not allow it, or is not that service's.
    pub(super) async fn step(
        &self,
        id: &str,
        service: Option<&str>,
        taken: Step,
        detail: &str,
        now: DateTime<Utc>,
    ) -> Result<Status, Refusal> {
        let mut connection = self.connection().await;
        let mut tx = connection.begin().await?;
        let row = at_its_time(&mut tx, id, now).await?;
        if service.is_some_and(|service| service != row.service) {
            return Err(Refusal::new("SERVICE_NOT_OWNER", "Another service has asked this question."));
        }
        let result = advance(&mut tx, &row, taken, detail, now).await;
        // An expiry that came to light stays.
        tx.commit().await?;
        result
    }

    /// All whose deadline has passed; how many those were.
    pub(super) async fn expire(&self, now: DateTime<Utc>) -> Result<usize, Refusal> {
        let mut connection = self.connection().await;
        let mut tx = connection.begin().await?;
        let due: Vec<String> = sqlx::query_scalar(
            "SELECT id FROM questions INDEXED BY questions_due WHERE deadline <= $1
                 AND status IN ('created', 'delivered', 'acknowledged') LIMIT 1000",
        )
        .bind(micros(now))
        .fetch_all(&mut *tx)
        .await?;
        for id in &due {
            at_its_time(&mut tx, id, now).await?;
        }
        tx.commit().await?;
        Ok(due.len())
    }

    /// When the next deadline passes.
    pub(super) async fn next_deadline(&self) -> Result<Option<i64>, Refusal> {
        let mut connection = self.connection().await;
        let next = sqlx::query_scalar(
            "SELECT min(deadline) FROM questions INDEXED BY questions_due
             WHERE deadline IS NOT NULL AND status IN ('created', 'delivered', 'acknowledged')",
        );
        Ok(next.fetch_one(&mut *connection).await?)
    }

    /// A human's answer, once: it is judged, kept, and on its way.
    pub(super) async fn answer(
        &self,
        id: &str,
        action: &str,
        data: &RawJson,
        responder: Responder<'_>,
        now: DateTime<Utc>,
    ) -> Result<ClientResponded, Unanswered> {
        let mut connection = self.connection().await;
        let mut tx = connection.begin().await?;
        let row = at_its_time(&mut tx, id, now).await?;
        if let Err(refusal) = advance(&mut tx, &row, Step::Answered, action, now).await {
            // An expiry that came to light stays.
            tx.commit().await?;
            return Err(refusal.into());
        }
        let listed = row.listed()?;
        fits(&listed.notification, action, data)?;
        sqlx::query("UPDATE questions SET action = $2, data = $3 WHERE id = $1")
            .bind(id)
            .bind(action)
            .bind(data.as_str())
            .execute(&mut *tx)
            .await?;
        sqlx::query(
            "INSERT INTO deliveries (question, service, request_id, body, attempts, due_at)
             VALUES ($1, $2, $3, $4, 0, $5)",
        )
        .bind(id)
        .bind(listed.service)
        .bind(format!("req_{}", Uuid::new_v4().simple()))
        .bind(Answer { notification_id: id, action_id: action, data, responder, at: now }.body())
        .bind(micros(now))
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        let told = json!({
            "notification_id": id, "action_id": action, "status": Status::Responded, "responded_at": now,
        });
        serde_json::from_value(told).map_err(|error| Refusal::new("INTERNAL_ERROR", error.to_string()).into())
    }

    /// Questions, the newest first, from a place on; with it goes how many there are in all.
    pub(super) async fn list(
        &self,
        filter: Filter,
        words: &str,
        skip: u32,
    ) -> Result<(Vec<Listed>, i64), Refusal> {
        let mut connection = self.connection().await;
        // The condition is one of ours; what is looked for is bound.
        let matching = format!(
            "FROM questions WHERE {} AND ($1 = '' OR instr(title, $1) > 0 OR id = $1)",
            filter.condition()
        );
        let words = words.trim().to_lowercase();
        let count = sqlx::AssertSqlSafe(format!("SELECT count(*) {matching}"));
        let count = sqlx::query_scalar(count).bind(&words).fetch_one(&mut *connection).await?;
        let rows =
            sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} {matching} ORDER BY nth DESC LIMIT $2 OFFSET $3"));
        let rows: Vec<QuestionRow> =
            sqlx::query_as(rows).bind(&words).bind(PAGE).bind(skip).fetch_all(&mut *connection).await?;
        Ok((rows.into_iter().map(QuestionRow::listed).collect::<Result<_, _>>()?, count))
    }

    /// How many there are under each filter.
    pub(super) async fn counts(&self) -> Result<[i64; 5], Refusal> {
        let mut connection = self.connection().await;
        let counts = Filter::ALL.map(|filter| format!("count(*) FILTER (WHERE {})", filter.condition()));
        let counts = sqlx::AssertSqlSafe(format!("SELECT {} FROM questions", counts.join(", ")));
        let counts: (i64, i64, i64, i64, i64) = sqlx::query_as(counts).fetch_one(&mut *connection).await?;
        Ok(counts.into())
    }

    /// A question with all that became of it.
    pub(super) async fn story(&self, id: &str) -> Result<Story, Refusal> {
        let mut connection = self.connection().await;
        let mut tx = connection.begin().await?;
        let row = find(&mut tx, id).await?.ok_or_else(|| not_found(id))?;
        let happened =
            sqlx::query_as("SELECT at, what, detail FROM happened WHERE question = $1 ORDER BY nth");
        let happened = happened.bind(id).fetch_all(&mut *tx).await?;
        let rows: Vec<DeliveryRow> =
            sqlx::query_as("SELECT * FROM deliveries WHERE question = $1 ORDER BY nth")
                .bind(id)
                .fetch_all(&mut *tx)
                .await?;
        let mut deliveries = Vec::new();
        for delivery in rows {
            let attempts = sqlx::query_as(
                "SELECT at, url, fault, headers, body, status, answer, micros FROM attempts
                 WHERE delivery = $1 ORDER BY nth DESC LIMIT 200",
            );
            let mut attempts: Vec<AttemptRow> = attempts.bind(delivery.nth).fetch_all(&mut *tx).await?;
            attempts.reverse();
            deliveries.push((delivery, attempts));
        }
        let name = sqlx::query_scalar("SELECT name FROM services WHERE id = $1").bind(&row.service);
        let name: Option<String> = name.fetch_optional(&mut *tx).await?;
        let service_name = name.map(|name| text(&name)).unwrap_or_default();
        let data = row.data.clone();
        Ok(Story { listed: row.listed()?, data, service_name, happened, deliveries })
    }

    // Deliveries.

    /// Deliveries that are due, without those that somebody is at.
    pub(super) async fn due(
        &self,
        now: DateTime<Utc>,
        most: usize,
        taken: &BTreeSet<i64>,
    ) -> Result<Vec<DeliveryRow>, Refusal> {
        let mut connection = self.connection().await;
        let due = sqlx::query_as(
            "SELECT * FROM deliveries WHERE due_at IS NOT NULL AND due_at <= $1
                 AND nth NOT IN (SELECT value FROM json_each($3)) ORDER BY due_at, nth LIMIT $2",
        );
        let due = due
            .bind(micros(now))
            .bind(i64::try_from(most).unwrap_or(i64::MAX))
            .bind(json!(taken).to_string());
        Ok(due.fetch_all(&mut *connection).await?)
    }

    /// When the next delivery is due, without those that somebody is at.
    pub(super) async fn next_due(&self, taken: &BTreeSet<i64>) -> Result<Option<i64>, Refusal> {
        let mut connection = self.connection().await;
        let next = sqlx::query_scalar(
            "SELECT min(due_at) FROM deliveries WHERE due_at IS NOT NULL
                 AND nth NOT IN (SELECT value FROM json_each($1))",
        );
        Ok(next.bind(json!(taken).to_string()).fetch_one(&mut *connection).await?)
    }

    /// Keeps what came of an attempt of a delivery; copies that a fault makes are of one attempt.
    pub(super) async fn attempted(
        &self,
        delivery: &DeliveryRow,
        attempts: &[AttemptRow],
        after: After,
        now: DateTime<Utc>,
    ) -> Result<(), Refusal> {
        let mut connection = self.connection().await;
        let mut tx = connection.begin().await?;
        for attempt in attempts {
            sqlx::query(
                "INSERT INTO attempts (delivery, at, url, fault, headers, body, status, answer, micros)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            )
            .bind(delivery.nth)
            .bind(attempt.at)
            .bind(&attempt.url)
            .bind(&attempt.fault)
            .bind(&attempt.headers)
            .bind(&attempt.body)
            .bind(attempt.status)
            .bind(&attempt.answer)
            .bind(attempt.micros)
            .execute(&mut *tx)
            .await?;
        }
        let (due_at, outcome) = match after {
            After::Taken => (None, Some("taken")),
            After::Refused => (None, Some("refused")),
            After::GivenUp => (None, Some("given up")),
            After::Again(at) => (Some(micros(at)), None),
        };
        sqlx::query(
            "UPDATE deliveries SET attempts = attempts + 1, due_at = $2, outcome = $3 WHERE nth = $1",
        )
        .bind(delivery.nth)
        .bind(due_at)
        .bind(outcome)
        .execute(&mut *tx)
        .await?;
        if after == After::Taken
            && let Some(row) = find(&mut tx, &delivery.question).await?
        {
            // What was said meanwhile stands.
            let _ = advance(&mut tx, &row, Step::Handled, "the service took the answer", now).await;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Sends the answer of a question once more, as it was sent first.
    pub(super) async fn again(&self, question: &str, now: DateTime<Utc>) -> Result<i64, Refusal> {
        let mut connection = self.connection().await;
        let mut tx = connection.begin().await?;
        find(&mut tx, question).await?.ok_or_else(|| not_found(question))?;
        let delivery: Option<i64> = sqlx::query_scalar(
            "UPDATE deliveries SET due_at = $2, attempts = 0, outcome = NULL
             WHERE nth = (SELECT max(nth) FROM deliveries WHERE question = $1) RETURNING nth",
        )
        .bind(question)
        .bind(micros(now))
        .fetch_optional(&mut *tx)
        .await?;
        let unanswered = || Refusal::new("INVALID_STATUS", "The question has no answer that could be sent.");
        let delivery = delivery.ok_or_else(unanswered)?;
        happened(&mut tx, question, now, "sent again", "").await?;
        tx.commit().await?;
        Ok(delivery)
    }
}

/// An answer that is not taken.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// The question does not allow it.
    Refused(Refusal),
    /// Its data does not fit the action.
    Unfit(atp_core::Violations),
}

impl From<Refusal> for Unanswered {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<sqlx::Error> for Unanswered {
    fn from(error: sqlx::Error) -> Self {
        Self::Refused(error.into())
    }
}

/// The text of a JSON text.
pub(super) fn text(json: &str) -> String {
    serde_json::from_str(json).unwrap_or_default()
}

fn fits(notification: &Notification, action: &str, data: &RawJson) -> Result<(), Unanswered> {
    let known = notification.find_action(action);
    let action: &Action = known.ok_or_else(|| {
        let known: Vec<&str> = notification.actions.iter().map(|action| &*action.id).collect();
        Refusal::new("INVALID_ACTION_ID", "The question has no such action.").detail("actions", known)
    })?;
    validate(action, Some(data)).map_err(Unanswered::Unfit)
}

async fn find(tx: &mut Transaction<'_, Sqlite>, id: &str) -> sqlx::Result<Option<QuestionRow>> {
    let row = sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM questions WHERE id = $1"));
    sqlx::query_as(row).bind(id).fetch_optional(&mut **tx).await
}

/// A question, expired if its deadline has passed.
async fn at_its_time(
    tx: &mut Transaction<'_, Sqlite>,
    id: &str,
    now: DateTime<Utc>,
) -> Result<QuestionRow, Refusal> {
    let row = find(tx, id).await?.ok_or_else(|| not_found(id))?;
    if row.deadline.is_none_or(|deadline| deadline > micros(now)) {
        return Ok(row);
    }
    let status = advance(tx, &row, Step::DeadlinePassed, "", now).await?;
    Ok(QuestionRow { status: state::name(status).to_owned(), ..row })
}

/// Takes a step, and writes it down; what the question is then.
async fn advance(
    tx: &mut Transaction<'_, Sqlite>,
    row: &QuestionRow,
    taken: Step,
    detail: &str,
    now: DateTime<Utc>,
) -> Result<Status, Refusal> {
    let from = row.status();
    let to = step(from, taken).map_err(|refusal| refusal.detail("notification_id", &*row.id))?;
    let Some(to) = to else { return Ok(from) };
    sqlx::query("UPDATE questions SET status = $2 WHERE id = $1")
        .bind(&row.id)
        .bind(state::name(to))
        .execute(&mut **tx)
        .await?;
    happened(tx, &row.id, now, what(taken), detail).await?;
    Ok(to)
}

fn what(taken: Step) -> &'static str {
    match taken {
        Step::Shown => "shown",
        Step::Seen => "seen",
        Step::Answered => "answered",
        Step::Handled => "handled",
        Step::Withdrawn => "withdrawn",
        Step::DeadlinePassed => "expired",
    }
}

async fn happened(
    tx: &mut Transaction<'_, Sqlite>,
    question: &str,
    now: DateTime<Utc>,
    what: &str,
    detail: &str,
) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO happened (question, at, what, detail) VALUES ($1, $2, $3, $4)")
        .bind(question)
        .bind(micros(now))
        .bind(what)
        .bind(json!(detail).to_string())
        .execute(&mut **tx)
        .await?;
    Ok(())
}
