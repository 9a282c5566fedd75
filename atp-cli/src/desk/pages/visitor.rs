//! Who may see a page, and whose form decides.

use actix_web::{
    HttpRequest, HttpResponse,
    cookie::{Cookie, SameSite},
    http::header,
    web,
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD};
use constant_time_eq::constant_time_eq;
use maud::html;
use serde::Deserialize;

use super::layout;
use crate::desk::{inner::Inner, refusal::Refusal};

const COOKIE: &str = "atp_desk";

/// Whether a visitor has shown what the page asks for; on this machine it asks for nothing.
pub(super) fn is_known(inner: &Inner, request: &HttpRequest) -> bool {
    let Some(token) = &inner.settings.page_token else { return true };
    request
        .cookie(COOKIE)
        .is_some_and(|cookie| constant_time_eq(cookie.value().as_bytes(), in_cookie(token).as_bytes()))
}

/// A token as a cookie can hold it.
fn in_cookie(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(token)
}

/// Where a stranger is sent.
pub(super) fn to_the_door() -> HttpResponse {
    HttpResponse::SeeOther().insert_header((header::LOCATION, "/enter")).finish()
}

/// Whether a form comes from a page of this desk: it has its token, and no other page sent it.
pub(super) fn check_form(inner: &Inner, request: &HttpRequest, token: &str) -> Result<(), Refusal> {
    let refused =
        || Refusal::new("AUTH_INSUFFICIENT_PERMISSIONS", "This form is not of this desk's page: reload it.");
    if !is_known(inner, request) || !constant_time_eq(token.as_bytes(), inner.form_token.as_bytes()) {
        return Err(refused());
    }
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let host = header(header::HOST).unwrap_or_default();
    match header(header::ORIGIN) {
        Some(origin) if origin.split_once("://").is_none_or(|(_, from)| from != host) => Err(refused()),
        _ => Ok(()),
    }
}

/// Asks a visitor for the token.
pub(super) async fn door(inner: web::Data<Inner>) -> HttpResponse {
    let page = html! {
        h1 { "Who are you?" }
        form method="post" action="/enter" {
            label for="token" { "The token of this desk" }
            input id="token" name="token" type="password" required autofocus autocomplete="current-password";
            button type="submit" { "Enter" }
        }
    };
    layout::page(&inner, "Enter", None, &page)
}

#[derive(Deserialize)]
pub(super) struct Shown {
    token: String,
}

/// Lets a visitor in.
pub(super) async fn enter(inner: web::Data<Inner>, shown: web::Form<Shown>) -> HttpResponse {
    let token = inner.settings.page_token.clone().unwrap_or_default();
    if !constant_time_eq(shown.token.as_bytes(), token.as_bytes()) {
        return to_the_door();
    }
    let cookie = Cookie::build(COOKIE, in_cookie(&token))
        .path("/")
        .http_only(true)
        .same_site(SameSite::Strict)
        .finish();
    HttpResponse::SeeOther().insert_header((header::LOCATION, "/")).cookie(cookie).finish()
}
