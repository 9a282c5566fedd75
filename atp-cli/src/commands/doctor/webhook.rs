//! Whether a webhook is reached, and refuses what is not signed.

use bytes::Bytes;
use reqwest::{Method, Url};

use super::finding::Finding;
use crate::commands::{http, output::Failure};

const CHECK: &str = "webhook";

/// Sends it a request without a signature.
pub(super) async fn check(webhook: &Url) -> Result<Finding, Failure> {
    let client = http::client(webhook)?;
    let headers = [("content-type", "application/json".to_owned())];
    let answered = http::ask(&client, Method::POST, webhook, &headers, Bytes::from_static(b"{}")).await;
    Ok(match answered {
        Ok(answered) => judge(answered.status),
        Err(why) => Finding::wrong(
            CHECK,
            format!("{webhook} does not answer: {why}"),
            "start the service, and see that the address, the firewall and the proxy lead to it",
        ),
    })
}

fn judge(status: u16) -> Finding {
    let found = format!("an unsigned request is answered {status}");
    let todo = match status {
        401 => return Finding::good(CHECK, format!("it is reached, and {found}")),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::State;

    #[test]
    fn only_401_is_good() {
        for status in 100..=599 {
            assert_eq!(judge(status).state == State::Good, status == 401, "{status}");
        }
    }
}
