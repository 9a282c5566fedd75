//! Routes of your own behind the middleware, without `Webhook`: `ATP_WEBHOOK_SECRET=... cargo run
//! --bin middleware_only`.

use actix_web::{App, HttpResponse, HttpServer, Responder, guard, web};
use atp_actix::{
    AtpResponse, Delivery, Secret, Simple, Text, Verifier, VerifySignature,
    guard::{Action, Signed},
};
use atp_examples::{Failure, announce, port};

/// The path is shared: `Signed` sends requests that carry a signature to the first resource, others
/// to the second. It only routes. It is `VerifySignature` that judges the signature, and what it
/// lets through `Action` can tell apart.
fn answers(config: &mut web::ServiceConfig, verifier: Verifier) {
    config
        .service(
            web::resource("/answers")
                .guard(Signed)
                .wrap(VerifySignature::new(verifier).limit(16 * 1024))
                .route(web::route().guard(Action::new("approve")).to(approve))
                .route(web::route().guard(Action::new("reject")).to(reject))
                .default_service(web::to(otherwise)),
        )
        .service(web::resource("/answers").guard(guard::Get()).to(help));
}

async fn approve(answer: AtpResponse<Simple>) -> String {
    format!("{} is approved\n", answer.notification_id)
}

async fn reject(reason: AtpResponse<Text>) -> String {
    format!("{} is rejected: {}\n", reason.notification_id, reason.data)
}

/// Behind the middleware `web::Bytes` holds the text that was signed.
async fn otherwise(delivery: Delivery, signed: web::Bytes) -> impl Responder {
    let (action, scheme) = (&delivery.answer().action_id, delivery.scheme());
    HttpResponse::BadRequest().body(format!("no `{action}` here ({} bytes, {scheme})\n", signed.len()))
}

async fn help() -> &'static str {
    "An ATP server posts signed answers here.\n"
}

#[actix_web::main]
async fn main() -> Result<(), Failure> {
    let verifier = Verifier::new(Secret::from_env("ATP_WEBHOOK_SECRET")?);
    let app = move || App::new().configure(|config| answers(config, verifier.clone()));
    let server = HttpServer::new(app).bind(("127.0.0.1", port()?))?;
    announce(&server.addrs());
    Ok(server.run().await?)
}
