//! What an action demands of its answer (protocol, section 3).

use serde::{Deserialize, Serialize, de::Error as _};
use serde_json::{Map, Value};

use crate::constraint::{self, Decimal, Pattern};

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

/// One option that a human may choose.
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

/// What a `number` must be, exactly: nothing is rounded, neither here nor in an answer. Its names
/// on the wire are inferred.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NumberRules {
    /// At least; no limit unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<Decimal>,
    /// At most; no limit unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Decimal>,
    /// A whole multiple of this, counted from `min`, else from 0; any number unless set. A step of
    /// 0 demands nothing.
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

    /// A whole multiple of this, counted from `min`, else from 0. A step of 0 demands nothing, as
    /// if none were set; [`Action::check`](super::Action::check) refuses one that has too many digits to be counted in.
    #[must_use]
    pub fn step(mut self, step: impl Into<Decimal>) -> Self {
        self.step = Some(step.into());
        self
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
    /// What the client shows, such as `text`. It is not judged: the handler's type says what a
    /// field must be.
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
    let source = constraint::source(deserializer)?;
    if source == "null" {
        return Ok(None);
    }
    let count = || {
        let number = constraint::normal(source.parse::<Decimal>().ok()?.as_str()).into_owned();
        let (digits, power) = number.split_once('e').unwrap_or((&number, "0"));
        digits.parse::<u64>().ok()?.checked_mul(10_u64.checked_pow(power.parse().ok()?)?)
    };
    count().map(Some).ok_or_else(|| D::Error::custom("expected a whole number that is not negative"))
}
