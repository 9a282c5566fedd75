//! The subject that an event is published under.

use std::str::FromStr;

use crate::{
    limits::LONGEST_NATS_SUBJECT,
    outbox::{cloud_event::percent_encoded, sink::SendError},
    store::Event,
};

/// What subjects are made from: tokens with dots between them, some of which are filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SubjectTemplate {
    text: String,
    tokens: Vec<Token>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// As it stands.
    Fixed(String),
    Service,
    Kind,
    /// The kind as one token for each of its parts.
    KindParts,
    Subject,
}

/// Why this is no template for the subject of an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NatsSubjectError {
    /// A token is empty.
    #[error("the NATS subject {template:?} has an empty token: write tokens with one dot between each two")]
    EmptyToken {
        /// The whole template.
        template: String,
    },
    /// There is no such placeholder.
    #[error(
        "the NATS subject {template:?} has the token {token:?}: a placeholder is a whole token, and is one of \
         `{{service}}`, `{{kind}}`, `{{kind>}}` and `{{subject}}`"
    )]
    Placeholder {
        /// The whole template.
        template: String,
        /// The token.
        token: String,
    },
    /// NATS does not allow the token in a subject that is published under, or keeps it for itself.
    #[error(
        "the NATS subject {template:?} has the token {token:?}: one that is published under has no space, no \
         control character, no `*` and no `>`, and does not start with `$`"
    )]
    Token {
        /// The whole template.
        template: String,
        /// The token.
        token: String,
    },
    /// A placeholder for several tokens is not the last one.
    #[error(
        "the NATS subject {template:?} goes on behind `{{kind>}}`: that stands for several tokens, so let it be last"
    )]
    NotLast {
        /// The whole template.
        template: String,
    },
}

impl SubjectTemplate {
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// The subject of this event.
    pub(super) fn fill_in(&self, event: &Event) -> Result<String, SendError> {
        let tokens: Vec<String> = self.tokens.iter().map(|token| token.fill_in(event)).collect();
        let subject = tokens.join(".");
        let len = subject.len();
        if len > LONGEST_NATS_SUBJECT {
            return Err(SendError::refused(format!(
                "its NATS subject would have {len} bytes, and {LONGEST_NATS_SUBJECT} are the most: leave \
                 `{{subject}}` out of the template, or give shorter names"
            )));
        }
        Ok(subject)
    }
}

impl FromStr for SubjectTemplate {
    type Err = NatsSubjectError;

    fn from_str(text: &str) -> Result<Self, NatsSubjectError> {
        let template = || text.to_owned();
        let mut tokens = Vec::new();
        for token in text.split('.') {
            if tokens.last() == Some(&Token::KindParts) {
                return Err(NatsSubjectError::NotLast { template: template() });
            }
            let named = || token.to_owned();
            tokens.push(match token {
                "" => return Err(NatsSubjectError::EmptyToken { template: template() }),
                "{service}" => Token::Service,
                "{kind}" => Token::Kind,
                "{kind>}" => Token::KindParts,
                "{subject}" => Token::Subject,
                token if token.contains(['{', '}']) => {
                    return Err(NatsSubjectError::Placeholder { template: template(), token: named() });
                }
                token if token.starts_with('$') || token.contains(is_not_allowed) => {
                    return Err(NatsSubjectError::Token { template: template(), token: named() });
                }
                token => Token::Fixed(token.to_owned()),
            });
        }
        Ok(Self { text: template(), tokens })
    }
}

impl Token {
    fn fill_in(&self, event: &Event) -> String {
        match self {
            Self::Fixed(token) => token.clone(),
            Self::Service => escape(&event.service),
            Self::Kind => escape(&event.kind),
            Self::KindParts => event.kind.split('.').map(escape).collect::<Vec<_>>().join("."),
            Self::Subject => escape(event.subject.as_deref().unwrap_or_default()),
        }
    }
}

/// One token that tells the text: letters and digits of ASCII, `-` and `_` stand for themselves,
/// every other byte is `%` and two hex digits, and a text without a character is `%` alone. No two
/// texts have the same token.
pub(super) fn escape(text: &str) -> String {
    if text.is_empty() {
        return "%".to_owned();
    }
    percent_encoded(text, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn is_not_allowed(character: char) -> bool {
    character.is_whitespace() || character.is_control() || matches!(character, '*' | '>')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(service: &str, kind: &str, subject: Option<&str>) -> Event {
        let event = Event::new(kind, 7).expect("JSON").service(service);
        subject.into_iter().fold(event, Event::subject)
    }

    #[test]
    fn what_a_subject_does_not_allow_is_escaped_and_can_be_told_apart() {
        for (template, service, kind, subject, filled_in) in [
            ("atp", "acme", "atp.decision", Some("n-1"), "atp"),
            ("atp.{service}.{kind}", "acme", "atp.decision", None, "atp.acme.atp%2Edecision"),
            ("atp.{service}.{kind>}", "acme", "atp.decision", None, "atp.acme.atp.decision"),
            ("{kind>}", "acme", "..a b.", None, "%.%.a%20b.%"),
            ("{service}.{subject}", "a.b", "k", Some("*"), "a%2Eb.%2A"),
            ("{service}.{subject}", "a%2Eb", "k", Some(">"), "a%252Eb.%3E"),
            ("{service}.{subject}", "$SYS", "k", Some("a b\r\n\t\0"), "%24SYS.a%20b%0D%0A%09%00"),
            ("{service}.{subject}", "Ä_-9", "k", Some("\u{2028}"), "%C3%84_-9.%E2%80%A8"),
            ("{service}.{subject}", "acme", "k", None, "acme.%"),
            ("{service}.{subject}", "acme", "k", Some("%"), "acme.%25"),
        ] {
            let parsed: SubjectTemplate = template.parse().expect(template);
            let found = parsed.fill_in(&event(service, kind, subject));
            assert_eq!(found.as_deref(), Ok(filled_in), "{template} {service:?} {kind:?} {subject:?}");
        }
    }

    #[test]
    fn a_template_is_judged_when_it_is_made() {
        for (template, fault) in [
            ("", "has an empty token"),
            ("atp.", "has an empty token"),
            (".atp", "has an empty token"),
            ("atp..{kind}", "has an empty token"),
            ("atp.{id}", "`{service}`, `{kind}`, `{kind>}` and `{subject}`"),
            ("atp-{service}", "a placeholder is a whole token"),
            ("{service}{kind}", "a placeholder is a whole token"),
            ("atp.{kind", "a placeholder is a whole token"),
            ("atp.*", "no `*`"),
            ("atp.>", "no `>`"),
            ("atp.a b", "no space"),
            ("atp.a\u{a0}b", "no space"),
            ("atp.a\nb", "no control character"),
            ("$JS.API", "does not start with `$`"),
            ("atp.{kind>}.{service}", "let it be last"),
        ] {
            let fault_found = template.parse::<SubjectTemplate>().err().map(|error| error.to_string());
            assert!(
                fault_found.as_ref().is_some_and(|found| found.contains(fault)),
                "{template:?}: {fault_found:?}"
            );
        }
    }

    #[test]
    fn a_subject_that_a_server_would_close_the_connection_for_is_refused() {
        let template: SubjectTemplate = "atp.{service}.{kind}.{subject}".parse().expect("a template");
        let refused = template.fill_in(&event(&"ü".repeat(125), &"k".repeat(200), Some(&"ü".repeat(500))));
        let reason = "its NATS subject would have 3956 bytes";
        assert!(
            matches!(&refused, Err(SendError::Refused { reason: told }) if told.starts_with(reason)),
            "{refused:?}"
        );
    }
}
