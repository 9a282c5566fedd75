//! A question for each response type.

use atp_actix::atp_core::{
    Action, Attachment, Field, Notification, NumberRules, Options, Selections, TextRules,
};
use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};

/// The response types, as the ids of the questions name them.
pub const TYPES: [&str; 10] =
    ["simple", "binary", "choice", "multi_choice", "text", "number", "select", "form", "json", "file"];

/// All questions; in each stands where to see what the service did.
pub fn all(service: &str) -> Vec<Notification> {
    TYPES.into_iter().map(|kind| one(kind, kind, service)).collect()
}

/// The question of this response type, under this id.
pub fn one(kind: &str, id: &str, service: &str) -> Notification {
    let (title, about, action) = of(kind);
    let about = format!("{about}\n\nWhat comes of it is [on the page of the service]({service}).");
    let notification = Notification::new(title, about).id(id).action(action);
    let notification = notification.deadline(Utc::now() + TimeDelta::hours(8)).project("backend-api");
    match kind {
        "simple" => {
            let notes = Attachment::of("text/plain", "Release notes", b"Orders are paid twice as fast.");
            notification.metadata("version", "2.1.0").metadata("changes", 47).attachment(notes)
        }
        _ => notification,
    }
}

fn of(kind: &str) -> (&'static str, &'static str, Action) {
    let regions = || Options::new([("eu", "Europe"), ("us", "America"), ("ap", "Asia")]);
    match kind {
        "simple" => (
            "Deploy version 2.1.0?",
            "All **212 tests** have passed. Customers see it at once.",
            Action::simple("simple", "Deploy it").flag("irreversible"),
        ),
        "binary" => (
            "Is this invoice paid?",
            "The bank shows 120.00 for *invoice 7*.",
            Action::binary("binary", "Answer", "It is paid", "It is not paid"),
        ),
        "choice" => (
            "When shall it be deployed?",
            "Traffic is lowest at night.",
            Action::choice(
                "choice",
                "Choose",
                Options::new([("now", "Now"), ("1h", "In an hour"), ("night", "At night")]),
            ),
        ),
        "multi_choice" => (
            "Where shall it run?",
            "One region is the least; two are the most that the budget allows.",
            Action::multi_choice("multi_choice", "Place it", regions(), Selections::any().min(1).max(2)),
        ),
        "text" => (
            "What shall the customer be told?",
            "She has waited for three days.",
            Action::text(
                "text",
                "Send it",
                TextRules::new().placeholder("Dear customer").min_length(3).max_length(500),
            ),
        ),
        "number" => (
            "How much shall be paid back?",
            "The order was 120.00.",
            Action::number("number", "Pay it back", NumberRules::new().min(0).max(120)),
        ),
        "select" => (
            "Whom shall we tell?",
            "One of them, or some.",
            Action::select(
                "select",
                "Tell them",
                Options::new([("sales", "Sales"), ("law", "Law"), ("press", "Press")]),
            ),
        ),
        "form" => (
            "Who signs the contract?",
            "All that the contract needs.",
            Action::form(
                "form",
                "Sign it",
                [
                    Field::new("name", "Name").required(),
                    Field::new("email", "E-mail").kind("email").required(),
                    Field::new("seats", "Seats").kind("number"),
                    Field::new("terms", "The terms are accepted").kind("checkbox"),
                ],
            ),
        ),
        "json" => (
            "Which limits shall the agent have?",
            "It asks again where they do not reach.",
            Action::json_schema("json", "Set the limits", limits()),
        ),
        _ => ("What does the receipt look like?", "A picture or a PDF.", Action::file("file", "Hand it in")),
    }
}

fn limits() -> Value {
    json!({
        "type": "object", "required": ["tokens"], "additionalProperties": false,
        "properties": { "tokens": { "type": "integer", "minimum": 1 }, "tools": { "type": "array" } },
    })
}

/// An answer that fits the question of this type.
pub fn answer(kind: &str) -> Value {
    match kind {
        "binary" => json!(true),
        "choice" => json!("night"),
        "multi_choice" => json!(["eu", "us"]),
        "text" => json!("It is on its way."),
        "number" => json!(12.5),
        "select" => json!(["sales"]),
        "form" => json!({ "name": "Ada", "email": "ada@example.com", "seats": 3, "terms": true }),
        "json" => json!({ "tokens": 1000 }),
        "file" => json!({ "name": "receipt.txt", "content_type": "text/plain", "data": "MTIwLjAw" }),
        _ => Value::Null,
    }
}
