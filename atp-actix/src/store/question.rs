//! What is asked.

use atp_core::Notification;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;

use super::StoreError;
use crate::limits::{DEEPEST_JSON, MAX_SERVICE};

/// The service that a question belongs to unless it is named.
pub const DEFAULT_SERVICE: &str = "default";

/// Refuses what could be written and never read again: `serde_json` writes any depth, and reads
/// [`DEEPEST_JSON`].
fn check_readable(value: &impl Serialize) -> Result<(), String> {
    let text = serde_json::to_string(value).map_err(|error| error.to_string())?;
    let is_readable = serde_json::from_str::<Value>(&text).is_ok();
    if is_readable {
        Ok(())
    } else {
        Err(format!("it nests deeper than {DEEPEST_JSON}, and could not be read again"))
    }
}

/// Refuses what does not fit into a key.
pub(crate) fn check_length(what: &'static str, text: &str, most: usize) -> Result<(), StoreError> {
    if text.len() <= most { Ok(()) } else { Err(StoreError::TooLong { what, most }) }
}

/// A question that is about to be sent, and what its answer will be correlated with.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Question {
    pub(crate) service: String,
    pub(crate) key: Option<String>,
    pub(crate) notification: Notification,
    pub(crate) user_id: Option<String>,
    pub(crate) request_id: Option<String>,
    pub(crate) context: Value,
    /// Why the context is no JSON.
    pub(super) unfit_context: Option<String>,
}

impl Question {
    /// A question of the default service, recorded under its own id.
    ///
    /// Recorded again with another deadline it is the same question, and the first deadline stands.
    pub fn new(notification: Notification) -> Self {
        Self {
            service: DEFAULT_SERVICE.to_owned(),
            key: None,
            notification,
            user_id: None,
            request_id: None,
            context: Value::Null,
            unfit_context: None,
        }
    }

    /// Names the service that asks, in at most [`MAX_SERVICE`] bytes; [`DEFAULT_SERVICE`] unless
    /// set. A webhook sees the questions of its own service only.
    pub fn service(mut self, service: impl Into<String>) -> Self {
        self.service = service.into();
        self
    }

    /// Records it under a key of our own, of at most [`Notification::MAX_ID`] bytes; under the
    /// notification's id unless set. It is needed where the ATP server names the notification:
    /// [`Store::bind`](crate::store::Store::bind) says later which id that is.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Says for whom it is asked.
    pub fn user_id(mut self, user_id: impl Into<String>) -> Self {
        self.user_id = Some(user_id.into());
        self
    }

    /// Says for which request it is asked.
    pub fn request_id(mut self, request_id: impl Into<String>) -> Self {
        self.request_id = Some(request_id.into());
        self
    }

    /// Says whatever else the handler of the answer will need.
    ///
    /// What has no JSON, such as a map whose keys are no texts, and what nests too deep to be read
    /// again is [`StoreError::Context`] when the question is recorded.
    pub fn context(mut self, context: impl Serialize) -> Self {
        match serde_json::to_value(context) {
            Ok(context) => (self.context, self.unfit_context) = (context, None),
            Err(error) => self.unfit_context = Some(error.to_string()),
        }
        self
    }

    /// Whether this asks what that asked. A program that starts again makes its questions at
    /// another time, and computes their deadlines anew: neither makes another question, and the
    /// first deadline stands.
    #[must_use]
    pub fn asks_the_same(&self, earlier: &Self) -> bool {
        let mut ours = self.notification.clone();
        ours.timestamp = earlier.notification.timestamp;
        ours.deadline = earlier.notification.deadline;
        ours == earlier.notification
            && self.user_id == earlier.user_id
            && self.request_id == earlier.request_id
            && self.context == earlier.context
    }

    /// Refuses a question that nobody could answer in time, where it is recorded for the first
    /// time. [`StoreError::DeadlinePassed`] says which times those are.
    pub fn check_deadline(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        match self.notification.deadline {
            Some(deadline) if deadline < now => Err(StoreError::DeadlinePassed { deadline, now }),
            _ => Ok(()),
        }
    }

    /// What is asked, to be sent to the ATP server.
    #[must_use]
    pub fn notification(&self) -> &Notification {
        &self.notification
    }

    /// The service that asks.
    #[must_use]
    pub fn get_service(&self) -> &str {
        &self.service
    }

    /// For whom it is asked.
    #[must_use]
    pub fn get_user_id(&self) -> Option<&str> {
        self.user_id.as_deref()
    }

    /// For which request it is asked.
    #[must_use]
    pub fn get_request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// Whatever else is recorded with it; [`Value::Null`] if nothing is.
    #[must_use]
    pub fn get_context(&self) -> &Value {
        &self.context
    }

    /// The key to record it under, for a store: the one that was set, or else the notification's
    /// id. An error says why the question cannot be recorded, whatever is recorded already.
    pub fn checked_key(&self) -> Result<&str, StoreError> {
        self.notification.check()?;
        if let Some(fault) = &self.unfit_context {
            return Err(StoreError::Context(fault.clone()));
        }
        check_readable(&self.context).map_err(StoreError::Context)?;
        check_readable(&self.notification).map_err(StoreError::Unreadable)?;
        check_length("service", &self.service, MAX_SERVICE)?;
        let key = self.key.as_ref().or(self.notification.id.as_ref());
        let key = key.map(String::as_str).filter(|key| !key.is_empty()).ok_or(StoreError::NoKey)?;
        check_length("key", key, Notification::MAX_ID)?;
        Ok(key)
    }
}

/// A question that was recorded.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RecordedQuestion {
    /// The key that it was recorded under: the notification's id, unless [`Question::key`] named
    /// another.
    pub key: String,
    /// As it was sent.
    pub notification: Notification,
    /// For whom it was asked.
    pub user_id: Option<String>,
    /// For which request it was asked.
    pub request_id: Option<String>,
    /// Whatever else was recorded with it.
    pub context: Value,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
    /// Why it was taken back, if it was.
    pub invalidated: Option<String>,
    /// What became of the task; none while it waits.
    pub state: Option<String>,
}

impl RecordedQuestion {
    /// This question, recorded at this time and open.
    #[must_use]
    pub fn new(key: impl Into<String>, question: &Question, recorded_at: DateTime<Utc>) -> Self {
        Self {
            key: key.into(),
            notification: question.notification.clone(),
            user_id: question.user_id.clone(),
            request_id: question.request_id.clone(),
            context: question.context.clone(),
            recorded_at,
            invalidated: None,
            state: None,
        }
    }
}
