//! Does an answer fit the action that was asked, and with which code does it not?

use atp_core::{
    Action, Expects, Notification, NumberRules, RawJson, Selections, TextRules, Violations, validate,
};

use super::refusal::Refusal;

/// An answer that is not taken.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// The question does not allow it.
    Refused(Refusal),
    /// Its data does not fit the action.
    Unfit {
        /// `INVALID_RESPONSE_DATA` or `CONSTRAINT_VIOLATION`.
        code: &'static str,
        /// All that is wrong.
        violations: Violations,
    },
}

impl From<Refusal> for Unanswered {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<sqlx::Error> for Unanswered {
    fn from(error: sqlx::Error) -> Self {
        Self::Refused(error.into())
    }
}

/// Judges data by the action of this name.
pub(super) fn fits(notification: &Notification, action: &str, data: &RawJson) -> Result<(), Unanswered> {
    let known = notification.find_action(action);
    let action = known.ok_or_else(|| {
        let known: Vec<&str> = notification.actions.iter().map(|action| &*action.id).collect();
        Refusal::new("INVALID_ACTION_ID", "The question has no such action.").detail("actions", known)
    })?;
    validate(action, Some(data)).map_err(|violations| {
        let is_of_its_type = validate(&unconstrained(action), Some(data)).is_ok();
        let code = if is_of_its_type { "CONSTRAINT_VIOLATION" } else { "INVALID_RESPONSE_DATA" };
        Unanswered::Unfit { code, violations }
    })
}

/// The action without what it carries as `constraints` (protocol, section 3).
fn unconstrained(action: &Action) -> Action {
    let mut action = action.clone();
    action.expects = match action.expects {
        Expects::MultiChoice(options, _) => Expects::MultiChoice(options, Selections::any()),
        Expects::Text(_) => Expects::Text(TextRules::new()),
        Expects::Number(_) => Expects::Number(NumberRules::new()),
        other => other,
    };
    action
}

#[cfg(test)]
mod tests {
    use atp_core::{Field, Options};

    use super::*;

    #[test]
    fn what_is_of_its_type_and_breaks_a_constraint_has_a_code_of_its_own() {
        let options = || Options::new([("a", "A"), ("b", "B")]);
        let question = Notification::new("Which?", "")
            .action(Action::number("number", "N", NumberRules::new().max(3)))
            .action(Action::text("text", "T", TextRules::new().max_length(2)))
            .action(Action::multi_choice("many", "M", options(), Selections::any().max(1)))
            .action(Action::choice("one", "O", options()))
            .action(Action::form("form", "F", [Field::new("name", "Name").required()]));
        for (action, data, expected) in [
            ("number", "3", None),
            ("number", "4", Some("CONSTRAINT_VIOLATION")),
            ("number", r#""3""#, Some("INVALID_RESPONSE_DATA")),
            ("text", r#""abc""#, Some("CONSTRAINT_VIOLATION")),
            ("text", "1", Some("INVALID_RESPONSE_DATA")),
            ("many", r#"["a","b"]"#, Some("CONSTRAINT_VIOLATION")),
            ("many", r#"["a","c"]"#, Some("INVALID_RESPONSE_DATA")),
            ("one", r#""c""#, Some("INVALID_RESPONSE_DATA")),
            ("form", "{}", Some("INVALID_RESPONSE_DATA")),
            ("none", "null", Some("INVALID_ACTION_ID")),
        ] {
            let found = fits(&question, action, &RawJson::new(data.to_owned()).unwrap());
            let code = found.err().map(|unanswered| match unanswered {
                Unanswered::Refused(refusal) => refusal.code(),
                Unanswered::Unfit { code, .. } => code,
            });
            assert_eq!(code, expected, "{action} {data}");
        }
    }
}
