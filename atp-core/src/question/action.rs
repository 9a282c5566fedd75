//! One thing that a human may choose, on the wire and as a type.

use serde::{Deserialize, Serialize, de::Error as _};
use serde_json::{
    Map, Value,
    value::{RawValue, to_raw_value},
};

use super::rules::{Field, Labels, NumberRules, Options, Selections, TextRules};
use crate::constraint;

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

/// What an answer's `response_data` must be (protocol, section 3), with what the action demands of
/// it.
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

    /// A JSON object that is valid against a JSON Schema. It is judged with the feature
    /// `json-schema`; without it [`Action::check`] and [`validate`](crate::validate) refuse the
    /// action rather than judge half of it.
    ///
    /// No answer can stretch the judgement: it takes at most four million steps and 64 more for
    /// each byte of the answer, and 512 KiB of stack. An answer that would take more does not fit.
    /// For that [`Action::check`] refuses a schema that applies more than 10,000 schemas to one
    /// value, more than 64 within each other, or itself to the same value without end; one that
    /// refers by `$dynamicRef` or `$recursiveRef`, to another document, or has an `$id` within it;
    /// and patterns that [`Pattern`](crate::Pattern) refuses. A schema is compiled once a process, while it is
    /// among the 32 that were used last.
    ///
    /// What is judged is what was said: a number that a double does not hold to the last digit does
    /// not fit, nor do two members whose names differ only in half of a surrogate pair. Which rules
    /// are not satisfied is told where that takes at most 10,000 steps and no path has more than 16
    /// names or 512 bytes; else only that there are some.
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
}

/// Constraints as they are written, so that no number in them is rounded.
fn constraints<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    let source = constraint::source(deserializer)?;
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
