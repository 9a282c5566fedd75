//! What this service asks. A real one would also send each question to its ATP server.

use atp_actix::{
    atp_core::{Action, Notification, NumberRules, Options, Selections, TextRules},
    store::Question,
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A question, and the answer that the demonstration gives.
pub struct Asked {
    pub id: String,
    pub question: Question,
    pub sample: (&'static str, Value),
}

/// The three questions.
pub fn all() -> [Asked; 3] {
    [deploy(), refund(1042, None), regions()]
}

/// What the answer about a deployment needs to know.
#[derive(Serialize, Deserialize)]
pub struct Release {
    pub version: String,
}

fn deploy() -> Asked {
    let id = "deploy".to_owned();
    let notification =
        Notification::new("Deploy to production?", "Version 2.1.0 of backend-api is ready: 47 changes.")
            .id(&id)
            .action(Action::simple("approve", "Deploy").flag("irreversible"))
            .action(reject());
    let question = Question::new(notification)
        .user_id("user_7")
        .request_id("req_deploy")
        .context(Release { version: "2.1.0".to_owned() });
    Asked { id, question, sample: ("approve", Value::Null) }
}

/// What the answer about a refund needs to know.
#[derive(Serialize, Deserialize)]
pub struct Order {
    pub number: u32,
}

/// One question for each order. Its rules are judged before the handler runs, so that a human can
/// correct himself.
pub fn refund(number: u32, deadline: Option<DateTime<Utc>>) -> Asked {
    let id = format!("refund-{number}");
    let title = format!("Refund order {number}?");
    let mut notification = Notification::new(title, "The customer paid 129.00 and reports a broken cup.")
        .id(&id)
        .action(Action::number("refund", "Refund, in cents", NumberRules::new().min(1).max(12_900).step(1)))
        .action(reject());
    notification.deadline = deadline;
    let question = Question::new(notification)
        .user_id("user_8")
        .request_id(format!("req_{id}"))
        .context(Order { number });
    Asked { id, question, sample: ("refund", json!(1250)) }
}

fn regions() -> Asked {
    let id = "regions".to_owned();
    let options = Options::new([("eu-west", "Ireland"), ("us-east", "Virginia"), ("ap-south", "Mumbai")]);
    let selections = Selections::any().min(1).max(2);
    let notification = Notification::new("Where may the search index run?", "Choose one region, or two.")
        .id(&id)
        .action(Action::multi_choice("place", "Run it there", options, selections))
        .action(reject());
    let question = Question::new(notification).user_id("user_7").request_id("req_regions");
    Asked { id, question, sample: ("place", json!(["eu-west", "ap-south"])) }
}

/// Every question can be rejected, with a reason.
fn reject() -> Action {
    Action::text(
        "reject",
        "Reject",
        TextRules::new().placeholder("Reason for rejection").min_length(1).max_length(500),
    )
}
