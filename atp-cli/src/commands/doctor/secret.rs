//! Whether the secret is long enough.

use atp_core::Secret;

use super::finding::Finding;
use crate::commands::secret::SecretArgs;

/// The length that the protocol advises, in bytes.
const ADVISED: usize = 32;

const CHECK: &str = "secret";

/// Looks at the secret, and asks for none.
pub(super) fn check(args: &SecretArgs) -> Finding {
    match args.stored() {
        None => Finding::skipped(CHECK, "set ATP_WEBHOOK_SECRET, or give --secret-env or --secret-file"),
        Some(Err(error)) => Finding::wrong(CHECK, error.to_string(), "say where the webhook secret is"),
        Some(Ok(text)) => judge(&text),
    }
}

fn judge(text: &str) -> Finding {
    let found = format!("{} bytes", text.len());
    if text.len() < Secret::MIN_LEN {
        let todo = format!(
            "the library refuses fewer than {}: make a longer one, and tell the ATP server",
            Secret::MIN_LEN
        );
        return Finding::wrong(CHECK, found, todo);
    }
    if text.trim() != text {
        let todo = "white space is part of a secret; unless the ATP server has it too, nothing will verify";
        return Finding::advice(CHECK, format!("{found}, with white space at an end"), todo);
    }
    if text.len() < ADVISED {
        return Finding::advice(CHECK, found, format!("{ADVISED} or more are advised"));
    }
    Finding::good(CHECK, found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::State;

    #[test]
    fn sixteen_bytes_are_the_least_and_thirty_two_advised() {
        for (text, state) in [
            (String::new(), State::Wrong),
            ("x".repeat(15), State::Wrong),
            ("x".repeat(16), State::Advice),
            ("x".repeat(31), State::Advice),
            ("x".repeat(32), State::Good),
            (format!("{}\n", "x".repeat(32)), State::Advice),
        ] {
            let finding = judge(&text);
            assert_eq!(finding.state, state, "{text:?}: {finding}");
            assert!(!finding.to_string().contains("xxx"), "{finding}");
        }
    }
}
