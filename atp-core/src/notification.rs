//! Wire types of the question (protocol, section 4).

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, de::Error as _};
use serde_json::{
    Map, Value,
    value::{RawValue, to_raw_value},
};

use crate::{
    decimal::{self, Decimal, Parts},
    pattern::Pattern,
};

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
    /// The longest id, in bytes: with a service's name it fits into a key of any database. The protocol does not say; its
    /// ids have 36.
    pub const MAX_ID: usize = 1000;

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

    /// Refuses a question that nobody could answer, or whose answers could not be told apart. Do this before sending.
    pub fn check(&self) -> Result<(), QuestionError> {
        let fail =
            |at: &str, rule: &'static str| Err(QuestionError { at: at.to_owned(), rule: rule.to_owned() });
        if self.id.as_ref().is_some_and(String::is_empty) {
            return fail("/id", "is empty");
        }
        if self.id.as_ref().is_some_and(|id| id.len() > Self::MAX_ID) {
            return fail("/id", "is longer than 1,000 bytes");
        }
        if self.context.title.is_empty() {
            return fail("/context/title", "is empty");
        }
        if self.actions.is_empty() {
            return fail("/actions", "holds no action, so nobody could answer");
        }
        let mut ids = HashSet::new();
        for (nth, action) in self.actions.iter().enumerate() {
            let at =
                |error: QuestionError| QuestionError { at: format!("/actions/{nth}{}", error.at), ..error };
            action.check().map_err(at)?;
            if !ids.insert(&action.id) {
                return fail(&format!("/actions/{nth}/id"), "is the id of an earlier action too");
            }
        }
        Ok(())
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
    /// One line.
    pub title: String,
    /// The whole of it.
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
    /// Where it is, or what it is.
    #[serde(flatten)]
    pub content: AttachmentContent,
}

/// An attachment has one of the two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AttachmentContent {
    /// Where it is.
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

/// Where a question stands. One way: created, delivered, acknowledged, responded, completed; expired and invalidated end
/// it too.
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

/// One thing that a human may choose, and what goes along with the choice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
#[non_exhaustive]
pub struct Action {
    /// What an answer calls it.
    pub id: String,
    /// What the human reads.
    pub label: String,
    /// Marks for the client, such as `irreversible`.
    pub flags: Vec<String>,
    /// What goes along with the choice.
    pub expects: Expects,
    /// Members that the protocol does not name.
    pub other: Map<String, Value>,
}

/// What an answer's `response_data` must be (protocol, section 3), with what the action demands of it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Expects {
    /// Nothing.
    Simple,
    /// Yes or no.
    Binary(Labels),
    /// One of the options.
    Choice(Options),
    /// Some of the options.
    MultiChoice(Options, Selections),
    /// A text.
    Text(TextRules),
    /// A number.
    Number(NumberRules),
    /// One of the options, or some; never none.
    Select(Options),
    /// An object with these fields.
    Form(Vec<Field>),
    /// An object, valid against the JSON Schema if there is one.
    Json(Option<Value>),
    /// A file. The protocol leaves its limits open, so they are kept and not judged.
    File(Map<String, Value>),
    /// A type that this version does not know. No answer fits it.
    Unknown(String),
}

impl Expects {
    /// `response_type` on the wire.
    #[must_use]
    pub fn response_type(&self) -> &str {
        match self {
            Self::Simple => "simple",
            Self::Binary(_) => "binary",
            Self::Choice(_) => "choice",
            Self::MultiChoice(..) => "multi_choice",
            Self::Text(_) => "text",
            Self::Number(_) => "number",
            Self::Select(_) => "select",
            Self::Form(_) => "form",
            Self::Json(_) => "json",
            Self::File(_) => "file",
            Self::Unknown(name) => name,
        }
    }
}

impl Action {
    fn new(id: impl Into<String>, label: impl Into<String>, expects: Expects) -> Self {
        Self { id: id.into(), label: label.into(), flags: Vec::new(), expects, other: Map::new() }
    }

    /// A plain button.
    #[must_use]
    pub fn simple(id: impl Into<String>, label: impl Into<String>) -> Self {
        Self::new(id, label, Expects::Simple)
    }

