//! `atp refused`: what was authentic, and refused, and kept.

use std::fmt;

use atp_actix::store::{Store, StoredRefusal};
use chrono::SecondsFormat;
use clap::Args;
use serde::Serialize;

use super::{
    database::{DatabaseArgs, ServiceArgs, failed, with_store},
    output::{End, Failure, Output, Shown},
};

/// Which of them.
#[derive(Debug, Args)]
#[command(
    after_help = "Those whose process died while it handled them are among them, as `abandoned`. A body stays \
here also after it was redriven, until it is purged or erased.

To list them is to write: those that died are moved among them first. So it needs a role or a file that may be written, \
and waits for who writes; copy a file that may not be written, with its `-wal`, and list the copy.

Example:
  atp refused --database sqlite:atp.sqlite"
)]
pub(super) struct Refused {
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    service: ServiceArgs,
    /// Lists those with a greater id.
    #[arg(long, value_name = "ID", default_value_t = 0, allow_hyphen_values = true)]
    after: i64,
    /// The most that are listed.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Prints the bodies too: what humans said.
    #[arg(long)]
    bodies: bool,
}

/// One that is kept.
#[derive(Serialize)]
struct Kept {
    id: i64,
    refused_at: String,
    verdict: &'static str,
    notification: Option<String>,
    scheme: &'static str,
    secret: usize,
    bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
}

impl Refused {
    pub(super) async fn run(&self, output: Output) -> Result<End, Failure> {
        with_store!(self.database, store => self.list(&store, output))
    }

    async fn list(&self, store: &impl Store, output: Output) -> Result<End, Failure> {
        let service = &self.service.service;
        // One more than is listed says whether there are more.
        let mut kept =
            store.refused(service, self.after, self.limit.saturating_add(1)).await.map_err(failed)?;
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let has_more = kept.len() > limit;
        kept.truncate(limit);
        for refused in &kept {
            output.print(&Kept::of(refused, self.bodies))?;
        }
        if let Some(last) = kept.last().filter(|_| has_more) {
            output.remark(&format!("There are more: --after {}", last.id))?;
        }
        if kept.is_empty() {
            let behind = if self.after > 0 { format!(" after {}", self.after) } else { String::new() };
            let service = Shown(service);
            output.remark(&format!("No refused delivery of the service {service} is kept{behind}."))?;
        }
        Ok(End::Done)
    }
}

impl Kept {
    fn of(refused: &StoredRefusal, with_body: bool) -> Self {
        Self {
            id: refused.id,
            refused_at: refused.refused_at.to_rfc3339_opts(SecondsFormat::Secs, true),
            verdict: refused.verdict.name(),
            notification: refused.notification_id.clone(),
            scheme: refused.scheme.name(),
            secret: refused.secret_index,
            bytes: refused.body.len(),
            body: with_body.then(|| String::from_utf8_lossy(&refused.body).into_owned()),
        }
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, refused_at, verdict, scheme, secret, bytes, .. } = self;
        write!(f, "{id}  {refused_at}  {verdict}  ")?;
        match &self.notification {
            Some(notification) => write!(f, "{}", Shown(notification))?,
            None => f.write_str("(no answer)")?,
        }
        write!(f, "  {scheme}, secret {secret}, {bytes} bytes")?;
        self.body.iter().try_for_each(|body| write!(f, "\n  {}", Shown(body)))
    }
}
