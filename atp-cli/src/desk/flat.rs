//! The flat form in which the guide's SDK asks: what the reference has in `context` stands beside it.

use std::borrow::Cow;

use atp_core::{Context, Notification};
use serde::Deserialize;
use serde_json::{Value, json};

/// What a context has.
const MEMBERS: [&str; 5] = ["title", "description", "project", "metadata", "attachments"];

/// A question's text in the form of the reference. What is in that form already, or in none, stays.
pub(super) fn nested(body: &[u8]) -> Cow<'_, [u8]> {
    #[derive(Deserialize)]
    struct Form {
        title: Option<Value>,
        context: Option<Value>,
    }
    let Ok(Form { title: Some(_), context: None }) = serde_json::from_slice(body) else {
        return Cow::Borrowed(body);
    };
    let Ok(context) = serde_json::from_slice::<Context>(body) else { return Cow::Borrowed(body) };
    // In front of the others, whose numbers keep their digits.
    let Some(brace) = body.iter().position(|byte| *byte == b'{') else { return Cow::Borrowed(body) };
    let (before, after) = body.split_at(brace + 1);
    let context = format!("\"context\":{},", json!(context));
    Cow::Owned([before, context.as_bytes(), after].concat())
}

/// Forgets what was beside the context.
pub(super) fn forget(notification: &mut Notification) {
    for name in MEMBERS {
        notification.other.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flat_form_is_the_same_question() {
        let of = |body: &str| serde_json::from_slice::<Notification>(&nested(body.as_bytes())).unwrap();
        let actions =
            r#""actions":[{"id":"pay","label":"Pay","response_type":"number","constraints":{"max":0.10}}]"#;
        let about = r#""title":"Pay?","description":"Now.","metadata":{"changes":47}"#;
        let mut flat = of(&format!(r#" {{{about},"priority":"high",{actions}}}"#));
        forget(&mut flat);
        assert_eq!(flat, of(&format!(r#"{{"context":{{{about}}},"priority":"high",{actions}}}"#)));
        assert_eq!(flat.other["priority"], "high");
    }

    #[test]
    fn all_else_stays_as_it_is() {
        for body in [
            "",
            "[]",
            "{}",
            r#"{"title":null}"#,
            r#"{"title":7}"#,
            r#"{"title":"a","context":{"title":"b"}}"#,
        ] {
            assert_eq!(nested(body.as_bytes()), body.as_bytes(), "{body}");
        }
    }
}
