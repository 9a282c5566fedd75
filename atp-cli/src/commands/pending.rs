//! `atp pending`: the questions of a desk that wait for a human.

use std::fmt;

use clap::Args;
use reqwest::Method;
use serde::Serialize;
use serde_json::Value;

use super::{
    desk_at::{Caller, DeskAt},
    output::{End, Failure, Output, Shown},
};

/// Of which desk.
#[derive(Debug, Args)]
#[command(after_help = "The token of the human's client is read from ATP_DESK_USER_TOKEN.

Example:
  atp pending --desk http://127.0.0.1:8700")]
pub(super) struct Pending {
    #[command(flatten)]
    at: DeskAt,
}

/// One question.
#[derive(Serialize)]
struct Question {
    id: String,
    title: String,
    deadline: Option<String>,
    actions: Vec<Action>,
}

#[derive(Serialize)]
struct Action {
    id: String,
    response_type: String,
}

impl Question {
    fn of(notification: &Value) -> Self {
        let text = |value: &Value, pointer: &str| {
            value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let actions = notification.get("actions").and_then(Value::as_array).into_iter().flatten();
        Self {
            id: text(notification, "/id"),
            title: text(notification, "/context/title"),
            deadline: notification.get("deadline").and_then(Value::as_str).map(str::to_owned),
            actions: actions
                .map(|action| Action {
                    id: text(action, "/id"),
                    response_type: text(action, "/response_type"),
                })
                .collect(),
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {}", Shown(&self.id), Shown(&self.title))?;
        for action in &self.actions {
            write!(f, "\n  {} ({})", Shown(&action.id), Shown(&action.response_type))?;
        }
        Ok(())
    }
}

impl Pending {
    pub(super) async fn run(&self, output: Output) -> Result<End, Failure> {
        let path = ["api", "v1", "client", "notifications"];
        let mut count = 0;
        loop {
            let query = [("offset", count.to_string())];
            let listed = self.at.call_with(Method::GET, &path, &query, Caller::User, String::new()).await?;
            let listed = listed.map_err(Failure::Unable)?;
            let notifications = listed.get("notifications").and_then(Value::as_array);
            let notifications =
                notifications.ok_or_else(|| self.at.is_no_desk("it lists no notifications"))?;
            for notification in notifications {
                output.print(&Question::of(notification))?;
            }
            count += notifications.len();
            if notifications.is_empty() {
                break;
            }
        }
        if count == 0 {
            output.remark("Nothing waits.")?;
        }
        Ok(End::Done)
    }
}
