//! What this service asks. A real one would also send each question to its ATP server.

use atp_actix::atp_core::{Action, Field, Notification, Options, Selections, TextRules};
use serde_json::{Value, json};

/// A question, for whom it was asked, and the answer that the demonstration gives.
pub struct Asked {
    pub question: Notification,
    pub user_id: &'static str,
    pub request_id: &'static str,
    pub sample: (&'static str, Value),
}

/// The three questions.
pub fn all() -> [Asked; 3] {
    [deploy(), refund(), regions()]
}

fn deploy() -> Asked {
    let question =
        Notification::new("Deploy to production?", "Version 2.1.0 of backend-api is ready: 47 changes.")
            .id("deploy")
            .action(Action::simple("approve", "Deploy").flag("irreversible"))
            .action(reject());
    Asked { question, user_id: "user_7", request_id: "req_deploy", sample: ("approve", Value::Null) }
}

fn refund() -> Asked {
    let fields =
        [Field::new("cents", "Cents").kind("number").required(), Field::new("note", "Note").kind("text")];
    let question =
        Notification::new("Refund order 1042?", "The customer paid 129.00 and reports a broken cup.")
            .id("refund")
            .action(Action::form("refund", "Refund", fields))
            .action(reject());
    let sample = ("refund", json!({ "cents": 1250, "note": "one cup of six" }));
    Asked { question, user_id: "user_8", request_id: "req_refund", sample }
}

fn regions() -> Asked {
    let options = Options::new([("eu-west", "Ireland"), ("us-east", "Virginia"), ("ap-south", "Mumbai")]);
    let selections = Selections::any().min(1).max(2);
    let question = Notification::new("Where may the search index run?", "Choose one region, or two.")
        .id("regions")
        .action(Action::multi_choice("place", "Run it there", options, selections))
        .action(reject());
    Asked {
        question,
        user_id: "user_7",
        request_id: "req_regions",
        sample: ("place", json!(["eu-west", "ap-south"])),
    }
}

/// Every question can be rejected, with a reason.
fn reject() -> Action {
    Action::text(
        "reject",
        "Reject",
        TextRules::new().placeholder("Reason for rejection").min_length(1).max_length(500),
    )
}
