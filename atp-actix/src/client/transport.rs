//! The connections to an ATP server, and whom they trust.

use std::{
    error::Error,
    fmt::{self, Write as _},
    sync::{Arc, OnceLock},
    time::Duration,
};

use rustls::ClientConfig;

use super::error::ClientError;
use crate::https;

/// Connections that clones share. They are set up when the first is needed.
#[derive(Clone)]
pub(super) struct Transport {
    tls: Arc<ClientConfig>,
    is_https: bool,
    connect_within: Duration,
    http: Arc<OnceLock<reqwest::Client>>,
}

impl Transport {
    /// To a server that is trusted as the system trusts it.
    pub(super) fn new(is_https: bool, connect_within: Duration) -> Result<Self, ClientError> {
        let tls = https::tls(is_https).map_err(|error| ClientError::Tls(error.to_string()))?;
        Ok(Self { tls: Arc::new(tls), is_https, connect_within, http: Arc::default() })
    }

    /// The same with another time to connect, and so with other connections.
    pub(super) fn connect_within(self, time: Duration) -> Self {
        Self { connect_within: time, http: Arc::default(), ..self }
    }

    pub(super) fn http(&self) -> Result<&reqwest::Client, ClientError> {
        if let Some(http) = self.http.get() {
            return Ok(http);
        }
        let builder = https::builder(ClientConfig::clone(&self.tls)).connect_timeout(self.connect_within);
        // What is not encrypted must not leave this machine, whatever proxy is set.
        let builder = if self.is_https { builder } else { builder.no_proxy() };
        let http = builder.build().map_err(|error| ClientError::Tls(chain(&error.without_url())))?;
        Ok(self.http.get_or_init(|| http))
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("connect_within", &self.connect_within).finish_non_exhaustive()
    }
}

/// Why there is no answer.
pub(super) fn unanswered(error: reqwest::Error) -> ClientError {
    let is_connecting = error.is_connect();
    let reason = chain(&error.without_url());
    if is_connecting { ClientError::Unreached { reason } } else { ClientError::Unanswered { reason } }
}

/// An error with its causes: the outermost alone says nothing.
fn chain(error: &dyn Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        // Writing to a text does not fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
