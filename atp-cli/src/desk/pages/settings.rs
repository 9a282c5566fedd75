//! The desk's own settings: how it misbehaves, and how each service's answers are signed.

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use atp_core::Scheme;
use maud::{Markup, html};
use serde::Deserialize;

use super::{layout, visitor};
use crate::{
    desk::{
        fault::Fault,
        inner::Inner,
        records::{ServiceRow, scheme_of, text},
        refusal::Refusal,
    },
    limits::FAULTS,
};

/// The page.
pub(super) async fn page(inner: web::Data<Inner>, request: HttpRequest) -> HttpResponse {
    if !visitor::is_known(&inner, &request) {
        return visitor::to_the_door();
    }
    match inner.records.services().await {
        Ok(services) => layout::page(&inner, "Settings", Some("/settings"), &content(&inner, &services)),
        Err(refusal) => layout::refusal(&inner, &refusal),
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Changed {
    token: String,
    fault: String,
    next: String,
    skew_ms: String,
    service: String,
    scheme: String,
    suspended: String,
    away: String,
}

/// One of the page's forms.
pub(super) async fn change(
    inner: web::Data<Inner>,
    request: HttpRequest,
    changed: web::Form<Changed>,
) -> HttpResponse {
    match try_change(&inner, &request, &changed).await {
        Ok(()) => {
            inner.changed();
            HttpResponse::SeeOther().insert_header((header::LOCATION, "/settings")).finish()
        }
        Err(refusal) => layout::refusal(&inner, &refusal),
    }
}

async fn try_change(inner: &Inner, request: &HttpRequest, changed: &Changed) -> Result<(), Refusal> {
    visitor::check_form(inner, request, &changed.token)?;
    let wrong = |what: &str| Refusal::new("INVALID_PARAMETER", what);
    if !changed.service.is_empty() {
        match &*changed.suspended {
            "" => {
                let scheme = scheme_of(&changed.scheme).ok_or_else(|| wrong("There is no such scheme."))?;
                inner.records.set_scheme(&changed.service, scheme).await?;
            }
            suspended => inner.faults().suspend(&changed.service, suspended == "true"),
        }
    } else if !changed.away.is_empty() {
        inner.faults().away(changed.away == "true");
    } else if !changed.skew_ms.is_empty() {
        inner.set_skew(
            changed.skew_ms.parse().map_err(|_| wrong("Write the milliseconds as a whole number."))?,
        );
    } else if changed.fault.is_empty() {
        inner.faults().clear_deliveries();
        inner.answered.notify_one();
    } else {
        let fault: Fault =
            changed.fault.parse().map_err(|error: crate::desk::UnknownFault| wrong(&error.to_string()))?;
        match &*changed.next {
            "" => inner.faults().always(Some(fault)),
            next => {
                let next = next.parse().ok().filter(|next| (1..=FAULTS).contains(next));
                let next = next.ok_or_else(|| {
                    wrong(&format!("Write how many as a number up to {FAULTS}, or nothing for all."))
                })?;
                inner.faults().next(fault, next);
            }
        }
    }
    Ok(())
}

fn content(inner: &Inner, services: &[ServiceRow]) -> Markup {
    let faults = serde_json::to_string(&*inner.faults()).unwrap_or_default();
    let is_off = inner.faults().is_any();
    let token = || html! { input type="hidden" name="token" value=(inner.form_token); };
    html! {
        h1 { "Settings" }
        section aria-labelledby="faults" {
            h2 #faults { "What goes wrong" }
            p { @if is_off { "Set: " code { (faults) } } @else { "Nothing goes wrong on purpose." } }
            form method="post" action="/settings" {
                (token())
                label for="fault" { "With a delivery" }
                select id="fault" name="fault" {
                    option value="" { "nothing" }
                    @for fault in Fault::ALL { option value=(fault) { (fault) } }
                }
                label for="next" { "For the next so many; for all, if it is empty" }
                input id="next" name="next" type="number" min="1" max=(FAULTS);
                button type="submit" { "Set" }
            }
            form method="post" action="/settings" {
                (token())
                @let is_away = inner.faults().is_away();
                p { @if is_away { "No service is served: each is told to come again." } @else { "Services are served." } }
                input type="hidden" name="away" value=(!is_away);
                button type="submit" { @if is_away { "Be there again" } @else { "Be away" } }
            }
            form method="post" action="/settings" {
                (token())
                label for="skew" { "The desk's clock is off by so many milliseconds" }
                input id="skew" name="skew_ms" type="number" value=(inner.skew()) required;
                button type="submit" { "Set the clock" }
            }
        }
        section aria-labelledby="services" {
            h2 #services { "Services" }
            @if services.is_empty() { p.empty { "No service is registered yet: start the desk with --service NAME=URL, or register one by POST /api/v1/services." } }
            @for (nth, service) in services.iter().enumerate() {
                form method="post" action="/settings" {
                    (token())
                    input type="hidden" name="service" value=(service.id);
                    h3 { bdi { (text(&service.name)) } }
                    p { "Answers go to " code { (service.callback_url) } }
                    label for={ "scheme" (nth) } { "They are signed as" }
                    select id={ "scheme" (nth) } name="scheme" {
                        @for scheme in Scheme::ALL {
                            option value=(scheme.name()) selected[scheme == service.scheme()] { (scheme.name()) }
                        }
                    }
                    button type="submit" { "Set the scheme" }
                }
                form method="post" action="/settings" {
                    (token())
                    input type="hidden" name="service" value=(service.id);
                    @let is_suspended = inner.faults().is_suspended(&service.id);
                    p { @if is_suspended { "It is suspended: what it asks is refused." } @else { "It is served." } }
                    input type="hidden" name="suspended" value=(!is_suspended);
                    button type="submit" { @if is_suspended { "Serve it again" } @else { "Suspend it" } }
                }
            }
        }
    }
}
