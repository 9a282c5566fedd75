//! What the desk keeps, in an SQLite file or in memory: services, questions, answers and how they
//! were delivered.

use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant},
};

use atp_core::{ClientResponded, Notification, RawJson, Scheme, Status};
use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::{
    Connection as _, FromRow, Sqlite, SqliteConnection, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode, SqliteSynchronous},
};
use tokio::{
    sync::{Mutex, MutexGuard},
    time::sleep,
};
use uuid::Uuid;

use super::{
    error::DeskError,
    fit::{Unanswered, fits},
    refusal::Refusal,
    signing::{Answer, Responder, new_secret},
    state::{self, Step, step},
};
use crate::limits::{ATTEMPTS_SHOWN, BODY_SHOWN, DATA_SHOWN, FREE_WITHIN, PAGE};

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
    /// The id of the service that asks.
    pub(super) service: String,
    /// The name under which it was registered.
    pub(super) service_name: String,
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
    service_name: Option<String>,
}

impl QuestionRow {
    fn listed(self) -> Result<Listed, Refusal> {
        let notification = serde_json::from_str(&self.notification)
            .map_err(|error| sqlx::Error::Decode(error.to_string().into()))?;
        let status = self.status();
        let service_name = self.service_name.as_deref().map(text).unwrap_or_default();
        let Self { id, service, action, .. } = self;
        Ok(Listed { id, service, service_name, status, notification, action })
    }

    fn status(&self) -> Status {
        state::of_name(&self.status).unwrap_or(Status::Completed)
    }
}

/// A question with all that became of it.
pub(super) struct Story {
    pub(super) listed: Listed,
    pub(super) data: Option<String>,
    pub(super) happened: Vec<Happened>,
    pub(super) deliveries: Vec<Sent>,
}

/// How much of a story is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of it, for programs.
    Whole,
    /// What a page shows: the last attempts, and the start of what was answered and sent.
    Page,
}

/// A delivery with the attempts to make it, and how many earlier ones were left out.
pub(super) struct Sent {
    pub(super) delivery: DeliveryRow,
    pub(super) attempts: Vec<AttemptTold>,
    pub(super) left_out: i64,
}

/// An attempt, perhaps with the start of its body alone.
#[derive(Clone, Debug, FromRow)]
pub(super) struct AttemptTold {
    #[sqlx(flatten)]
    pub(super) attempt: AttemptRow,
    /// Of the whole body.
    pub(super) body_bytes: i64,
}

impl AttemptTold {
    /// Whether there is more of the body.
    pub(super) fn is_cut(&self) -> bool {
        usize::try_from(self.body_bytes).is_ok_and(|bytes| bytes > self.attempt.body.len())
    }
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
    pub(super) due_at: Option<i64>,
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

/// An attempt to deliver that has ended; copies that a fault makes are of one attempt.
pub(super) struct Tried {
    pub(super) delivery: DeliveryRow,
    pub(super) attempts: Vec<AttemptRow>,
    pub(super) after: After,
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

/// What marks the file of a desk: `atpd`.
const APPLICATION: i64 = 0x6174_7064;

/// An empty file, unless there is one: it will hold secrets.
fn make(file: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file).map(drop)
}

const COLUMNS: &str = "id, service, notification, status, deadline, action,
     (SELECT name FROM services WHERE services.id = service) AS service_name";

fn micros(time: DateTime<Utc>) -> i64 {
    time.timestamp_micros()
}

fn not_found(id: &str) -> Refusal {
    let id: String = id.chars().take(100).collect();
    Refusal::new("NOTIFICATION_NOT_FOUND", "There is no such question.").detail("notification_id", id)
}

fn no_service() -> Refusal {
    Refusal::new("INVALID_PARAMETER", "There is no such service.")
}

impl Records {
    /// Opens a file, which is made if it is not there and read by its owner alone, or keeps all in
    /// memory. While it is open nobody else reads or writes it: two desks would both deliver.
    pub(super) async fn open(file: Option<&Path>) -> Result<Self, DeskError> {
        let Some(file) = file else {
            let connection =
                SqliteConnection::connect_with(&SqliteConnectOptions::new().in_memory(true)).await;
            return Self::prepare(connection?).await.map_err(DeskError::from);
        };
        let until = Instant::now() + FREE_WITHIN;
        loop {
            match Self::open_file(file).await {
                // A desk that was stopped has it for a moment longer.
                Err(DeskError::File { why, .. }) if why.contains("is locked") && Instant::now() < until => {
                    sleep(Duration::from_millis(20)).await;
                }
                opened => return opened,
            }
        }
    }

