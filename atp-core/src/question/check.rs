//! Whether a question can be asked: whether it can be answered, and its answers can be told apart.

use std::collections::HashSet;

use serde_json::Value;

use super::{Action, Expects, Notification, NumberRules, Options, TextRules};
#[cfg(feature = "json-schema")]
use crate::constraint::{Schema, SchemaFault};
use crate::{
    constraint::{Decimal, Parts, Pattern},
    limits,
};

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

impl Notification {
    /// Refuses a question that nobody could answer, or whose answers could not be told apart; and the
    /// ids `.` and `..`, which no address can end with. Do this before sending.
    pub fn check(&self) -> Result<(), QuestionError> {
        let fail = |at: &str, rule: &str| Err(QuestionError { at: at.to_owned(), rule: rule.to_owned() });
        if self.id.as_ref().is_some_and(String::is_empty) {
            return fail("/id", "is empty");
        }
        if self.id.as_ref().is_some_and(|id| id.len() > Self::MAX_ID) {
            return fail("/id", &format!("is longer than {} bytes", Self::MAX_ID));
        }
        if matches!(self.id.as_deref(), Some("." | "..")) {
            return fail("/id", "is `.` or `..`, which no address can end with");
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

impl Action {
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
                let most = u64::try_from(limits::TEXT).unwrap_or(u64::MAX);
                if max_length.is_some_and(|max| max < least) || least > most {
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
            Expects::Json(Some(schema)) => check_schema(schema),
            Expects::Number(rules) => rules.check(),
            Expects::Unknown(name) => {
                fail("/response_type", format!("is `{name}`, which is no response type"))
            }
            _ => Ok(()),
        }
    }
}

impl Options {
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

impl NumberRules {
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

/// Whether answers can be judged by a schema.
#[cfg(feature = "json-schema")]
fn check_schema(schema: &Value) -> Result<(), QuestionError> {
    Schema::with(schema, |made| {
        made.map(drop).map_err(|SchemaFault { pointer, rule }| QuestionError {
            at: format!("/schema{pointer}"),
            rule: rule.clone(),
        })
    })
}

/// Without the feature no schema can be judged.
#[cfg(not(feature = "json-schema"))]
fn check_schema(_: &Value) -> Result<(), QuestionError> {
    let rule = "needs the feature `json-schema` of atp-core".to_owned();
    Err(QuestionError { at: "/schema".to_owned(), rule })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_no_address_can_end_with_is_refused() {
        for (id, is_good) in [(".", false), ("..", false), ("...", true), (".a", true), ("a/..", true)] {
            let question = Notification::new("Deploy?", "").id(id).action(Action::simple("a", "A"));
            let error = question.check().err();
            assert_eq!(error.is_none(), is_good, "{id}: {error:?}");
            assert!(error.is_none_or(|error| error.pointer() == "/id"), "{id}");
        }
    }
}
