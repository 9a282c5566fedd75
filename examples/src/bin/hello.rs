//! The smallest webhook. Run it with `ATP_WEBHOOK_SECRET=... cargo run --bin hello`.

use actix_web::{App, HttpServer};
use atp_actix::{AtpResponse, Secret, Simple, Verifier, Webhook};
use atp_examples::{Failure, announce, port};

async fn approve(answer: AtpResponse<Simple>) -> String {
    format!("{} is approved\n", answer.notification_id)
}

#[actix_web::main]
async fn main() -> Result<(), Failure> {
    let verifier = Verifier::new(Secret::from_env("ATP_WEBHOOK_SECRET")?);
    let app =
        move || App::new().service(Webhook::new("/atp/webhook", verifier.clone()).on("approve", approve));
    let server = HttpServer::new(app).bind(("127.0.0.1", port()?))?;
    announce(&server.addrs());
    Ok(server.run().await?)
}