    async fn open_file(file: &Path) -> Result<Self, DeskError> {
        let unable = |why: String| DeskError::File { file: file.to_owned(), why };
        make(file).map_err(|error| unable(error.to_string()))?;
        let options = SqliteConnectOptions::new()
            .filename(file)
            .locking_mode(SqliteLockingMode::Exclusive)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::ZERO);
        let plain = |error: sqlx::Error| unable(error.to_string());
        // Nothing is changed in a file of somebody else's.
        let mut connection = SqliteConnection::connect_with(&options).await.map_err(plain)?;
        let (id, tables): (i64, i64) = sqlx::query_as(
            "SELECT application_id, (SELECT count(*) FROM sqlite_schema) FROM pragma_application_id",
        )
        .fetch_one(&mut connection)
        .await
        .map_err(plain)?;
        if tables > 0 && id != APPLICATION {
            return Err(unable("it is a database, and not a desk's".to_owned()));
        }
        connection.close().await.map_err(plain)?;
        let options = options.journal_mode(SqliteJournalMode::Wal);
        let connection = SqliteConnection::connect_with(&options).await.map_err(plain)?;
        Self::prepare(connection).await.map_err(plain)
    }

    /// Writes, so that a file which cannot be written is found now.
    async fn prepare(mut connection: SqliteConnection) -> sqlx::Result<Self> {
        sqlx::raw_sql(include_str!("schema.sql")).execute(&mut connection).await?;
        Ok(Self(Mutex::new(connection)))
    }

