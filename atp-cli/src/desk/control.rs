//! What a desk can be told beside the protocol: how it misbehaves, how it signs, what it sends again.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    api::{check_secret, shows},
    body::Body,
    deliver,
    fault::Fault,
    inner::Inner,
    place::{GET, PATCH, POST, PUT, place},
    records::{AttemptTold, Extent, Sent, Story, scheme_of, text},
    refusal::Refusal,
    state,
};
use crate::limits::FAULTS;

/// The routes; each needs the admin token.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(place("/desk/api/faults", [(GET, web::to(faults)), (PUT, web::to(set_faults))]))
        .service(place("/desk/api/clock", [(PUT, web::to(set_clock))]))
        .service(place("/desk/api/services", [(GET, web::to(services))]))
        .service(place("/desk/api/services/{id}", [(PATCH, web::to(set_service))]))
        .service(place("/desk/api/questions/{id}", [(GET, web::to(question))]))
        .service(place("/desk/api/questions/{id}/deliver", [(POST, web::to(send_again))]));
}

type Shared = web::Data<Inner>;

async fn admin(inner: &Inner, request: &HttpRequest) -> Result<(), Refusal> {
    shows(inner, request, &inner.admin_token, "the admin token").await
}

fn unreadable(error: &serde_json::Error) -> Refusal {
    Refusal::new("INVALID_PARAMETER", error.to_string())
}

async fn faults(inner: Shared, request: HttpRequest) -> Result<HttpResponse, Refusal> {
    admin(&inner, &request).await?;
    let faults = inner.faults().clone();
    Ok(HttpResponse::Ok().json(json!({ "faults": faults, "skew_ms": inner.skew() })))
}

/// `{"fault": "duplicate", "next": 3}`: the next three attempts; without `next` all. `{"away": true}`:
/// no service is served, until it is `false`. With neither nothing goes wrong any more.
#[derive(Deserialize)]
struct NewFaults {
    fault: Option<Fault>,
    next: Option<usize>,
    away: Option<bool>,
}

async fn set_faults(inner: Shared, request: HttpRequest, Body(body): Body) -> Result<HttpResponse, Refusal> {
    admin(&inner, &request).await?;
    let new: NewFaults = serde_json::from_slice(&body).map_err(|error| unreadable(&error))?;
    match (new.fault, new.next) {
        (Some(fault), Some(next)) if next <= FAULTS => inner.faults().next(fault, next),
        (Some(_), Some(_)) => {
            return Err(Refusal::new("INVALID_PARAMETER", format!("`next` is at most {FAULTS}.")));
        }
        (Some(fault), None) => inner.faults().always(Some(fault)),
        (None, _) if new.away.is_none() => {
            inner.faults().clear();
            inner.answered.notify_one();
        }
        (None, _) => {}
    }
    if let Some(away) = new.away {
        inner.faults().away(away);
    }
    inner.changed();
    faults(inner, request).await
}

#[derive(Deserialize)]
struct NewClock {
    skew_ms: i64,
}

async fn set_clock(inner: Shared, request: HttpRequest, Body(body): Body) -> Result<HttpResponse, Refusal> {
    admin(&inner, &request).await?;
    let new: NewClock = serde_json::from_slice(&body).map_err(|error| unreadable(&error))?;
    inner.set_skew(new.skew_ms);
    inner.changed();
    faults(inner, request).await
}

async fn services(inner: Shared, request: HttpRequest) -> Result<HttpResponse, Refusal> {
    admin(&inner, &request).await?;
    let services = inner.records.services().await?;
    let services = services.iter().map(|service| {
        json!({
            "service_id": service.id, "name": text(&service.name), "callback_url": service.callback_url,
            "scheme": service.scheme().name(), "suspended": inner.faults().is_suspended(&service.id),
        })
    });
    Ok(HttpResponse::Ok().json(json!({ "services": services.collect::<Vec<_>>() })))
}

/// `{"scheme": "raw"}`, `{"webhook_secret": "..."}`, `{"suspended": true}`, or some of these.
#[derive(Deserialize)]
struct NewService {
    scheme: Option<String>,
    webhook_secret: Option<String>,
    suspended: Option<bool>,
}

async fn set_service(
    inner: Shared,
    request: HttpRequest,
    id: web::Path<String>,
    Body(body): Body,
) -> Result<HttpResponse, Refusal> {
    admin(&inner, &request).await?;
    let new: NewService = serde_json::from_slice(&body).map_err(|error| unreadable(&error))?;
    let scheme = new.scheme.map(|name| scheme_of(&name).ok_or(name)).transpose().map_err(|_| {
        let message = "A scheme is one of timestamped, raw, python-canonical, node-compact.";
        Refusal::new("INVALID_PARAMETER", message)
    })?;
    if let Some(secret) = &new.webhook_secret {
        check_secret(secret)?;
    }
    inner.records.known_service(&id).await?;
    if let Some(scheme) = scheme {
        inner.records.set_scheme(&id, scheme).await?;
    }
    if let Some(secret) = new.webhook_secret {
        inner.records.set_secret(&id, &secret).await?;
    }
    if let Some(suspended) = new.suspended {
        inner.faults().suspend(&id, suspended);
    }
    inner.changed();
    services(inner, request).await
}

async fn question(
    inner: Shared,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Refusal> {
    admin(&inner, &request).await?;
    inner.records.expire(inner.now()).await?;
    Ok(HttpResponse::Ok().json(told(&inner.records.story(&id, Extent::Whole).await?)))
}

/// A question with all that became of it, as JSON.
fn told(story: &Story) -> Value {
    let attempt = |AttemptTold { attempt, .. }: &AttemptTold| {
        json!({
            "at": attempt.at, "url": attempt.url, "fault": attempt.fault, "status": attempt.status,
            "headers": serde_json::from_str::<Value>(&attempt.headers).unwrap_or_default(),
            "body": attempt.body, "answer": attempt.answer, "micros": attempt.micros,
        })
    };
    let delivery = |Sent { delivery, attempts, .. }: &Sent| {
        json!({
            "request_id": delivery.request_id, "body": delivery.body, "outcome": delivery.outcome,
            "attempts": attempts.iter().map(attempt).collect::<Vec<_>>(),
        })
    };
    let happened = story.happened.iter().map(
        |happened| json!({ "at": happened.at, "what": happened.what, "detail": text(&happened.detail) }),
    );
    json!({
        "notification_id": story.listed.id, "status": state::name(story.listed.status),
        "service": story.listed.service, "action_id": story.listed.action,
        "happened": happened.collect::<Vec<_>>(),
        "deliveries": story.deliveries.iter().map(delivery).collect::<Vec<_>>(),
    })
}

async fn send_again(
    inner: Shared,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Refusal> {
    admin(&inner, &request).await?;
    deliver::again(&inner, &id).await?;
    Ok(HttpResponse::Accepted().json(json!({ "notification_id": *id })))
}