    /// Yes or no, under these labels.
    #[must_use]
    pub fn binary(
        id: impl Into<String>,
        label: impl Into<String>,
        yes: impl Into<String>,
        no: impl Into<String>,
    ) -> Self {
        let labels = Labels { true_label: Some(yes.into()), false_label: Some(no.into()) };
        Self::new(id, label, Expects::Binary(labels))
    }

    /// One of the options.
    #[must_use]
    pub fn choice(id: impl Into<String>, label: impl Into<String>, options: Options) -> Self {
        Self::new(id, label, Expects::Choice(options))
    }

    /// Some of the options.
    #[must_use]
    pub fn multi_choice(
        id: impl Into<String>,
        label: impl Into<String>,
        options: Options,
        selections: Selections,
    ) -> Self {
        Self::new(id, label, Expects::MultiChoice(options, selections))
    }

    /// A text.
    #[must_use]
    pub fn text(id: impl Into<String>, label: impl Into<String>, rules: TextRules) -> Self {
        Self::new(id, label, Expects::Text(rules))
    }

    /// A number.
    #[must_use]
    pub fn number(id: impl Into<String>, label: impl Into<String>, rules: NumberRules) -> Self {
        Self::new(id, label, Expects::Number(rules))
    }

    /// One of the options, or some.
    #[must_use]
    pub fn select(id: impl Into<String>, label: impl Into<String>, options: Options) -> Self {
        Self::new(id, label, Expects::Select(options))
    }

    /// A form.
    #[must_use]
    pub fn form(
        id: impl Into<String>,
        label: impl Into<String>,
        fields: impl IntoIterator<Item = Field>,
    ) -> Self {
        Self::new(id, label, Expects::Form(fields.into_iter().collect()))
    }

    /// Any JSON object.
    #[must_use]
    pub fn json(id: impl Into<String>, label: impl Into<String>) -> Self {
        Self::new(id, label, Expects::Json(None))
    }

    /// A JSON object that is valid against a JSON Schema. It is judged with the feature `json-schema`; without it
    /// [`Action::check`] and [`validate`](crate::validate) refuse the action rather than judge half of it.
    ///
    /// No answer can stretch the judgement: it takes at most four million steps and 64 more for each byte of the answer, and
    /// 512 KiB of stack. An answer that would take more does not fit. For that [`Action::check`] refuses a schema that applies
    /// more than 10,000 schemas to one value, more than 64 within each other, or itself to the same value without end; one
    /// that refers by `$dynamicRef` or `$recursiveRef`, to another document, or has an `$id` within it; and patterns that
    /// [`Pattern`] refuses. A schema is compiled once a process, while it is among the 32 that were used last.
    ///
    /// What is judged is what was said: a number that a double does not hold to the last digit does not fit, nor do two
    /// members whose names differ only in half of a surrogate pair. Which rules are not satisfied is told where that takes at
    /// most 10,000 steps and no path has more than 16 names or 512 bytes; else only that there are some.
    #[must_use]
    pub fn json_schema(id: impl Into<String>, label: impl Into<String>, schema: Value) -> Self {
        Self::new(id, label, Expects::Json(Some(schema)))
    }

    /// A file.
    #[must_use]
    pub fn file(id: impl Into<String>, label: impl Into<String>) -> Self {
        Self::new(id, label, Expects::File(Map::new()))
    }

    /// Adds a mark for the client, such as `irreversible`.
    #[must_use]
    pub fn flag(mut self, flag: impl Into<String>) -> Self {
        self.flags.push(flag.into());
        self
    }

