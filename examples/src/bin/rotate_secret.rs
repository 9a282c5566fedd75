//! A rotation of the webhook secret without a gap.
//!
//! Give the service both secrets and a time, then change the secret at the ATP server. The answers
//! say which secret signed. When none is signed with the previous one any more, take it away; at
//! that time it stops counting by itself.
//!
//! ```sh
//! ATP_WEBHOOK_SECRET=new... ATP_PREVIOUS_SECRET=old... ATP_PREVIOUS_UNTIL=2026-12-01T00:00:00Z cargo run --bin rotate_secret
//! ```

use std::env;

use actix_web::{App, HttpServer};
use atp_actix::{AtpResponse, Scheme, Secret, Simple, Verifier, Webhook};
use atp_examples::{Failure, announce, port};
use chrono::{DateTime, Utc};

/// Pinned to the one scheme that signs a time. Leave `schemes` out if your server signs bare
/// digests.
fn verifier() -> Result<Verifier, Failure> {
    let verifier = Verifier::new(Secret::from_env("ATP_WEBHOOK_SECRET")?).schemes([Scheme::Timestamped]);
    if env::var_os("ATP_PREVIOUS_SECRET").is_none() {
        return Ok(verifier);
    }
    Ok(verifier.or_until(Secret::from_env("ATP_PREVIOUS_SECRET")?, previous_until()?))
}

fn previous_until() -> Result<DateTime<Utc>, Failure> {
    let text = env::var("ATP_PREVIOUS_UNTIL").unwrap_or_default();
    text.parse().map_err(|error| {
        Failure::new(format!(
            "ATP_PREVIOUS_UNTIL is `{text}` ({error}): set it to the time until which the previous secret counts, such as \
             2026-12-01T00:00:00Z"
        ))
    })
}

async fn approve(answer: AtpResponse<Simple>) -> &'static str {
    match answer.delivery().secret_index() {
        0 => "signed with the secret\n",
        _ => "signed with the previous secret\n",
    }
}

#[actix_web::main]
async fn main() -> Result<(), Failure> {
    let verifier = verifier()?;
    let app =
        move || App::new().service(Webhook::new("/atp/webhook", verifier.clone()).on("approve", approve));
    let server = HttpServer::new(app).bind(("127.0.0.1", port()?))?;
    announce(&server.addrs());
    Ok(server.run().await?)
}
