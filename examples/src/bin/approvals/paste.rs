//! Commands to paste: they sign with `openssl` and send with `curl`, in sh, bash and zsh.

use std::net::SocketAddr;

use serde_json::json;

use crate::{questions::Asked, webhook};

/// Sends the sample answer of a question, signed with the time at which the command is run.
/// `secret` is a word of the shell.
pub fn command(asked: &Asked, secret: &str, address: SocketAddr) -> String {
    let (action, data) = &asked.sample;
    let body = json!({
        "notification_id": asked.id,
        "action_id": action,
        "response_data": data,
        "responder": { "id": "you", "type": "human" },
    });
    let body = quote(&body.to_string());
    let path = webhook::PATH;
    // In parentheses, so that the shell keeps none of the variables.
    format!(
        "(T=$(date +%s); BODY={body}; SECRET={secret}; \
         SIG=$(printf '%s.%s' \"$T\" \"$BODY\" | openssl dgst -sha256 -hmac \"$SECRET\" | sed 's/^.* //'); \
         curl -sS -w '\\n' -H 'content-type: application/json' -H \"x-atp-signature: t=$T,v1=$SIG\" \
         --data-binary \"$BODY\" http://{address}{path})"
    )
}

/// A text as one word of the shell.
pub fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