    /// Refuses an action that no answer could fit, or whose answers could not be told apart.
    pub fn check(&self) -> Result<(), QuestionError> {
        let fail = |at: &str, rule: String| Err(QuestionError { at: at.to_owned(), rule });
        for (at, text) in [("/id", &self.id), ("/label", &self.label)] {
            if text.is_empty() {
                return fail(at, "is empty".to_owned());
            }
        }
        match &self.expects {
            Expects::Choice(options) | Expects::Select(options) => options.check(),
            Expects::MultiChoice(options, selections) => {
                options.check()?;
                let (min, max) = (selections.min_selections.unwrap_or(0), selections.max_selections);
                if max.is_some_and(|max| max < min)
                    || usize::try_from(min).is_ok_and(|min| min > options.0.len())
                {
                    return fail("/constraints", "ask for more selections than are allowed".to_owned());
                }
                Ok(())
            }
            Expects::Text(TextRules { min_length, max_length, pattern, .. }) => {
                let least = min_length.unwrap_or(0);
                if max_length.is_some_and(|max| max < least) || least > 10_000 {
                    return fail("/constraints", "ask for a longer text than is allowed".to_owned());
                }
                match pattern.as_ref().map(Pattern::check) {
                    Some(Err(error)) => fail("/constraints/pattern", error.to_string()),
                    _ => Ok(()),
                }
            }
            Expects::Form(fields) => {
                let mut names = HashSet::new();
                let twin =
                    fields.iter().position(|field| field.name.is_empty() || !names.insert(&field.name));
                match twin {
                    Some(nth) => fail(&format!("/fields/{nth}/name"), "is empty or there twice".to_owned()),
                    None => Ok(()),
                }
            }
            Expects::Json(Some(schema)) => check_schema(schema).or_else(|rule| fail("/schema", rule)),
            Expects::Number(rules) => rules.check(),
            Expects::Unknown(name) => {
                fail("/response_type", format!("is `{name}`, which is no response type"))
            }
            _ => Ok(()),
        }
    }
}

/// What makes a question unfit to be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a question that cannot be asked: `{at}` {rule}")]
pub struct QuestionError {
    at: String,
    rule: String,
}

impl QuestionError {
    /// The member at fault, as a JSON Pointer into the notification.
    #[must_use]
    pub fn pointer(&self) -> &str {
        &self.at
    }
}

/// The labels of a `binary` action.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Labels {
    /// For `true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub true_label: Option<String>,
    /// For `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub false_label: Option<String>,
}

/// What there is to choose from. Answers name the value; a human reads the label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Options(pub Vec<Choosable>);

/// One option.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Choosable {
    /// What an answer calls it.
    pub value: String,
    /// What the human reads.
    #[serde(default)]
    pub label: String,
}

impl Options {
    /// Options from pairs of value and label.
    #[must_use]
    pub fn new<V: Into<String>, L: Into<String>>(pairs: impl IntoIterator<Item = (V, L)>) -> Self {
        let option = |(value, label): (V, L)| Choosable { value: value.into(), label: label.into() };
        Self(pairs.into_iter().map(option).collect())
    }

    /// Whether an answer may name this value.
    #[must_use]
    pub fn contains(&self, value: &str) -> bool {
        self.0.iter().any(|option| option.value == value)
    }

    fn check(&self) -> Result<(), QuestionError> {
        let fail = |at: String, rule: &str| Err(QuestionError { at, rule: rule.to_owned() });
        if self.0.is_empty() {
            return fail("/options".to_owned(), "offers nothing to choose from");
        }
        let mut values = HashSet::new();
        match self.0.iter().position(|option| !values.insert(&option.value)) {
            Some(nth) => fail(format!("/options/{nth}/value"), "is the value of an earlier option too"),
            None => Ok(()),
        }
    }
}

/// How many options of a `multi_choice` may be chosen. Any number, also none, unless set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Selections {
    /// At least so many; 0 unless set.
    #[serde(default, deserialize_with = "limit", skip_serializing_if = "Option::is_none")]
    pub min_selections: Option<u64>,
    /// At most so many; no limit unless set.
    #[serde(default, deserialize_with = "limit", skip_serializing_if = "Option::is_none")]
    pub max_selections: Option<u64>,
    /// Constraints that the protocol does not name.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Selections {
    /// Any number.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// At least so many.
    #[must_use]
    pub fn min(mut self, min: u64) -> Self {
        self.min_selections = Some(min);
        self
    }

    /// At most so many.
    #[must_use]
    pub fn max(mut self, max: u64) -> Self {
        self.max_selections = Some(max);
        self
    }
}

