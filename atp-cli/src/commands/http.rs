//! Requests to the webhook of a service, and what the answers mean to a sender.

use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::{
    Client, Method, Response, Url,
    header::{DATE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE},
};
use tokio::time::timeout;

use super::output::{Failure, Shown, chain};
use crate::https::{builder, tls};

/// The time that a sender gives a webhook.
pub(super) const SENDER_WAITS: Duration = Duration::from_secs(5);

/// The time that is waited here, so that it is seen how much too late an answer is.
pub(super) const WAIT: Duration = Duration::from_secs(15);

/// The most that is read of an answer's body.
pub(super) const LONGEST_ANSWER: usize = 4 << 10;

/// A client that goes where it is told, follows nobody elsewhere and sends nothing twice.
pub(super) fn client(url: &Url) -> Result<Client, Failure> {
    let is_encrypted = url.scheme() == "https";
    let unable = |error: &dyn std::error::Error| {
        Failure::Unable(format!("no client of HTTP can be made: {}", chain(error)))
    };
    let tls = tls(is_encrypted).map_err(|error| unable(&error))?;
    let builder = builder(tls).user_agent(concat!("atp-cli/", env!("CARGO_PKG_VERSION")));
    // What is not encrypted goes to its host, whatever proxy the environment names.
    let builder = if is_encrypted { builder } else { builder.no_proxy() };
    builder.build().map_err(|error| unable(&error))
}

/// What a server answered.
#[derive(Debug)]
pub(super) struct Answered {
    /// Its status.
    pub(super) status: u16,
    /// How long it took.
    pub(super) took: Duration,
    /// What `Retry-After` says.
    pub(super) retry_after: Option<String>,
    /// What `Date` says.
    pub(super) date: Option<String>,
    /// What `WWW-Authenticate` says: that a login is asked for.
    pub(super) login: Option<String>,
    /// The body, or its beginning.
    pub(super) body: String,
    /// Whether there was more of the body.
    pub(super) is_cut: bool,
}

/// Asks for an answer to a request, for [`WAIT`] at most. An error says why there is none.
pub(super) async fn ask(
    client: &Client,
    method: Method,
    url: &Url,
    headers: &[(&str, String)],
    body: Bytes,
) -> Result<Answered, String> {
    let started = Instant::now();
    let request = client.request(method, url.clone()).body(body);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
    let answered = timeout(WAIT, async {
        let mut response = request.send().await?;
        let body = beginning(&mut response).await?;
        Ok::<_, reqwest::Error>((response, body))
    });
    let (response, (body, is_cut)) = match answered.await {
        Ok(Ok(answered)) => answered,
        Ok(Err(error)) => return Err(chain(&error.without_url())),
        Err(_) => return Err(format!("no answer within {} s", WAIT.as_secs())),
    };
    let header = |name: HeaderName| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
    Ok(Answered {
        status: response.status().as_u16(),
        took: started.elapsed(),
        retry_after: header(RETRY_AFTER),
        date: header(DATE),
        login: header(WWW_AUTHENTICATE),
        body: String::from_utf8_lossy(&body).into_owned(),
        is_cut,
    })
}

/// As much of the body as is shown, and whether there is more.
async fn beginning(response: &mut Response) -> reqwest::Result<(Vec<u8>, bool)> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > LONGEST_ANSWER {
            body.truncate(LONGEST_ANSWER);
            return Ok((body, true));
        }
    }
    Ok((body, false))
}

/// What an answer means to the server that sent the delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The answer took effect, or had before.
    Taken,
    /// It came too late to be heard.
    TooLate,
    /// It is refused, and not sent again.
    Refused,
    /// It is sent again later.
    Again,
    /// The protocol does not say.
    Undocumented,
}

impl Meaning {
    /// What this status means, after so long.
    pub(super) fn of(status: u16, took: Duration) -> Self {
        match status {
            _ if took > SENDER_WAITS => Self::TooLate,
            200..=299 => Self::Taken,
            400..=499 => Self::Refused,
            500..=599 => Self::Again,
            _ => Self::Undocumented,
        }
    }

    /// Whether the delivery is over and took effect.
    pub(super) fn is_good(self) -> bool {
        self == Self::Taken
    }

    /// One word.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::TooLate => "too late",
            Self::Refused => "refused",
            Self::Again => "again",
            Self::Undocumented => "undocumented",
        }
    }

    /// A sentence, without its end.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Taken => "final: it was taken, and is not sent again",
            Self::TooLate => {
                "tried again: a sender waits 5 s, so it does not see this answer and sends the delivery once more"
            }
            Self::Refused => "final: it was refused, and is not sent again",
            Self::Again => "tried again: a sender sends it once more later, with back-off",
            Self::Undocumented => {
                "open: the protocol does not say what a sender makes of it; answer 2xx, 4xx or 5xx"
            }
        }
    }
}

impl Answered {
    /// The answer and what it means, for a terminal.
    pub(super) fn shown(&self, meaning: &str) -> String {
        let mut text = format!("{} in {:.1} ms: {meaning}", self.status, self.took.as_secs_f64() * 1e3);
        if let Some(after) = &self.retry_after {
            text = format!("{text}; Retry-After: {}", Shown(after));
        }
        if !self.body.is_empty() {
            text = format!("{text}\n{}", Shown(&self.body));
        }
        if self.is_cut { format!("{text} .. (cut at {LONGEST_ANSWER} bytes)") } else { text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_means_something_to_a_sender() {
        let (soon, late) = (Duration::from_millis(12), Duration::from_millis(5_001));
        for (status, took, meaning) in [
            (200, soon, Meaning::Taken),
            (204, soon, Meaning::Taken),
            (200, late, Meaning::TooLate),
            (401, late, Meaning::TooLate),
            (301, soon, Meaning::Undocumented),
            (400, soon, Meaning::Refused),
            (401, soon, Meaning::Refused),
            (409, soon, Meaning::Refused),
            (429, soon, Meaning::Refused),
            (500, soon, Meaning::Again),
            (503, soon, Meaning::Again),
            (999, soon, Meaning::Undocumented),
        ] {
            assert_eq!(Meaning::of(status, took), meaning, "{status} after {took:?}");
        }
    }

    #[test]
    fn an_answer_does_nothing_to_a_terminal() {
        let answered = Answered {
            status: 503,
            took: Duration::from_millis(2),
            retry_after: Some("\u{1b}[2J".into()),
            date: None,
            login: None,
            body: "a\u{1b}[31m\nb".into(),
            is_cut: true,
        };
        let text = answered.shown("refused");
        assert!(!text.contains('\u{1b}'), "{text:?}");
        assert!(text.contains("Retry-After: \\u{1b}[2J") && text.ends_with("bytes)"), "{text:?}");
    }
}
