//! `atp answer`: answers a question at a desk, as a human does.

use std::fmt;

use clap::Args;
use reqwest::Method;
use serde::Serialize;
use serde_json::{json, value::RawValue};

use super::{
    desk_at::{Caller, DeskAt},
    output::{End, Failure, Output, Shown},
};

/// Which question, and what.
#[derive(Debug, Args)]
#[command(after_help = "The token of the human's client is read from ATP_DESK_USER_TOKEN.

Example:
  atp answer n-1 approve --desk http://127.0.0.1:8700")]
pub(super) struct Answer {
    /// The question's id.
    notification: String,
    /// The action.
    action: String,
    /// What goes along, as JSON; it is sent as it is written.
    #[arg(long, value_name = "JSON", default_value = "null", value_parser = json_text, allow_hyphen_values = true)]
    data: String,
    #[command(flatten)]
    at: DeskAt,
}

fn json_text(text: &str) -> Result<String, String> {
    serde_json::from_str::<&RawValue>(text)
        .map(|_| text.to_owned())
        .map_err(|error| format!("this is no JSON: {error}"))
}

/// What came of it.
#[derive(Serialize)]
struct Answered {
    notification: String,
    action: String,
    is_taken: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

impl fmt::Display for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (notification, action) = (Shown(&self.notification), Shown(&self.action));
        match &self.why {
            None => write!(f, "{notification}: {action} is answered, and on its way to the service"),
            Some(why) => write!(f, "{notification}: {action} is not taken: {}", Shown(why)),
        }
    }
}

impl Answer {
    pub(super) async fn run(&self, output: Output) -> Result<End, Failure> {
        let body = format!(
            r#"{{"notification_id":{},"action_id":{},"response_data":{}}}"#,
            json!(self.notification),
            json!(self.action),
            self.data,
        );
        let answered =
            self.at.call(Method::POST, &["api", "v1", "client", "respond"], Caller::User, body).await?;
        let why = match answered {
            Ok(answer) => self.at.of_question(answer).map(|_| None)?,
            Err(refusal) => Some(refusal),
        };
        let (notification, action) = (self.notification.clone(), self.action.clone());
        let end = if why.is_none() { End::Done } else { End::Bad };
        output.judge(&Answered { notification, action, is_taken: why.is_none(), why })?;
        Ok(end)
    }
}
