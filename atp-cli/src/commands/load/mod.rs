//! `atp load`: answers at a steady rate, and how long a sender waits for each.

mod mix;
mod plan;
mod report;
mod schedule;
mod sender;

use std::{sync::Arc, time::Duration};

use atp_core::{Secret, Verifier};
use clap::Args;
use futures_util::future::join_all;
use reqwest::Url;
use serde_json::value::RawValue;

use self::{mix::Mix, plan::Plan, report::Tally, schedule::Schedule, sender::Sender};
use super::{
    delivery, http,
    output::{End, Failure, Output},
    parts::{self, SchemeName},
    secret::SecretArgs,
};

/// The most that are sent in a second.
const FASTEST: f64 = 100_000.0;

/// What to send, where to, and how fast.
#[derive(Debug, Args)]
#[command(
    after_help = "The time of an answer is counted from when it was due, not from when it was sent. So a server \
that stalls does not look fast because nothing was sent to it meanwhile (\"coordinated omission\"): what waits for a \
free connection counts as waiting. What was due and found no connection until 5 s after the end, and what got no \
answer, is told apart, and counts as 15 s at least. The sender runs on the machine that you start it on, and shares it \
with a service that runs there.

Bad is, and exits with 1: a forged answer that was taken, another that was not, a status of 500 or more, an answer \
later than 5 s after it was sent, no answer, or one that was never sent.

Example:
  atp load --to http://127.0.0.1:8080/atp/webhook --rate 20 --duration 2s \\
    --notification 'load-{}' --action approve"
)]
pub(super) struct Load {
    /// The address of the webhook.
    #[arg(long, value_name = "URL", value_parser = parts::quiet(parts::address))]
    to: Url,
    /// How many are due in a second.
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: f64,
    /// How many connections there are, each with one answer under way at most.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=4096))]
    connections: u16,
    /// For how long, as 500ms, 30s or 2m.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parts::duration)]
    duration: Duration,
    /// Of a hundred answers how many are new, how many the one before once more, and how many signed with
    /// another secret.
    #[arg(long, default_value = "fresh=100,duplicate=0,forged=0", value_parser = mix::read)]
    mix: Mix,
    /// The notification that is answered; `{}` in it counts from 0. A webhook with a store takes answers
    /// only to what its service has recorded.
    #[arg(long, value_name = "ID", default_value = "load-{}")]
    notification: String,
    /// The action that is chosen.
    #[arg(long, value_name = "ID", default_value = "approve")]
    action: String,
    /// The data of the answers, as JSON [default: null].
    #[arg(long, value_name = "JSON", value_parser = delivery::data, allow_hyphen_values = true)]
    data: Option<Box<RawValue>>,
    /// The scheme to sign in.
    #[arg(long, value_enum, default_value = "timestamped")]
    scheme: SchemeName,
    #[command(flatten)]
    secret: SecretArgs,
}

impl Load {
    pub(super) async fn run(&self, output: Output) -> Result<End, Failure> {
        let plan = Arc::new(self.plan()?);
        let client = http::client(&self.to)?;
        let mut connections = Vec::new();
        // Each has one answer under way, so there are as many connections at most.
        for _ in 0..self.connections {
            let sender = Sender::new(Arc::clone(&plan), client.clone());
            connections.push(tokio::spawn(sender.run()));
        }
        let mut tally = Tally::new()?;
        for of_one in join_all(connections).await {
            let of_one = of_one.map_err(|error| Failure::Unable(format!("a connection failed: {error}")))?;
            tally.add(&of_one?)?;
        }
        let report = tally.report(&plan.schedule, self.connections);
        output.judge(&report)?;
        Ok(report.end())
    }

    fn plan(&self) -> Result<Plan, Failure> {
        let other = Secret::new("the secret of somebody else, which is none");
        let other = other.map_err(|error| Failure::Unable(error.to_string()))?;
        Ok(Plan {
            to: self.to.clone(),
            verifier: Verifier::new(self.secret.secret()?),
            forger: Verifier::new(other),
            scheme: self.scheme.into(),
            notification: self.notification.clone(),
            action: self.action.clone(),
            data: self.data.clone().map_or_else(|| delivery::data("null").map_err(Failure::Unable), Ok)?,
            mix: self.mix,
            schedule: Schedule::new(self.rate, self.duration),
        })
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "it is no number".to_owned())?;
    if rate > 0.0 && rate <= FASTEST {
        Ok(rate)
    } else {
        Err(format!("it must be more than 0, and {FASTEST} at most"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_above_nothing() {
        for (text, is_good) in [
            ("1", true),
            ("0.5", true),
            ("100000", true),
            ("0", false),
            ("-1", false),
            ("NaN", false),
            ("inf", false),
            ("", false),
        ] {
            assert_eq!(rate(text).is_ok(), is_good, "{text:?}");
        }
    }
}
