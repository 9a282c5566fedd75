//! Whether a webhook is reached, and refuses what is not signed.

use bytes::Bytes;
use reqwest::{Method, Url};
use serde_json::{Value, json};

use super::finding::Finding;
use crate::commands::{
    http::{self, Answered},
    output::Failure,
};

const CHECK: &str = "webhook";

/// Sends it a request without a signature.
pub(super) async fn check(webhook: &Url) -> Result<Finding, Failure> {
    let client = http::client(webhook)?;
    let headers = [("content-type", "application/json".to_owned())];
    let answered = http::ask(&client, Method::POST, webhook, &headers, Bytes::from_static(b"{}")).await;
    Ok(match answered {
        Ok(answered) => judge(&answered),
        Err(why) => Finding::wrong(
            CHECK,
            format!("{webhook} does not answer: {why}"),
            "start the service, and see that the address, the firewall and the proxy lead to it",
        ),
    })
}

fn judge(answered: &Answered) -> Finding {
    let found = format!("an unsigned request is answered {}", answered.status);
    let todo = match answered.status {
        401 => return of_refusal(answered, &found),
        200..=299 => {
            "whoever answers takes what nobody signed: it is no webhook of this library, or something in front answers for it"
        }
        300..=399 => "a sender does not follow redirects: give it the address that this one leads to",
        403 | 407 => "something in front of the service refuses it: let the ATP server's requests through",
        404 => "there is no webhook at this path",
        405 => "the path exists, and takes no POST: is it the path of the webhook?",
        429 => "something in front of the service limits requests: let the ATP server's through",
        500..=599 => "the service, or a proxy in front of it, fails: see its log",
        _ => "a webhook answers 401: is it the address of one?",
    };
    Finding::wrong(CHECK, found, todo)
}

/// A 401 is also how others ask who calls. The library's has a body that the protocol documents, and
/// asks for no login.
fn of_refusal(answered: &Answered, found: &str) -> Finding {
    if let Some(login) = &answered.login {
        return Finding::wrong(
            CHECK,
            format!("{found}, which asks for a login: WWW-Authenticate: {login}"),
            "something in front of the service asks for a login: let the ATP server's requests through",
        );
    }
    let body = serde_json::from_str::<Value>(&answered.body);
    if body.is_ok_and(|body| body == json!({ "error": "Invalid signature" })) {
        return Finding::good(CHECK, format!("it is reached, and {found}"));
    }
    Finding::advice(
        CHECK,
        format!("{found}, in other words than those of this library"),
        "see that it is the webhook that answers, and nothing in front of it: `atp send` tries a signed request",
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::commands::doctor::finding::State;

    const REFUSAL: &str = r#"{"error":"Invalid signature"}"#;

    fn answered(status: u16, login: Option<&str>, body: &str) -> Answered {
        let (took, login) = (Duration::ZERO, login.map(str::to_owned));
        let (retry_after, date, is_cut) = (None, None, false);
        Answered { status, took, retry_after, date, login, body: body.to_owned(), is_cut }
    }

    #[test]
    fn only_401_is_good() {
        for status in 100..=599 {
            let finding = judge(&answered(status, None, REFUSAL));
            assert_eq!(finding.state == State::Good, status == 401, "{status}");
        }
    }

    #[test]
    fn a_401_is_good_in_the_library_s_words_alone() {
        for (login, body, state) in [
            (None, REFUSAL, State::Good),
            (None, "{ \"error\": \"Invalid signature\" }\n", State::Good),
            (Some("Basic realm=\"staging\""), "<html>401 Authorization Required</html>", State::Wrong),
            (Some("Bearer"), REFUSAL, State::Wrong),
            (None, "", State::Advice),
            (None, r#"{"error":"no api key"}"#, State::Advice),
        ] {
            let finding = judge(&answered(401, login, body));
            assert_eq!(finding.state, state, "{login:?} {body:?}: {finding}");
        }
    }
}
