//! The desk that a command talks to.

use std::env;

use bytes::Bytes;
use clap::Args;
use reqwest::{Method, Url};
use serde_json::Value;

use super::{
    http,
    output::{Failure, Shown, chain},
    parts::{address, quiet},
};
use crate::limits::{ANSWER_WITHIN, DESK_ANSWER};

/// Where it is, and who calls.
#[derive(Debug, Args)]
pub(super) struct DeskAt {
    /// The desk.
    #[arg(
        long,
        value_name = "URL",
        env = "ATP_DESK_URL",
        hide_env_values = true,
        value_parser = quiet(address),
        default_value = "http://127.0.0.1:8700"
    )]
    desk: Url,
}

/// Whose token a call needs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Caller {
    /// That of the human's client.
    User,
    /// That of the administrator.
    Admin,
}

impl Caller {
    fn variable(self) -> &'static str {
        match self {
            Self::User => "ATP_DESK_USER_TOKEN",
            Self::Admin => "ATP_DESK_ADMIN_TOKEN",
        }
    }

    fn token(self) -> Result<String, Failure> {
        let variable = self.variable();
        env::var(variable).map_err(|_| {
            Failure::Unable(format!("set {variable} to the token that `atp desk` prints when it starts"))
        })
    }
}

impl DeskAt {
    /// What the desk answers; what it refuses as the protocol has it comes with its words. A token
    /// that does not fit, another name or address, a fault of the desk and too many calls are no verdict,
    /// but a failure.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &[&str],
        caller: Caller,
        body: String,
    ) -> Result<Result<Value, String>, Failure> {
        self.call_with(method, path, &[], caller, body).await
    }

    /// [`DeskAt::call`] with a query.
    pub(super) async fn call_with(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        caller: Caller,
        body: String,
    ) -> Result<Result<Value, String>, Failure> {
        let unable = |error: &reqwest::Error| {
            Failure::Unable(format!("the desk at {} is not reached: {}", self.desk, chain(error)))
        };
        if let Some(part) = path.iter().find(|part| !is_segment(part)) {
            return Err(Failure::Usage(format!("no URL can name `{}`", Shown(part))));
        }
        let mut url = self.desk.clone();
        let based = || Failure::Usage(format!("{} is no address of a desk", self.desk));
        url.path_segments_mut().map_err(|()| based())?.pop_if_empty().extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = http::client(&url)?.request(method, url).bearer_auth(caller.token()?);
        let request = request.timeout(ANSWER_WITHIN * 2).body(Bytes::from(body));
        let mut response = request.send().await.map_err(|error| unable(&error.without_url()))?;
        let (status, mut answer) = (response.status(), Vec::new());
        while let Some(chunk) = response.chunk().await.map_err(|error| unable(&error.without_url()))? {
            answer.extend_from_slice(&chunk);
            if answer.len() > DESK_ANSWER {
                return Err(self.is_no_desk("it sends more than a desk does"));
            }
        }
        let answer = serde_json::from_slice::<Value>(&answer).ok().filter(Value::is_object);
        let answer = answer.ok_or_else(|| self.is_no_desk(&format!("it answers {status} without JSON")))?;
        if status.is_success() {
            return Ok(Ok(answer));
        }
        let said = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
        let (code, message) = (said("code"), said("message"));
        if code.is_empty() {
            return Err(self.is_no_desk(&format!("it answers {status} without a code of the protocol")));
        }
        let refusal = format!("{} {code}: {message}", status.as_u16());
        match status.as_u16() {
            404 | 405 | 408 | 421 if code != "NOTIFICATION_NOT_FOUND" => Err(Failure::Unable(format!(
                "the desk at {} does not look at what was asked: {refusal}",
                self.desk
            ))),
            401 | 403 => Err(Failure::Unable(format!(
                "the desk at {} does not take the token in {}: {refusal}; set it to the token that `atp desk` prints \
                 when it starts",
                self.desk,
                caller.variable()
            ))),
            429 => Err(Failure::Unable(format!(
                "the desk at {} is called too often: {refusal}; try again in a minute",
                self.desk
            ))),
            400..=499 => Ok(Err(refusal)),
            _ => Err(Failure::Unable(format!(
                "the desk at {} fails: {refusal}; its log says why, and what was asked for may have been done",
                self.desk
            ))),
        }
    }

    /// What a desk says of a question, which it names: whatever else says 200 does not.
    pub(super) fn of_question(&self, answer: Value) -> Result<Value, Failure> {
        if answer.get("notification_id").is_none() {
            return Err(self.is_no_desk("it does not say which question it means"));
        }
        Ok(answer)
    }

    /// Something else listens there.
    pub(super) fn is_no_desk(&self, why: &str) -> Failure {
        Failure::Unable(format!("what listens at {} is no desk: {why}", self.desk))
    }
}

/// Whether a part of a path arrives as it is written: a URL has no lines, and two names lead elsewhere.
fn is_segment(part: &str) -> bool {
    !part.contains(['\n', '\r', '\t']) && !matches!(part, "." | "..")
}
