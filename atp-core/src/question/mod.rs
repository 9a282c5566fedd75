//! Wire types of the question (protocol, section 4).

mod action;
mod check;
mod rules;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use self::{
    action::{Action, Expects},
    check::QuestionError,
    rules::{Choosable, Field, Labels, NumberRules, Options, Selections, TextRules},
};
use crate::limits;

/// A question that a service asks a human: what it is about, and the actions to choose from.
///
/// ```
/// use atp_core::{Action, Notification, Options, TextRules};
///
/// let question = Notification::new("Deploy to production?", "Version 2.1.0 is ready.")
///     .id("550e8400-e29b-41d4-a716-446655440000")
///     .action(Action::simple("approve", "Approve").flag("irreversible"))
///     .action(Action::text("reject", "Reject", TextRules::new().max_length(500)))
///     .action(Action::choice("delay", "Delay", Options::new([("1h", "1 hour"), ("1d", "1 day")])));
/// question.check()?;
/// # Ok::<(), atp_core::QuestionError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Notification {
    /// The identifier that answers will name. Left out, the ATP server chooses one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The protocol's version, `1.0`.
    #[serde(default = "version")]
    pub version: String,
    /// When the question was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<DateTime<Utc>>,
    /// When an answer comes too late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<DateTime<Utc>>,
    /// Who asks. May be left out when sending: the API key says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// What it is about.
    pub context: Context,
    /// What the human may choose.
    pub actions: Vec<Action>,
    /// Where the question stands, in what an ATP server sends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// Members that the protocol does not name.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

fn version() -> String {
    "1.0".to_owned()
}

impl Notification {
    /// The longest id, in bytes: with a service's name it fits into a key of any database. The
    /// protocol does not say; its ids have 36.
    pub const MAX_ID: usize = limits::NOTIFICATION_ID;

    /// A question made now, without actions yet.
    #[must_use]
    pub fn new(title: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            id: None,
            version: version(),
            timestamp: Some(Utc::now()),
            deadline: None,
            service: None,
            context: Context { title: title.into(), description: description.into(), ..Context::default() },
            actions: Vec::new(),
            status: None,
            other: Map::new(),
        }
    }

    /// Names the question; the ATP server does unless set.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Adds an action to choose from.
    #[must_use]
    pub fn action(mut self, action: Action) -> Self {
        self.actions.push(action);
        self
    }

    /// Sets when an answer comes too late; never unless set.
    #[must_use]
    pub fn deadline(mut self, deadline: DateTime<Utc>) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Names the project that it is about.
    #[must_use]
    pub fn project(mut self, project: impl Into<String>) -> Self {
        self.context.project = Some(project.into());
        self
    }

    /// Adds a fact for the human to see.
    #[must_use]
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.context.metadata.insert(name.into(), value.into());
        self
    }

    /// Adds something to look at.
    #[must_use]
    pub fn attachment(mut self, attachment: Attachment) -> Self {
        self.context.attachments.push(attachment);
        self
    }

    /// Finds the action that an answer names.
    #[must_use]
    pub fn find_action(&self, id: &str) -> Option<&Action> {
        self.actions.iter().find(|action| action.id == id)
    }
}

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Service {
    /// Its identifier at the ATP server.
    pub id: String,
    /// Its name, for humans.
    #[serde(default)]
    pub name: String,
    /// The address of a picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icon: Option<String>,
}

impl Service {
    /// A service with an identifier and a name.
    #[must_use]
    pub fn new(id: impl Into<String>, name: impl Into<String>) -> Self {
        Self { id: id.into(), name: name.into(), icon: None }
    }
}

/// What a question is about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Context {
    /// What it is about, in one line.
    pub title: String,
    /// All that the human should know to decide.
    #[serde(default)]
    pub description: String,
    /// The project that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Facts for the human to see.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// Things to look at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
}

/// Something to look at, beside the text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Attachment {
    /// Its media type.
    #[serde(rename = "type")]
    pub media_type: String,
    /// What it is, for humans.
    #[serde(default)]
    pub description: String,
    /// Its address or its bytes.
    #[serde(flatten)]
    pub content: AttachmentContent,
}

/// An attachment has either an address or its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AttachmentContent {
    /// The address where it is.
    Uri(String),
    /// Its bytes in Base64.
    Data(String),
}

impl Attachment {
    /// Something at an address.
    #[must_use]
    pub fn at(media_type: impl Into<String>, description: impl Into<String>, uri: impl Into<String>) -> Self {
        let content = AttachmentContent::Uri(uri.into());
        Self { media_type: media_type.into(), description: description.into(), content }
    }

    /// Something that goes along.
    #[must_use]
    pub fn of(media_type: impl Into<String>, description: impl Into<String>, bytes: &[u8]) -> Self {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let content = AttachmentContent::Data(STANDARD.encode(bytes));
        Self { media_type: media_type.into(), description: description.into(), content }
    }
}

/// Where a question stands. One way: created, delivered, acknowledged, responded, completed;
/// expired and invalidated end it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Status {
    /// The server has it.
    Created,
    /// The human's client has it.
    Delivered,
    /// The human has seen it.
    Acknowledged,
    /// The human has answered.
    Responded,
    /// The answer has been handled.
    Completed,
    /// The deadline passed first.
    Expired,
    /// The service took it back.
    Invalidated,
}
