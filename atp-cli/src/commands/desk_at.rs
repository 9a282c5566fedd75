//! The desk that a command talks to.

use std::env;

use bytes::Bytes;
use clap::Args;
use reqwest::{Method, Url};
use serde_json::Value;

use super::{
    http,
    output::{Failure, Shown, chain},
    parts::address,
};
use crate::limits::{ANSWER_WITHIN, DESK_ANSWER};

/// Where it is, and who calls.
#[derive(Debug, Args)]
pub(super) struct DeskAt {
    /// The desk.
    #[arg(long, value_name = "URL", env = "ATP_DESK_URL", value_parser = address, default_value = "http://127.0.0.1:8700")]
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
    /// What the desk answers; what it refuses comes with its words.
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
        let said = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Err(format!("{} {}: {}", status.as_u16(), said("code"), said("message"))))
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
