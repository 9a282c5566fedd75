//! `atp replay`: sends what a desk has sent once more, to the service or to another address.

use std::fmt;

use bytes::Bytes;
use clap::Args;
use reqwest::{Method, Url};
use serde::Serialize;
use serde_json::Value;

use super::{
    desk_at::{Caller, DeskAt},
    http,
    output::{End, Failure, Output, Shown},
    parts::{address, quiet},
    send::unanswered,
};

/// The answer of which question, and whereto.
#[derive(Debug, Args)]
#[command(
    after_help = "Without --to the desk delivers the same answer anew, with a new signature. With --to the last \
recorded request goes there byte for byte, with the signature that it had. The administrator's token is read from \
ATP_DESK_ADMIN_TOKEN.

Example:
  atp replay n-2 --desk http://127.0.0.1:8700"
)]
pub(super) struct Replay {
    /// The question's id.
    notification: String,
    /// Another address.
    #[arg(long, value_name = "URL", value_parser = quiet(address))]
    to: Option<Url>,
    #[command(flatten)]
    at: DeskAt,
}

/// What came of it.
#[derive(Serialize)]
struct Replayed {
    notification: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<String>,
}

impl fmt::Display for Replayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let notification = Shown(&self.notification);
        match (self.status, &self.answer) {
            (Some(status), Some(answer)) => write!(f, "{notification}: {status} {}", Shown(answer)),
            _ => write!(f, "{notification}: the desk sends it again"),
        }
    }
}

impl Replay {
    pub(super) async fn run(&self, output: Output) -> Result<End, Failure> {
        let question = ["desk", "api", "questions", &self.notification];
        let (status, answer) = match &self.to {
            None => {
                let path = [&question[..], &["deliver"]].concat();
                let sent = self.at.call(Method::POST, &path, Caller::Admin, String::new()).await?;
                self.at.of_question(sent.map_err(Failure::Unable)?)?;
                (None, None)
            }
            Some(to) => {
                let story = self.at.call(Method::GET, &question, Caller::Admin, String::new()).await?;
                let story = self.at.of_question(story.map_err(Failure::Unable)?)?;
                let (headers, body) = last_request(&story)?;
                let headers: Vec<(&str, String)> =
                    headers.iter().map(|(name, value)| (&**name, value.clone())).collect();
                let client = http::client(to)?;
                let answered = http::ask(&client, Method::POST, to, &headers, Bytes::from(body)).await;
                let answered = answered.map_err(|why| unanswered(to, &why))?;
                (Some(answered.status), Some(answered.body))
            }
        };
        let is_taken = status.is_none_or(|status| (200..300).contains(&status));
        output.judge(&Replayed { notification: self.notification.clone(), status, answer })?;
        Ok(if is_taken { End::Done } else { End::Bad })
    }
}

/// The headers and the body of the last attempt that sent any.
fn last_request(story: &Value) -> Result<(Vec<(String, String)>, String), Failure> {
    let none = || Failure::Unable("nothing of this question was sent yet".to_owned());
    let deliveries = story.get("deliveries").and_then(Value::as_array).ok_or_else(none)?;
    let attempts = deliveries.iter().filter_map(|delivery| delivery.get("attempts")?.as_array()).flatten();
    let mut sent = attempts
        .filter(|attempt| attempt.get("body").and_then(Value::as_str).is_some_and(|body| !body.is_empty()));
    let last = sent.next_back().ok_or_else(none)?;
    let headers = last.get("headers").and_then(Value::as_object).into_iter().flatten();
    let headers = headers.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
    let body = last.get("body").and_then(Value::as_str).unwrap_or_default();
    Ok((headers.collect(), body.to_owned()))
}
