//! `atp send`: one answer, delivered as an ATP server does it, or with a fault.

use std::{fmt, path::PathBuf, time::Duration};

use atp_core::Verifier;
use chrono::{DateTime, Utc};
use clap::{Args, ValueEnum as _};
use reqwest::{Client, Method, Url};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    delivery::{self, Answer, Delivery, Fault},
    http::{self, Answered, Meaning},
    output::{End, Failure, Output},
    parts::{self, SchemeName},
    secret::SecretArgs,
};

/// What to send, and where.
#[derive(Debug, Args)]
#[command(
    after_help = "The exit code is that of the last answer: 0 if it was taken, 1 if not, also where a fault is \
meant to be refused.

Example:
  atp send --to http://127.0.0.1:8080/atp/webhook \\
    --notification n-1 --action approve"
)]
pub(super) struct Send {
    /// The address of the webhook.
    #[arg(long, value_name = "URL", value_parser = parts::quiet(parts::address))]
    to: Url,
    /// The notification that is answered.
    #[arg(long, value_name = "ID")]
    notification: String,
    /// The action that is chosen.
    #[arg(long, value_name = "ID")]
    action: String,
    /// The data of the answer, as JSON; it is sent as it is written [default: null].
    #[arg(long, value_name = "JSON", value_parser = delivery::data, allow_hyphen_values = true)]
    data: Option<Box<RawValue>>,
    /// A file with the data of the answer; `-` is the standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    data_file: Option<PathBuf>,
    /// Who answers.
    #[arg(long, value_name = "ID", default_value = "user_123")]
    responder: String,
    /// Answers as an agent, and not as a human.
    #[arg(long)]
    agent: bool,
    /// The scheme to sign in.
    #[arg(long, value_enum, default_value = "timestamped")]
    scheme: SchemeName,
    /// When it was answered and signed, as 2026-01-02T03:05:06Z or in seconds since 1970 [default:
    /// now].
    #[arg(long, value_name = "TIME", value_parser = parts::time, allow_hyphen_values = true)]
    at: Option<DateTime<Utc>>,
    /// What goes wrong with it.
    #[arg(long, value_enum)]
    fault: Option<Fault>,
    #[command(flatten)]
    secret: SecretArgs,
}

/// What came of a delivery.
#[derive(Serialize)]
pub(super) struct Told {
    status: u16,
    ms: f64,
    meaning: &'static str,
    text: &'static str,
    retry_after: Option<String>,
    body: String,
    is_cut: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
    #[serde(skip)]
    is_good: bool,
    #[serde(skip)]
    shown: String,
}

impl Send {
    pub(super) async fn run(&self, output: Output) -> Result<End, Failure> {
        let verifier = Verifier::new(self.secret.secret()?);
        let (data, at) = (self.data()?, self.at.unwrap_or_else(Utc::now));
        let answer = Answer {
            notification: &self.notification,
            action: &self.action,
            data: &data,
            responder: &self.responder,
            is_agent: self.agent,
        };
        let delivery = answer.deliver(&verifier, self.scheme.into(), at, self.fault)?;
        let client = http::client(&self.to)?;
        let mut end = End::Done;
        let times = if self.fault == Some(Fault::Duplicate) { 2 } else { 1 };
        for _ in 0..times {
            let told = post(&client, &self.to, &delivery, self.fault).await?;
            output.judge(&told)?;
            end = told.end();
        }
        Ok(end)
    }

    fn data(&self) -> Result<Box<RawValue>, Failure> {
        if self.data_file.is_some() {
            let bytes = parts::read(self.data_file.as_ref())?;
            let text = std::str::from_utf8(&bytes).map_err(|error| error.to_string());
            let data = text.and_then(delivery::data);
            return data.map_err(|error| Failure::Unable(format!("the data cannot be sent: {error}")));
        }
        self.data.clone().map_or_else(|| delivery::data("null").map_err(Failure::Unable), Ok)
    }
}

/// Delivers it once.
async fn post(client: &Client, to: &Url, delivery: &Delivery, fault: Option<Fault>) -> Result<Told, Failure> {
    let answered = http::ask(client, Method::POST, to, &delivery.headers, delivery.body.clone()).await;
    let fault = fault.and_then(|fault| Some(fault.to_possible_value()?.get_name().to_owned()));
    Ok(Told { fault, ..Told::of(answered.map_err(|why| unanswered(to, &why))?) })
}

/// What is said where nobody answers.
pub(super) fn unanswered(to: &Url, why: &str) -> Failure {
    Failure::Unable(format!(
        "{to} does not answer: {why}; does the service run there, and is the address right?"
    ))
}

impl Told {
    /// What this answer tells a sender.
    fn of(answered: Answered) -> Self {
        let meaning = Meaning::of(answered.status, answered.took);
        Self::new(answered, meaning, meaning.text())
    }

    /// What this answer means, in a word and a sentence.
    pub(super) fn new(answered: Answered, meaning: Meaning, text: &'static str) -> Self {
        let shown = answered.shown(text);
        let Answered { status, took, retry_after, body, is_cut, .. } = answered;
        let (ms, is_good) = (millis(took), meaning.is_good());
        let meaning = meaning.name();
        Self { status, ms, meaning, text, retry_after, body, is_cut, fault: None, is_good, shown }
    }

    /// Whether it was taken.
    pub(super) fn end(&self) -> End {
        if self.is_good { End::Done } else { End::Bad }
    }
}

/// To the tenth.
fn millis(took: Duration) -> f64 {
    (took.as_secs_f64() * 1e4).round() / 10.0
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(fault) = &self.fault {
            write!(f, "with the fault {fault}: ")?;
        }
        f.write_str(&self.shown)
    }
}
