//! The smallest webhook. It needs `actix-web` and `atp-actix` alone, and compiles as it stands in
//! an empty package.
//!
//! Run it with `ATP_WEBHOOK_SECRET=... cargo run --bin hello`.

use actix_web::{App, HttpServer};
use atp_actix::{AtpResponse, Secret, Simple, Verifier, Webhook};

async fn approve(answer: AtpResponse<Simple>) -> String {
    format!("{} is approved\n", answer.notification_id)
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let verifier = Verifier::new(Secret::from_env("ATP_WEBHOOK_SECRET")?);
    let webhook = move || Webhook::new("/atp/webhook", verifier.clone()).on("approve", approve);
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(8080);
    let server = HttpServer::new(move || App::new().service(webhook())).bind(("127.0.0.1", port))?;
    println!("listening on http://{}", server.addrs()[0]);
    Ok(server.run().await?)
}
