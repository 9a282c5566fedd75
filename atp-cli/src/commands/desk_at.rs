//! The desk that a command talks to.

use std::env;

use bytes::Bytes;
use clap::Args;
use reqwest::{Method, Url};
use serde_json::Value;

use super::{
    http,
    output::{Failure, chain},
};
use crate::limits::ANSWER_WITHIN;

/// Where it is, and who calls.
#[derive(Debug, Args)]
pub(super) struct DeskAt {
    /// The desk.
    #[arg(long, value_name = "URL", env = "ATP_DESK_URL", default_value = "http://127.0.0.1:8700")]
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
        let unable = |error: &reqwest::Error| {
            Failure::Unable(format!("the desk at {} is not reached: {}", self.desk, chain(error)))
        };
        let mut url = self.desk.clone();
        let based = || Failure::Usage(format!("{} is no address of a desk", self.desk));
        url.path_segments_mut().map_err(|()| based())?.pop_if_empty().extend(path);
        let request = http::client(&url)?.request(method, url).bearer_auth(caller.token()?);
        let request = request.timeout(ANSWER_WITHIN * 2).body(Bytes::from(body));
        let response = request.send().await.map_err(|error| unable(&error.without_url()))?;
        let status = response.status();
        let answer = response.bytes().await.map_err(|error| unable(&error.without_url()))?;
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        if status.is_success() {
            return Ok(Ok(answer));
        }
        let said = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Err(format!("{} {}: {}", status.as_u16(), said("code"), said("message"))))
    }
}
