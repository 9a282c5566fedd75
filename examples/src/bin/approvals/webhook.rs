//! The webhook: one handler an action. Each says what the answer means; `Tasks::decide` says whether it counts.

use std::{fmt, num::NonZeroU32};

use actix_web::{HttpResponse, ResponseError, Result, http::StatusCode, web};
use atp_actix::{AtpResponse, Delivery, Form, MultiChoice, Refusal, Simple, Text, Verifier, Webhook};
use serde::Deserialize;
use serde_json::json;

use crate::tasks::{Decision, Refused, Tasks};

pub const PATH: &str = "/atp/webhook";

pub fn webhook(verifier: Verifier) -> Webhook {
    Webhook::new(PATH, verifier)
        .on("approve", approve)
        .on("reject", reject)
        .on("refund", refund)
        .on("place", place)
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

async fn decide(tasks: &Tasks, delivery: &Delivery, state: &'static str, outcome: String) -> Result<()> {
    let decided = tasks.decide(delivery.answer(), Decision { state, outcome }).await;
    decided.map_err(|refused| reply(refused, delivery))
}

/// The library answers what it knows: data that does not fit, and our own faults. The rest is ours to say.
fn reply(refused: Refused, delivery: &Delivery) -> actix_web::Error {
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
    Reply { status, code, error, request_id: delivery.request_id().map(str::to_owned) }.into()
}

/// A refusal in the shape that the library's have.
#[derive(Debug)]
struct Reply {
    status: StatusCode,
    code: &'static str,
    error: &'static str,
    request_id: Option<String>,
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.error)
    }
}

impl ResponseError for Reply {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let body = json!({ "error": self.error, "code": self.code, "request_id": self.request_id });
        HttpResponse::build(self.status).json(body)
    }
}
