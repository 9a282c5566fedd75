//! The pages that a human sees: an inbox, a question with its answers and its story, and the desk's
//! own settings. Only a `POST` with the token of a page decides anything.

mod controls;
mod inbox;
mod layout;
mod markdown;
mod question;
mod settings;
mod visitor;

use std::{sync::Arc, time::Duration};

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use bytes::Bytes;
use futures_util::stream;
use tokio::{sync::broadcast::error::RecvError, time::timeout};

use super::inner::Inner;

/// The routes.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/", web::get().to(inbox::page))
        .route("/questions/{id}", web::get().to(question::page))
        .route("/questions/{id}/answer", web::post().to(question::answer))
        .route("/questions/{id}/again", web::post().to(question::again))
        .route("/settings", web::get().to(settings::page))
        .route("/settings", web::post().to(settings::change))
        .route("/enter", web::get().to(visitor::door))
        .route("/enter", web::post().to(visitor::enter))
        .route("/changes", web::get().to(changes))
        .route("/page.css", web::get().to(|| asset("text/css; charset=utf-8", include_str!("page.css"))))
        .route(
            "/page.js",
            web::get().to(|| asset("text/javascript; charset=utf-8", include_str!("page.js"))),
        );
}

fn asset(kind: &'static str, text: &'static str) -> std::future::Ready<HttpResponse> {
    let asset = HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, kind))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header(("x-content-type-options", "nosniff"))
        .body(text);
    std::future::ready(asset)
}

/// Tells a page that there is something new, by server-sent events, and now and then that the desk
/// is there.
async fn changes(inner: web::Data<Inner>, request: HttpRequest) -> HttpResponse {
    if !visitor::is_known(&inner, &request) {
        return HttpResponse::Unauthorized().finish();
    }
    let seen = inner.changes_seen.subscribe();
    let inner: Arc<Inner> = inner.into_inner();
    let events = stream::unfold((seen, inner), async |(mut seen, inner)| {
        let event: &'static [u8] = match timeout(Duration::from_secs(15), seen.recv()).await {
            Err(_) => b": still here\n\n",
            Ok(Ok(()) | Err(RecvError::Lagged(_))) => b"event: changed\ndata:\n\n",
            Ok(Err(RecvError::Closed)) => return None,
        };
        if *inner.stop.borrow() {
            return None;
        }
        Some((Ok::<_, actix_web::Error>(Bytes::from_static(event)), (seen, inner)))
    });
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/event-stream"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .streaming(Box::pin(events))
}