    async fn connection(&self) -> MutexGuard<'_, SqliteConnection> {
        self.0.lock().await
    }

    /// The token of the pages' forms; a new one is kept with the rest.
    pub(super) async fn form_token(&self, new: &str) -> sqlx::Result<String> {
        let mut connection = self.connection().await;
        let keep = "INSERT INTO tokens (name, token) VALUES ('form', $1) ON CONFLICT DO NOTHING";
        sqlx::query(keep).bind(new).execute(&mut *connection).await?;
        let kept = sqlx::query_scalar("SELECT token FROM tokens WHERE name = 'form'");
        kept.fetch_one(&mut *connection).await
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

    /// Sets where the answers of a service of this name go, and with which secret unless that is empty.
    pub(super) async fn redirect(&self, name: &str, url: &str, secret: &str) -> Result<ServiceRow, Refusal> {
        let mut connection = self.connection().await;
        let row = sqlx::query_as(
            "UPDATE services SET callback_url = $2,
                 previous_secret = iif($3 IN ('', secret), previous_secret, secret), secret = iif($3 = '', secret, $3)
             WHERE name = $1 RETURNING *",
        );
        let row = row.bind(json!(name).to_string()).bind(url).bind(secret);
        row.fetch_optional(&mut *connection).await?.ok_or_else(no_service)
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

    /// A service that must be there.
    pub(super) async fn known_service(&self, id: &str) -> Result<ServiceRow, Refusal> {
        self.service(id).await?.ok_or_else(no_service)
    }

    pub(super) async fn service_of_key(&self, api_key: &str) -> Result<Option<ServiceRow>, Refusal> {
        let mut connection = self.connection().await;
        let row = sqlx::query_as("SELECT * FROM services WHERE api_key = $1").bind(api_key);
        Ok(row.fetch_optional(&mut *connection).await?)
    }

    /// What is delivered from now on is signed in this scheme.
    pub(super) async fn set_scheme(&self, id: &str, scheme: Scheme) -> Result<(), Refusal> {
        let mut connection = self.connection().await;
        let set = sqlx::query("UPDATE services SET scheme = $2 WHERE id = $1").bind(id).bind(scheme.name());
        set.execute(&mut *connection).await?;
        Ok(())
    }

    /// What is delivered from now on is signed with this secret.
    pub(super) async fn set_secret(&self, id: &str, secret: &str) -> Result<(), Refusal> {
        let mut connection = self.connection().await;
        let set = "UPDATE services SET previous_secret = secret, secret = $2 WHERE id = $1";
        sqlx::query(set).bind(id).bind(secret).execute(&mut *connection).await?;
        Ok(())
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

    /// A human's client has these now: written down at once for all of them.
    pub(super) async fn show(&self, listed: &mut [Listed], now: DateTime<Utc>) -> Result<(), Refusal> {
        if listed.iter().all(|question| question.status != Status::Created) {
            return Ok(());
        }
        let mut connection = self.connection().await;
        let mut tx = connection.begin().await?;
        for question in listed.iter_mut().filter(|question| question.status == Status::Created) {
            let row = at_its_time(&mut tx, &question.id, now).await?;
            question.status = advance(&mut tx, &row, Step::Shown, "", now).await?;
        }
        tx.commit().await?;
        Ok(())
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
            "FROM questions WHERE {} AND ($1 = '' OR instr(title, $1) > 0 OR lower(id) = $1)",
            filter.condition()
        );
        let words = words.trim().to_lowercase();
        let count = sqlx::AssertSqlSafe(format!("SELECT count(*) {matching}"));
        let count = sqlx::query_scalar(count).bind(&words).fetch_one(&mut *connection).await?;
        // Only those of the page are read whole.
        let rows = sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM questions WHERE nth IN (SELECT nth {matching} ORDER BY nth DESC LIMIT $2 OFFSET $3)
             ORDER BY nth DESC"
        ));
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
    pub(super) async fn story(&self, id: &str, extent: Extent) -> Result<Story, Refusal> {
        // More than there can be, where all is read.
        let all = i64::from(i32::MAX);
        let (characters, body, attempts) = match extent {
            Extent::Whole => (all, all, all),
            Extent::Page => (i64::from(DATA_SHOWN), i64::from(BODY_SHOWN), i64::from(ATTEMPTS_SHOWN)),
        };
        let mut connection = self.connection().await;
        let mut tx = connection.begin().await?;
        let row = find(&mut tx, id).await?.ok_or_else(|| not_found(id))?;
        let happened =
            sqlx::query_as("SELECT at, what, detail FROM happened WHERE question = $1 ORDER BY nth");
        let happened = happened.bind(id).fetch_all(&mut *tx).await?;
        let rows = sqlx::query_as(
            "SELECT nth, question, service, request_id, substr(body, 1, $2) AS body, attempts, due_at, outcome
             FROM deliveries WHERE question = $1 ORDER BY nth",
        );
        let rows: Vec<DeliveryRow> = rows.bind(id).bind(body).fetch_all(&mut *tx).await?;
        let mut deliveries = Vec::new();
        for delivery in rows {
            let told = sqlx::query_as(
                "SELECT at, url, fault, headers, substr(body, 1, $2) AS body, status, answer, micros,
                     octet_length(body) AS body_bytes
                 FROM attempts WHERE delivery = $1 ORDER BY nth DESC LIMIT $3",
            );
            let told = told.bind(delivery.nth).bind(body).bind(attempts);
            let mut told: Vec<AttemptTold> = told.fetch_all(&mut *tx).await?;
            told.reverse();
            let made = sqlx::query_scalar("SELECT count(*) FROM attempts WHERE delivery = $1");
            let made: i64 = made.bind(delivery.nth).fetch_one(&mut *tx).await?;
            let left_out = made - i64::try_from(told.len()).unwrap_or(made);
            deliveries.push(Sent { delivery, attempts: told, left_out });
        }
        let data = sqlx::query_scalar("SELECT substr(data, 1, $2) FROM questions WHERE id = $1");
        let data = data.bind(id).bind(characters).fetch_one(&mut *tx).await?;
        Ok(Story { listed: row.listed()?, data, happened, deliveries })
    }

    // Deliveries.

    /// Deliveries that are due, without those that somebody is at. One that waits for longer than the
    /// longest wait is due too: the clock was set back.
    pub(super) async fn due(
        &self,
        now: DateTime<Utc>,
        longest_wait: Duration,
        most: usize,
        taken: &BTreeSet<i64>,
    ) -> Result<Vec<DeliveryRow>, Refusal> {
        let mut connection = self.connection().await;
        let due = sqlx::query_as(
            "SELECT * FROM deliveries WHERE due_at IS NOT NULL AND (due_at <= $1 OR due_at > $4)
                 AND nth NOT IN (SELECT value FROM json_each($3)) ORDER BY due_at, nth LIMIT $2",
        );
        let due = due
            .bind(micros(now))
            .bind(i64::try_from(most).unwrap_or(i64::MAX))
            .bind(json!(taken).to_string())
            .bind(micros(now).saturating_add(i64::try_from(longest_wait.as_micros()).unwrap_or(i64::MAX)));
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

    /// Keeps what came of attempts to deliver, all at once: a flush costs more than what it flushes.
    pub(super) async fn attempted(&self, tried: &[Tried], now: DateTime<Utc>) -> Result<(), Refusal> {
        let mut connection = self.connection().await;
        let mut tx = connection.begin().await?;
        for tried in tried {
            keep(&mut tx, tried, now).await?;
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

/// The text of a JSON text.
pub(super) fn text(json: &str) -> String {
    serde_json::from_str(json).unwrap_or_default()
}

/// Keeps what came of an attempt to deliver.
async fn keep(tx: &mut Transaction<'_, Sqlite>, tried: &Tried, now: DateTime<Utc>) -> Result<(), Refusal> {
    let Tried { delivery, attempts, after } = tried;
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
        .execute(&mut **tx)
        .await?;
    }
    let (due_at, outcome) = match after {
        After::Taken => (None, Some("taken")),
        After::Refused => (None, Some("refused")),
        After::GivenUp => (None, Some("given up")),
        After::Again(at) => (Some(micros(*at)), None),
    };
    // Unless it is to be sent again, which was said meanwhile.
    sqlx::query(
        "UPDATE deliveries SET attempts = attempts + 1, due_at = iif(due_at IS $4, $2, due_at),
             outcome = iif(due_at IS $4, $3, outcome) WHERE nth = $1",
    )
    .bind(delivery.nth)
    .bind(due_at)
    .bind(outcome)
    .bind(delivery.due_at)
    .execute(&mut **tx)
    .await?;
    if *after == After::Taken
        && let Some(row) = find(tx, &delivery.question).await?
    {
        // What was said meanwhile stands.
        let _ = advance(tx, &row, Step::Handled, "the service took the answer", now).await;
    }
    Ok(())
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
    let to = step(from, taken).map_err(|refusal| about(refusal, row))?;
    let Some(to) = to else { return Ok(from) };
    sqlx::query("UPDATE questions SET status = $2 WHERE id = $1")
        .bind(&row.id)
        .bind(state::name(to))
        .execute(&mut **tx)
        .await?;
    happened(tx, &row.id, now, what(taken), detail).await?;
    Ok(to)
}

/// With the question that is refused, and since when if it expired.
fn about(refusal: Refusal, row: &QuestionRow) -> Refusal {
    let refusal = refusal.detail("notification_id", &*row.id);
    match row.deadline.and_then(DateTime::from_timestamp_micros) {
        Some(deadline) if refusal.code() == "NOTIFICATION_EXPIRED" => {
            refusal.detail("expired_at", json!(deadline))
        }
        _ => refusal,
    }
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
