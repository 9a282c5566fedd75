//! Wire types of the other calls between a service, an ATP server and a human's client (protocol,
//! sections 4 and 5).

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::question::Status;

/// What an ATP server says to a new notification: 201.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NotificationCreated {
    /// The identifier that answers will name.
    pub notification_id: String,
    /// `created`.
    pub status: Status,
    /// When the human should have it, as the server says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_delivery: Option<Value>,
}

/// What a service says to take a question back, or that its answer was handled, by
/// `PATCH /api/v1/notifications/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StatusChange {
    /// `invalidated`, or the guide's `processed`.
    pub status: String,
    /// Why, for humans.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl StatusChange {
    /// Takes a question back.
    #[must_use]
    pub fn invalidated(reason: impl Into<String>) -> Self {
        Self { status: "invalidated".to_owned(), reason: Some(reason.into()) }
    }

    /// Says that the answer was handled. The reference does not name this status, so a server may
    /// refuse it.
    #[must_use]
    pub fn processed() -> Self {
        Self { status: "processed".to_owned(), reason: None }
    }
}

/// What an ATP server says to a [`StatusChange`]: 200.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StatusChanged {
    /// The question.
    pub notification_id: String,
    /// What it is now.
    pub status: String,
    /// When it became that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<DateTime<Utc>>,
}

impl StatusChanged {
    /// A question that is now this.
    #[must_use]
    pub fn new(notification_id: impl Into<String>, status: impl Into<String>) -> Self {
        Self { notification_id: notification_id.into(), status: status.into(), updated_at: None }
    }
}

/// What an administrator says to register a service: `POST /api/v1/services`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServiceRegistration {
    /// Its name, for humans.
    pub name: String,
    /// What it does, for humans.
    pub description: String,
    /// Where answers go; HTTPS.
    pub callback_url: String,
    /// With which answers are signed; 32 characters or more are advised.
    pub webhook_secret: String,
}

impl ServiceRegistration {
    /// A registration with all that the call needs.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        description: impl Into<String>,
        callback_url: impl Into<String>,
        webhook_secret: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            description: description.into(),
            callback_url: callback_url.into(),
            webhook_secret: webhook_secret.into(),
        }
    }
}

/// Shows no secret.
impl fmt::Debug for ServiceRegistration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceRegistration")
            .field("name", &self.name)
            .field("callback_url", &self.callback_url)
            .finish_non_exhaustive()
    }
}

/// What an ATP server says to a [`ServiceRegistration`]: 201.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServiceRegistered {
    /// The service's identifier.
    pub service_id: String,
    /// With which the service sends.
    pub api_key: String,
    /// With which answers are signed.
    pub webhook_secret: String,
}

/// Shows no secret.
impl fmt::Debug for ServiceRegistered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceRegistered").field("service_id", &self.service_id).finish_non_exhaustive()
    }
}

/// What a human's client says: `POST /api/v1/client/respond`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ClientResponse {
    /// The question.
    pub notification_id: String,
    /// The action that was chosen.
    pub action_id: String,
    /// What goes along.
    #[serde(default)]
    pub response_data: Value,
}

impl ClientResponse {
    /// An answer.
    #[must_use]
    pub fn new(
        notification_id: impl Into<String>,
        action_id: impl Into<String>,
        response_data: impl Into<Value>,
    ) -> Self {
        Self {
            notification_id: notification_id.into(),
            action_id: action_id.into(),
            response_data: response_data.into(),
        }
    }
}

/// What an ATP server says to a [`ClientResponse`]: 200.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ClientResponded {
    /// The question.
    pub notification_id: String,
    /// The action that was chosen.
    pub action_id: String,
    /// `responded`.
    pub status: Status,
    /// When it became that.
    pub responded_at: DateTime<Utc>,
}

/// What an ATP server says when it refuses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("the ATP server says {code}: {message}")]
#[non_exhaustive]
pub struct ServerError {
    /// Such as `NOTIFICATION_EXPIRED`.
    pub code: String,
    /// What is wrong, in words for humans.
    #[serde(default)]
    pub message: String,
    /// More details, which differ by code.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub details: Map<String, Value>,
    /// The request's id, which the server's support will ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;

    use super::*;
    use crate::question::Notification;

    fn there_and_back<T: Serialize + DeserializeOwned>(json: &str) {
        let value: T = serde_json::from_str(json).unwrap();
        let (there, back) =
            (serde_json::from_str::<Value>(json).unwrap(), serde_json::to_value(value).unwrap());
        assert_eq!(there, back, "{json}");
    }

    #[test]
    fn the_protocols_own_samples_go_there_and_back() {
        there_and_back::<Notification>(
            r#"{"id":"550e8400-e29b-41d4-a716-446655440000","version":"1.0","timestamp":"2025-05-25T10:30:00Z","deadline":"2025-05-25T11:00:00Z",
             "service":{"id":"lovelace-ide","name":"Lovelace IDE","icon":"https://lovelace.dev/icon.png"},
             "context":{"title":"Deploy to Production?","description":"New version 2.1.0 is ready.","project":"backend-api",
              "metadata":{"version":"2.1.0","changes":47},
              "attachments":[{"type":"text/plain","description":"Release notes","data":"QQ=="}]},
             "actions":[{"id":"approve","label":"Approve Deployment","response_type":"simple","flags":["irreversible"]},
              {"id":"reject","label":"Reject","response_type":"text","constraints":{"placeholder":"Reason for rejection"}},
              {"id":"delay","label":"Delay","response_type":"choice","options":[{"value":"1h","label":"1 hour"},{"value":"1d","label":"1 day"}]},
              {"id":"odd","label":"Odd","response_type":"hologram","options":{"a":[1]},"constraints":{"b":null},"more":[true]}]}"#,
        );
        there_and_back::<NotificationCreated>(
            r#"{"notification_id":"n","status":"created","estimated_delivery":"2025-05-25T10:30:05Z"}"#,
        );
        there_and_back::<StatusChange>(r#"{"status":"invalidated","reason":"superseded"}"#);
        there_and_back::<StatusChanged>(
            r#"{"notification_id":"n","status":"invalidated","updated_at":"2025-05-25T10:30:05Z"}"#,
        );
        there_and_back::<ServiceRegistered>(r#"{"service_id":"s","api_key":"k","webhook_secret":"w"}"#);
        there_and_back::<ClientResponse>(r#"{"notification_id":"n","action_id":"a","response_data":null}"#);
        there_and_back::<ClientResponded>(
            r#"{"notification_id":"n","action_id":"a","status":"responded","responded_at":"2025-05-25T10:30:05Z"}"#,
        );
        there_and_back::<ServerError>(
            r#"{"code":"NOTIFICATION_EXPIRED","message":"too late","details":{"notification_id":"n","expired_at":"2025-05-25T11:00:00Z"},"request_id":"req_1"}"#,
        );
    }
}
