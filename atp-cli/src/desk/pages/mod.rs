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

use actix_web::{
    HttpRequest, HttpResponse, Resource, ResponseError, Route,
    error::InternalError,
    http::{Method, StatusCode, header},
    web,
};
use bytes::Bytes;
use futures_util::stream;
use tokio::{sync::broadcast::error::RecvError, time::timeout};

use super::{
    inner::Inner,
    place::{GET, POST, place_that_tells},
    refusal::Refusal,
};

/// The routes.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(at("/", [(GET, web::to(inbox::page))]))
        .service(at("/questions/{id}", [(GET, web::to(question::page))]))
        .service(at("/questions/{id}/answer", [(POST, web::to(question::answer))]))
        .service(at("/questions/{id}/again", [(POST, web::to(question::again))]))
        .service(at("/settings", [(GET, web::to(settings::page)), (POST, web::to(settings::change))]))
        .service(at("/enter", [(GET, web::to(visitor::door)), (POST, web::to(visitor::enter))]))
        .service(at("/changes", [(GET, web::to(changes))]))
        .service(at("/icon.svg", [(GET, web::to(|| asset("image/svg+xml", include_str!("icon.svg"))))]))
        .service(at(
            "/page.css",
            [(GET, web::to(|| asset("text/css; charset=utf-8", include_str!("page.css"))))],
        ))
        .service(at(
            "/page.js",
            [(GET, web::to(|| asset("text/javascript; charset=utf-8", include_str!("page.js"))))],
        ))
        .default_service(web::to(nowhere));
}

/// A place that tells a human what it does not take.
fn at<const N: usize>(path: &str, routes: [(Method, Route); N]) -> Resource {
    place_that_tells(refused, path, routes)
}

/// What there is where nothing is.
async fn nowhere(request: HttpRequest) -> HttpResponse {
    refused(&request, &Refusal::new("NOT_FOUND", "There is nothing at this address."))
}

/// What cannot be read of a request: its address, or its form.
pub(super) fn unreadable<E: ResponseError + 'static>(error: E, request: &HttpRequest) -> actix_web::Error {
    let code =
        if error.status_code() == StatusCode::PAYLOAD_TOO_LARGE { "TOO_LARGE" } else { "INVALID_PARAMETER" };
    let why = format!("The desk cannot read this: {}.", error.to_string().trim_end_matches('.'));
    let response = refused(request, &Refusal::new(code, why));
    InternalError::from_response(error, response).into()
}

/// A refusal, as a page or as the protocol has it, by who asks.
fn refused(request: &HttpRequest, refusal: &Refusal) -> HttpResponse {
    let is_call = ["/api/", "/desk/api/"].iter().any(|start| request.path().starts_with(start));
    match request.app_data::<web::Data<Inner>>() {
        Some(inner) if !is_call => layout::refusal(inner, refusal),
        _ => refusal.error_response(),
    }
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
        if inner.is_stopped() {
            return None;
        }
        Some((Ok::<_, actix_web::Error>(Bytes::from_static(event)), (seen, inner)))
    });
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/event-stream"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .streaming(Box::pin(events))
}