/// What a `text` must be. Its names on the wire are inferred, but for `placeholder`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TextRules {
    /// Shown in the empty field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placeholder: Option<String>,
    /// At least so many code points; 0 unless set.
    #[serde(default, deserialize_with = "limit", skip_serializing_if = "Option::is_none")]
    pub min_length: Option<u64>,
    /// At most so many code points; the protocol's 10,000 unless set, and never more.
    #[serde(default, deserialize_with = "limit", skip_serializing_if = "Option::is_none")]
    pub max_length: Option<u64>,
    /// A regular expression that must be found in the text; write `^` and `$` for the whole of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<Pattern>,
    /// Constraints that the protocol does not name.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl TextRules {
    /// Any text of up to 10,000 code points.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Shown in the empty field.
    #[must_use]
    pub fn placeholder(mut self, placeholder: impl Into<String>) -> Self {
        self.placeholder = Some(placeholder.into());
        self
    }

    /// At least so many code points.
    #[must_use]
    pub fn min_length(mut self, min: u64) -> Self {
        self.min_length = Some(min);
        self
    }

    /// At most so many code points.
    #[must_use]
    pub fn max_length(mut self, max: u64) -> Self {
        self.max_length = Some(max);
        self
    }

    /// A pattern to be found in the text.
    #[must_use]
    pub fn pattern(mut self, pattern: Pattern) -> Self {
        self.pattern = Some(pattern);
        self
    }
}

/// What a `number` must be, exactly: nothing is rounded, neither here nor in an answer. Its names on the wire are inferred.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NumberRules {
    /// At least; no limit unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<Decimal>,
    /// At most; no limit unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Decimal>,
    /// A whole multiple of this, counted from `min`, else from 0; any number unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Decimal>,
    /// Constraints that the protocol does not name.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl NumberRules {
    /// Any number.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// At least.
    #[must_use]
    pub fn min(mut self, min: impl Into<Decimal>) -> Self {
        self.min = Some(min.into());
        self
    }

    /// At most.
    #[must_use]
    pub fn max(mut self, max: impl Into<Decimal>) -> Self {
        self.max = Some(max.into());
        self
    }

    /// A whole multiple of this.
    #[must_use]
    pub fn step(mut self, step: impl Into<Decimal>) -> Self {
        self.step = Some(step.into());
        self
    }

    fn check(&self) -> Result<(), QuestionError> {
        let fail = |at: &str, rule: &str| Err(QuestionError { at: at.to_owned(), rule: rule.to_owned() });
        let (min, max) = (self.min.as_ref().map(Decimal::parts), self.max.as_ref().map(Decimal::parts));
        if min.as_ref().zip(max.as_ref()).is_some_and(|(min, max)| min.compare(max).is_gt()) {
            return fail("/constraints", "ask for a larger number than is allowed");
        }
        let from = min.unwrap_or_else(|| Parts::of("0"));
        if self.step.as_ref().is_some_and(|step| !step.parts().counts_from(&from)) {
            return fail(
                "/constraints/step",
                "has too many digits to be counted in, or is too far from those of `min`",
            );
        }
        Ok(())
    }
}

/// One field of a `form`. Its names on the wire are inferred, but for `name` and `required`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Field {
    /// The member of the answer.
    pub name: String,
    /// What the human reads.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// What the client shows, such as `text`. It is not judged: the handler's type says what a field must be.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Whether an answer must have it, filled in: neither `null` nor an empty text.
    #[serde(default)]
    pub required: bool,
    /// Members that the protocol does not name.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Field {
    /// A field that may be left out.
    #[must_use]
    pub fn new(name: impl Into<String>, label: impl Into<String>) -> Self {
        Self { name: name.into(), label: label.into(), kind: None, required: false, other: Map::new() }
    }

    /// An answer must have it, filled in: neither `null` nor an empty text.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// What the client shows.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = Some(kind.into());
        self
    }
}

/// A count. Some senders write 3 as 3.0.
fn limit<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let source = decimal::source(deserializer)?;
    if source == "null" {
        return Ok(None);
    }
    let count = || {
        let number = decimal::normal(source.parse::<Decimal>().ok()?.as_str()).into_owned();
        let (digits, power) = number.split_once('e').unwrap_or((&number, "0"));
        digits.parse::<u64>().ok()?.checked_mul(10_u64.checked_pow(power.parse().ok()?)?)
    };
    count().map(Some).ok_or_else(|| D::Error::custom("expected a whole number that is not negative"))
}

/// Whether answers can be judged by a schema.
#[cfg(feature = "json-schema")]
fn check_schema(schema: &Value) -> Result<(), String> {
    crate::schema::Schema::with(schema, |made| made.map(drop).map_err(str::to_owned))
}

