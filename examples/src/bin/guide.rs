//! The functions of the protocol's guide, one by one, under their names: those that need no memory
//! of what was asked. `approvals` has the others.
//!
//! `ATP_WEBHOOK_SECRET=... cargo run --bin guide` tells the rest of the company on stdout what was
//! decided; with `EVENTS=file` it appends to that file instead.

use std::{env, fs::OpenOptions, io::Write as _};

use actix_web::{App, HttpServer, web};
use atp_actix::{
    AtpResponse, Error, File, FileContent, Form, Secret, Simple, Text, UserDecision, Verifier, Webhook,
    atp_core::Response,
};
use atp_examples::{Failure, announce, port};
use chrono::Utc;
use serde::Deserialize;

/// `handle_atp_webhook`, `verify_signature`, `verify_response_timestamp` and `validate_response`:
/// no handler runs before they have passed.
fn handle_atp_webhook(verifier: Verifier) -> Webhook {
    Webhook::new("/atp/webhook", verifier)
        .on("comment", handle_text_response)
        .on("contact", handle_form_response)
        .on("attach", handle_file_response)
        .on("approve", process_approval)
        .on("reject", process_rejection)
}

/// `handle_text_response`: the text goes to the business.
async fn handle_text_response(comment: AtpResponse<Text>) -> Result<String, Error> {
    tell_downstream(&comment).await?;
    Ok(format!("a comment of {} characters\n", comment.data.chars().count()))
}

/// The fields that the guide requires.
#[derive(Deserialize)]
struct Contact {
    name: String,
    email: String,
    reason: String,
}

/// `handle_form_response`: if a field is missing, this does not run. The answer is 400, and the log
/// names the field.
async fn handle_form_response(form: AtpResponse<Form<Contact>>) -> Result<String, Error> {
    tell_downstream(&form).await?;
    let Contact { name, email, reason } = form.into_data();
    Ok(format!("{name} <{email}> writes: {reason}\n"))
}

/// File answers. The name and the type are what somebody typed: they are shown, never opened.
async fn handle_file_response(file: AtpResponse<File>) -> String {
    let File { name, content, .. } = &file.data;
    match content {
        FileContent::Bytes(bytes) => format!("{name:?}: {} bytes\n", bytes.len()),
        FileContent::Url(_) => format!("{name:?}: at an address, which was not fetched\n"),
        _ => format!("{name:?}: in a form that this program does not know\n"),
    }
}

/// `process_response`, approved.
async fn process_approval(approval: AtpResponse<Simple>) -> Result<String, Error> {
    tell_downstream(&approval).await?;
    Ok(format!("{} is approved\n", approval.notification_id))
}

/// A reason is welcome and not required.
#[derive(Deserialize)]
struct Rejection {
    reason: Option<String>,
}

/// `process_response`, rejected.
async fn process_rejection(rejection: AtpResponse<Form<Rejection>>) -> Result<String, Error> {
    tell_downstream(&rejection).await?;
    let reason = rejection.data.reason.as_deref().unwrap_or("no reason given");
    Ok(format!("{} is rejected: {reason}\n", rejection.notification_id))
}

/// `handle_webhook_with_retry`: an error here becomes a 503 in the handlers, by `?`, and the ATP
/// server delivers again.
async fn tell_downstream(answer: &Response) -> Result<(), Error> {
    let line = serde_json::to_string(&transform_response_for_downstream(answer))?;
    let Some(file) = env::var_os("EVENTS") else {
        println!("{line}");
        return Ok(());
    };
    let append = move || writeln!(OpenOptions::new().append(true).create(true).open(file)?, "{line}");
    Ok(web::block(append).await??)
}

/// `transform_response_for_downstream`. For whom it was asked only a service that remembers its
/// questions can add.
fn transform_response_for_downstream(answer: &Response) -> UserDecision {
    UserDecision::new(answer, Utc::now())
}

#[actix_web::main]
async fn main() -> Result<(), Failure> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let verifier = Verifier::new(Secret::from_env("ATP_WEBHOOK_SECRET")?);
    let server = HttpServer::new(move || App::new().service(handle_atp_webhook(verifier.clone())));
    let server = server.bind(("127.0.0.1", port()?))?;
    announce(&server.addrs());
    Ok(server.run().await?)
}
