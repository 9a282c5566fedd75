//! The webhook: one handler an action. Each says what the answer means; `Tasks::decide` says whether it counts.

use std::num::NonZeroU32;

use actix_web::{Result, http::StatusCode, web};
use atp_actix::{
    AtpResponse, Delivery, ErrorReply, Form, MultiChoice, Refusal, Simple, Text, Verifier, Webhook,
};
use serde::Deserialize;

use crate::tasks::{Decision, Refused, Tasks};

pub const PATH: &str = "/atp/webhook";

pub fn webhook(verifier: Verifier) -> Webhook {
    Webhook::new(PATH, verifier)
        .on("approve", approve)
        .on("reject", reject)
        .on("refund", refund)
        .on("place", place)
        .otherwise(not_an_action)
}

async fn approve(answer: AtpResponse<Simple>, tasks: web::Data<Tasks>) -> Result<()> {
    decide(&tasks, answer.delivery(), "approved", "as asked".to_owned()).await
}

async fn reject(reason: AtpResponse<Text>, tasks: web::Data<Tasks>) -> Result<()> {
    decide(&tasks, reason.delivery(), "rejected", reason.data.clone()).await
}

#[derive(Deserialize)]
struct Refund {
    cents: NonZeroU32,
    note: Option<String>,
}

async fn refund(answer: AtpResponse<Form<Refund>>, tasks: web::Data<Tasks>) -> Result<()> {
    let Refund { cents, note } = &answer.data;
    let note = note.as_deref().unwrap_or("no note");
    let outcome = format!("{}.{:02} back: {note}", cents.get() / 100, cents.get() % 100);
    decide(&tasks, answer.delivery(), "approved", outcome).await
}

async fn place(regions: AtpResponse<MultiChoice>, tasks: web::Data<Tasks>) -> Result<()> {
    decide(&tasks, regions.delivery(), "approved", regions.data.join(" and ")).await
}

/// Every action that this service asks has its handler above, so this one was not asked.
async fn not_an_action(delivery: Delivery, tasks: web::Data<Tasks>) -> Result<()> {
    decide(&tasks, &delivery, "pending", String::new()).await
}

async fn decide(tasks: &Tasks, delivery: &Delivery, state: &'static str, outcome: String) -> Result<()> {
    let decided = tasks.decide(delivery.answer(), Decision { state, outcome }).await;
    decided.map_err(reply)
}

/// The library answers what it knows: data that does not fit, and our own faults. The rest is ours to say.
fn reply(refused: Refused) -> actix_web::Error {
    let (status, code, error) = match refused {
        Refused::Unfit(violations) => return Refusal::from(violations).into(),
        Refused::Failed(error) => return error.into(),
        Refused::NotAsked => {
            (StatusCode::NOT_FOUND, "NOTIFICATION_NOT_FOUND", "this service did not ask that")
        }
        Refused::NotAnAction => {
            (StatusCode::BAD_REQUEST, "INVALID_ACTION_ID", "the question does not have that action")
        }
        Refused::AlreadyAnswered => {
            (StatusCode::CONFLICT, "NOTIFICATION_ALREADY_RESPONDED", "another answer stands")
        }
    };
    ErrorReply::new(status, code, error).into()
}
