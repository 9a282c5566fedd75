//! `atp redrive`: a delivery that was refused and kept, sent into the service's own webhook again.

use std::{fmt, time::Duration};

use atp_actix::store::{Redrive as Request, Store};
use atp_core::Verifier;
use clap::Args;
use reqwest::{Client, Method, Url};
use serde::Serialize;

use super::{
    database::{DatabaseArgs, ServiceArgs, failed, with_store},
    http::{self, Meaning},
    output::{End, Failure, Output},
    parts,
    secret::SecretArgs,
    send::{Told, unanswered},
};

/// Which delivery, and where to.
#[derive(Debug, Args)]
#[command(
    after_help = "The webhook judges it as any other delivery, but for its age. It is let in by a token that this \
command makes in the database and signs with the webhook secret; it is good once, for ten minutes.

Example:
  atp redrive 1 --database sqlite:atp.sqlite \\
    --to http://127.0.0.1:8080/atp/webhook"
)]
pub(super) struct Redrive {
    /// The id that `atp refused` lists it under.
    id: i64,
    /// The address of the service's webhook.
    #[arg(long, value_name = "URL", value_parser = parts::quiet(parts::address))]
    to: Url,
    /// Voids the refusal that a handler recorded for its notification first, so that the question can be
    /// answered again.
    #[arg(long)]
    reopen: bool,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    secret: SecretArgs,
}

/// What came of it.
#[derive(Serialize)]
struct Redriven {
    id: i64,
    #[serde(flatten)]
    told: Told,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'static str>,
}

impl Redrive {
    pub(super) async fn run(&self, output: Output) -> Result<End, Failure> {
        let verifier = Verifier::new(self.secret.secret()?);
        let client = http::client(&self.to)?;
        with_store!(self.database, store => self.send(&store, &verifier, &client, output))
    }

    async fn send(
        &self,
        store: &impl Store,
        verifier: &Verifier,
        client: &Client,
        output: Output,
    ) -> Result<End, Failure> {
        if self.reopen {
            self.void_refusal(store).await?;
        }
        let request =
            Request::prepare(store, verifier, &self.service.service, self.id).await.map_err(failed)?;
        let answered = http::ask(client, Method::POST, &self.to, &request.headers, request.body).await;
        let answered = answered.map_err(|why| unanswered(&self.to, &why))?;
        let (status, hint) = (answered.status, hint(answered.status));
        // Nobody waits for it but this command, and nobody sends it again.
        let meaning = Meaning::of(status, Duration::ZERO);
        let told = Told::new(answered, meaning, text(meaning));
        let end = told.end();
        output.judge(&Redriven { id: self.id, told, hint })?;
        Ok(end)
    }

    async fn void_refusal(&self, store: &impl Store) -> Result<(), Failure> {
        let service = &self.service.service;
        let found = store.refused(service, self.id.saturating_sub(1), 1).await.map_err(failed)?;
        let found = found.into_iter().find(|kept| kept.id == self.id);
        let notification = found.and_then(|kept| kept.notification_id).ok_or_else(|| {
            Failure::Unable(format!(
                "no refused answer has the id {}: `atp refused` lists those that are kept",
                self.id
            ))
        })?;
        store.reopen(service, &notification).await.map_err(failed)
    }
}

/// What the answer to a redrive means.
fn text(meaning: Meaning) -> &'static str {
    match meaning {
        Meaning::Taken => "it was taken",
        // Perhaps by something else than the webhook.
        Meaning::Refused => "it was not taken, and stays kept",
        Meaning::Again => {
            "it was not handled, and stays kept: run this command again later, nobody else does"
        }
        Meaning::TooLate | Meaning::Undocumented => "this is no answer of a webhook: is the address right?",
    }
}

/// What a redrive in particular may have met.
fn hint(status: u16) -> Option<&'static str> {
    match status {
        401 => Some(
            "the webhook does not know the token: has it the same secret, the same database and the same service name?",
        ),
        404 => Some("is this the path of the webhook, and is the question recorded for this service?"),
        409 => Some("if a handler's refusal stands in its way, --reopen voids that"),
        _ => None,
    }
}

impl fmt::Display for Redriven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.told)?;
        self.hint.iter().try_for_each(|hint| write!(f, "\n{hint}"))
    }
}
