//! `atp doctor`: what is wrong with a service's surroundings, and what to do.

mod clock;
mod finding;
mod pooler;
mod postgres;
mod schema;
mod secret;
mod sqlite;
mod webhook;

use clap::Args;
use reqwest::Url;

use self::finding::{Finding, State};
use super::{
    database::{DatabaseArgs, Place},
    output::{End, Failure, Output},
    parts,
    secret::SecretArgs,
};

/// What to look at; what is not given is left out.
#[derive(Debug, Args)]
#[command(
    after_help = "Nothing is changed: the database is asked, what is written to a SQLite file to try it is taken back, and \
the webhook is sent one request that it must refuse.

Example:
  atp doctor --database sqlite:atp.sqlite \\
    --webhook http://127.0.0.1:8080/atp/webhook"
)]
pub(super) struct Doctor {
    /// A server whose clock to compare with, such as the ATP server.
    #[arg(long, value_name = "URL", value_parser = parts::quiet(parts::address))]
    server: Option<Url>,
    /// The webhook of the service, at the address where the ATP server sends to.
    #[arg(long, value_name = "URL", value_parser = parts::quiet(parts::address))]
    webhook: Option<Url>,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    secret: SecretArgs,
}

impl Doctor {
    pub(super) async fn run(&self, output: Output) -> Result<End, Failure> {
        let mut findings = vec![secret::check(&self.secret)];
        findings.push(match &self.server {
            Some(server) => clock::check(server).await?,
            None => Finding::skipped("clock", "give --server URL to compare it with a server's"),
        });
        findings.push(match &self.webhook {
            Some(webhook) => webhook::check(webhook).await?,
            None => {
                Finding::skipped("webhook", "give --webhook URL to try whether it is reached, and refuses")
            }
        });
        findings.extend(self.database().await?);
        for finding in &findings {
            output.judge(finding)?;
        }
        let is_bad = findings.iter().any(|finding| finding.state == State::Wrong);
        Ok(if is_bad { End::Bad } else { End::Done })
    }

    async fn database(&self) -> Result<Vec<Finding>, Failure> {
        if !self.database.is_given() {
            return Ok(vec![Finding::skipped(
                "database",
                "give --database URL, or set DATABASE_URL, to look at it",
            )]);
        }
        Ok(match self.database.place()? {
            Place::Sqlite(file) => sqlite::check(&file).await,
            Place::Postgres(options) => postgres::check(&options).await,
        })
    }
}
