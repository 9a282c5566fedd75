//! One connection, which takes what is due next.

use std::sync::Arc;

use chrono::Utc;
use reqwest::{Client, Method};
use tokio::time::sleep_until;

use super::{mix::Kind, plan::Plan, report::Tally};
use crate::commands::{
    delivery::{Answer, Delivery},
    http,
    output::Failure,
};

/// A connection.
pub(super) struct Sender {
    plan: Arc<Plan>,
    client: Client,
    last: Option<Delivery>,
}

impl Sender {
    pub(super) fn new(plan: Arc<Plan>, client: Client) -> Self {
        Self { plan, client, last: None }
    }

    /// Sends until nothing is due any more.
    pub(super) async fn run(mut self) -> Result<Tally, Failure> {
        let mut tally = Tally::new()?;
        let plan = Arc::clone(&self.plan);
        let schedule = &plan.schedule;
        loop {
            let Some((number, due)) = schedule.next() else { return Ok(tally) };
            sleep_until(due.into()).await;
            if schedule.is_over() {
                tally.never_sent(due.elapsed());
                continue;
            }
            let (kind, delivery) = self.make(number)?;
            let (headers, body) = (&delivery.headers, delivery.body);
            let answered = http::ask(&self.client, Method::POST, &plan.to, headers, body).await;
            tally.count(kind, answered.map(|answered| (answered.status, answered.took)), due.elapsed());
        }
    }

    /// The answer of this number, signed now.
    fn make(&mut self, number: u64) -> Result<(Kind, Delivery), Failure> {
        let kind = self.plan.mix.kind(number);
        if let (Kind::Duplicate, Some(last)) = (kind, &self.last) {
            return Ok((kind, last.clone()));
        }
        let plan = &self.plan;
        let notification = plan.notification.replace("{}", &number.to_string());
        let answer = Answer {
            notification: &notification,
            action: &plan.action,
            data: &plan.data,
            responder: "user_123",
            is_agent: false,
        };
        let signer = if kind == Kind::Forged { &plan.forger } else { &plan.verifier };
        let delivery = answer.deliver(signer, plan.scheme, Utc::now(), None)?;
        if kind == Kind::Forged {
            return Ok((kind, delivery));
        }
        // Of a duplicate without one before it there is only the first.
        self.last = Some(delivery.clone());
        Ok((Kind::Fresh, delivery))
    }
}
