//! `atp parked`: events of the outbox that are not tried again until somebody says so.

use std::fmt;

use atp_actix::store::{Outbox, Parked as Row};
use chrono::SecondsFormat;
use clap::Args;
use serde::Serialize;

use super::{
    database::{DatabaseArgs, failed, with_store},
    output::{End, Failure, Output, Shown},
};

/// How many are read at once.
const PAGE: u32 = 500;

/// Which of them.
#[derive(Debug, Args)]
#[command(
    after_help = "It opens the store as the service does, which writes. So it needs a role or a file that may be \
written, and waits for who writes; copy a file that may not be written, with its `-wal`, and list the copy.

Example:
  atp parked --database sqlite:atp.sqlite"
)]
pub(super) struct Parked {
    /// The sink [default: all].
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// One event.
#[derive(Serialize)]
struct Event<'a> {
    sink: &'a str,
    seq: i64,
    kind: &'a str,
    id: &'a str,
    service: &'a str,
    subject: Option<&'a str>,
    attempts: u32,
    parked_at: String,
    reason: &'a str,
}

impl Parked {
    pub(super) async fn run(&self, output: Output) -> Result<End, Failure> {
        with_store!(self.database, store => self.list(&store, output))
    }

    async fn list(&self, store: &impl Outbox, output: Output) -> Result<End, Failure> {
        let sinks = match &self.sink {
            Some(sink) => vec![sink.clone()],
            None => sinks(store).await?,
        };
        let mut is_any = false;
        for sink in sinks {
            for row in all(store, &sink).await? {
                output.print(&Event::of(&row))?;
                is_any = true;
            }
        }
        if !is_any {
            output.remark("Nothing is parked.")?;
        }
        Ok(End::Done)
    }
}

/// The sinks at which something is parked.
async fn sinks(store: &impl Outbox) -> Result<Vec<String>, Failure> {
    let lag = store.lag().await.map_err(failed)?;
    Ok(lag.into_iter().filter(|lag| lag.parked > 0).map(|lag| lag.sink).collect())
}

/// All that are parked at a sink, in their order.
pub(super) async fn all(store: &impl Outbox, sink: &str) -> Result<Vec<Row>, Failure> {
    let mut rows: Vec<Row> = Vec::new();
    loop {
        let after = rows.last().map_or(0, |row| row.seq);
        let page = store.parked(sink, after, PAGE).await.map_err(failed)?;
        if page.is_empty() {
            return Ok(rows);
        }
        rows.extend(page);
    }
}

impl<'a> Event<'a> {
    fn of(row: &'a Row) -> Self {
        Self {
            sink: &row.sink,
            seq: row.seq,
            kind: &row.event.kind,
            id: &row.event.id,
            service: &row.event.service,
            subject: row.event.subject.as_deref(),
            attempts: row.attempts,
            parked_at: row.parked_at.to_rfc3339_opts(SecondsFormat::Secs, true),
            reason: &row.reason,
        }
    }
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sink, seq, kind, attempts, parked_at, reason, .. } = self;
        write!(f, "{} {seq}  {parked_at}  {}", Shown(sink), Shown(kind))?;
        if let Some(subject) = self.subject {
            write!(f, " about {}", Shown(subject))?;
        }
        write!(f, "  after {attempts} attempts: {}", Shown(reason))
    }
}