/// Without the feature no schema can be judged.
#[cfg(not(feature = "json-schema"))]
fn check_schema(_: &Value) -> Result<(), String> {
    Err("needs the feature `json-schema` of atp-core".to_owned())
}

/// Constraints as they are written, so that no number in them is rounded.
fn constraints<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    let source = decimal::source(deserializer)?;
    match source.as_bytes().first() {
        Some(b'n') => Ok(None),
        Some(b'{') => RawValue::from_string(source).map(Some).map_err(D::Error::custom),
        _ => Err(D::Error::custom("expected an object of constraints")),
    }
}

/// An action as it is on the wire.
#[derive(Clone, Serialize, Deserialize)]
struct Wire {
    id: String,
    #[serde(default)]
    label: String,
    response_type: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    flags: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    options: Option<Value>,
    #[serde(default, deserialize_with = "constraints", skip_serializing_if = "Option::is_none")]
    constraints: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fields: Option<Vec<Field>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    schema: Option<Value>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

impl Wire {
    fn options<T: serde::de::DeserializeOwned + Default>(&mut self) -> serde_json::Result<T> {
        self.options.take().map_or_else(|| Ok(T::default()), serde_json::from_value)
    }

    fn constraints<T: serde::de::DeserializeOwned + Default>(&mut self) -> serde_json::Result<T> {
        self.constraints.take().map_or_else(|| Ok(T::default()), |raw| serde_json::from_str(raw.get()))
    }
}

impl TryFrom<Wire> for Action {
    type Error = serde_json::Error;

    fn try_from(mut wire: Wire) -> Result<Self, Self::Error> {
        let expects = match wire.response_type.as_str() {
            "simple" => Expects::Simple,
            "binary" => Expects::Binary(wire.options()?),
            "choice" => Expects::Choice(wire.options()?),
            "multi_choice" => Expects::MultiChoice(wire.options()?, wire.constraints()?),
            "text" => Expects::Text(wire.constraints()?),
            "number" => Expects::Number(wire.constraints()?),
            "select" => Expects::Select(wire.options()?),
            "form" => Expects::Form(wire.fields.take().unwrap_or_default()),
            "json" => Expects::Json(wire.schema.take()),
            "file" => Expects::File(wire.constraints()?),
            _ => Expects::Unknown(std::mem::take(&mut wire.response_type)),
        };
        let Wire { id, label, flags, options, constraints, fields, schema, mut other, .. } = wire;
        // What a type does not use is kept, so that a question goes out as it came in.
        let unused = [
            ("options", options),
            ("constraints", constraints.map(|raw| serde_json::from_str(raw.get())).transpose()?),
            ("fields", fields.map(serde_json::to_value).transpose()?),
            ("schema", schema),
        ];
        other.extend(unused.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        Ok(Self { id, label, flags, expects, other })
    }
}

impl From<Action> for Wire {
    fn from(Action { id, label, flags, expects, other }: Action) -> Self {
        let response_type = expects.response_type().to_owned();
        let mut wire = Self {
            id,
            label,
            response_type,
            flags,
            options: None,
            constraints: None,
            fields: None,
            schema: None,
            other,
        };
        let json = |value: serde_json::Result<Value>| value.unwrap_or_default();
        let object =
            |value: serde_json::Result<Box<RawValue>>| value.ok().filter(|object| object.get() != "{}");
        match expects {
            Expects::Simple | Expects::Unknown(_) => {}
            Expects::Binary(labels) => {
                let labels = json(serde_json::to_value(labels));
                wire.options =
                    Some(labels).filter(|labels| labels.as_object().is_some_and(|labels| !labels.is_empty()));
            }
            Expects::Choice(options) | Expects::Select(options) => {
                wire.options = Some(json(serde_json::to_value(options)));
            }
            Expects::MultiChoice(options, selections) => {
                wire.options = Some(json(serde_json::to_value(options)));
                wire.constraints = object(to_raw_value(&selections));
            }
            Expects::Text(rules) => wire.constraints = object(to_raw_value(&rules)),
            Expects::Number(rules) => wire.constraints = object(to_raw_value(&rules)),
            Expects::Form(fields) => wire.fields = Some(fields),
            Expects::Json(schema) => wire.schema = schema,
            Expects::File(limits) => wire.constraints = object(to_raw_value(&limits)),
        }
        wire
    }
}
