//! The calls of the protocol, section 4.

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use atp_core::{
    ClientResponded, ClientResponse, Notification, RawJson, Service, Status, StatusChange, StatusChanged,
    Violations,
};
use constant_time_eq::constant_time_eq;
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use uuid::Uuid;

use super::{
    body::Body,
    fit::Unanswered,
    flat,
    inner::Inner,
    place::{GET, PATCH, POST, place},
    records::{Filter, Listed, ServiceRow},
    refusal::Refusal,
    signing::{Responder, new_secret},
    state::{self, Step},
    surrogates::mended,
};
use crate::{
    https::is_this_machine,
    limits::{AWAY_FOR, SHORTEST_SECRET},
};

/// The routes.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(place("/api/v1/services", [(POST, web::to(register))]))
        .service(place("/api/v1/notifications", [(POST, web::to(ask))]))
        .service(place("/api/v1/notifications/{id}", [(PATCH, web::to(change))]))
        .service(place("/api/v1/client/notifications", [(GET, web::to(list))]))
        .service(place("/api/v1/client/respond", [(POST, web::to(respond))]));
}

type Shared = web::Data<Inner>;

/// What a caller shows.
fn token(request: &HttpRequest) -> Result<&str, Refusal> {
    let missing = || Refusal::new("AUTH_INVALID_TOKEN", "Show a token: `Authorization: Bearer …`.");
    let header = request.headers().get(header::AUTHORIZATION).ok_or_else(missing)?;
    let header = header.to_str().map_err(|_| missing())?;
    let (kind, token) = header.split_once(' ').ok_or_else(missing)?;
    if kind.eq_ignore_ascii_case("bearer") { Ok(token.trim()) } else { Err(missing()) }
}

/// Whether a caller shows this token.
pub(super) async fn shows(
    inner: &Inner,
    request: &HttpRequest,
    expected: &str,
    whose: &str,
) -> Result<(), Refusal> {
    let token = token(request)?;
    if constant_time_eq(token.as_bytes(), expected.as_bytes()) {
        return Ok(());
    }
    let is_known = is_a_token(inner, token) || inner.records.service_of_key(token).await?.is_some();
    Err(denied(is_known, format!("This call needs {whose}; the desk prints it when it starts.")))
}

/// What whoever shows a token is told that is not good for this call: another's, or nobody's.
fn denied(is_known: bool, why: impl Into<String>) -> Refusal {
    Refusal::new(if is_known { "AUTH_INSUFFICIENT_PERMISSIONS" } else { "AUTH_INVALID_TOKEN" }, why)
}

/// Whether this is a token of the desk's own.
fn is_a_token(inner: &Inner, token: &str) -> bool {
    let is = |known: &str| constant_time_eq(token.as_bytes(), known.as_bytes());
    is(&inner.admin_token) | is(&inner.user_token)
}

/// The service that calls.
async fn caller(inner: &Inner, request: &HttpRequest) -> Result<ServiceRow, Refusal> {
    let key = token(request)?;
    if inner.faults().is_away() {
        let away = Refusal::new("SERVICE_UNAVAILABLE", "The desk was told to be away.");
        return Err(away.retry_after(AWAY_FOR));
    }
    let service = inner.records.service_of_key(key).await?;
    let service = service.ok_or_else(|| denied(is_a_token(inner, key), "No service has this API key."))?;
    if inner.faults().is_suspended(&service.id) {
        return Err(Refusal::new("SERVICE_SUSPENDED", "The desk was told to suspend this service."));
    }
    Ok(service)
}

/// Reads a body, whatever its content type.
fn read<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(&mended(body)).map_err(|error| {
        let code = if error.to_string().starts_with("missing field") {
            "MISSING_REQUIRED_FIELD"
        } else {
            "INVALID_PARAMETER"
        };
        Refusal::new(code, error.to_string())
    })
}

#[derive(Deserialize)]
struct Registration {
    name: String,
    #[serde(default)]
    description: String,
    callback_url: String,
    #[serde(default)]
    webhook_secret: String,
}

async fn register(inner: Shared, request: HttpRequest, Body(body): Body) -> Result<HttpResponse, Refusal> {
    shows(&inner, &request, &inner.admin_token, "the admin token").await?;
    let registration: Registration = read(&body)?;
    let service = register_service(
        &inner,
        &registration.name,
        &registration.description,
        &registration.callback_url,
        &registration.webhook_secret,
    )
    .await?;
    Ok(HttpResponse::Created().json(json!({
        "service_id": service.id,
        "api_key": service.api_key,
        "webhook_secret": service.secret,
    })))
}

/// Registers a service; without a secret one is made.
pub(super) async fn register_service(
    inner: &Inner,
    name: &str,
    description: &str,
    callback_url: &str,
    secret: &str,
) -> Result<ServiceRow, Refusal> {
    if name.trim().is_empty() {
        return Err(Refusal::new("MISSING_REQUIRED_FIELD", "A service has a name.").detail("field", "name"));
    }
    check_callback(callback_url, inner.settings.allows_http)?;
    let secret = if secret.is_empty() { new_secret() } else { secret.to_owned() };
    check_secret(&secret)?;
    let service = inner.records.register(name, description, callback_url, &secret).await?;
    inner.changed();
    Ok(service)
}

/// Sets where a service's answers go, and its secret if there is one.
pub(super) async fn redirect_service(
    inner: &Inner,
    name: &str,
    callback_url: &str,
    secret: &str,
) -> Result<ServiceRow, Refusal> {
    check_callback(callback_url, inner.settings.allows_http)?;
    if !secret.is_empty() {
        check_secret(secret)?;
    }
    let service = inner.records.redirect(name, callback_url, secret).await?;
    inner.changed();
    Ok(service)
}

/// A short secret can be guessed.
pub(super) fn check_secret(secret: &str) -> Result<(), Refusal> {
    if secret.len() >= SHORTEST_SECRET {
        return Ok(());
    }
    let (len, least) = (secret.len(), SHORTEST_SECRET);
    let short = format!("The webhook secret has {len} bytes; {least} are needed, 32 are advised.");
    Err(Refusal::new("INVALID_PARAMETER", short).detail("field", "webhook_secret"))
}

/// Answers go encrypted, or stay on this machine.
fn check_callback(url: &str, allows_http: bool) -> Result<(), Refusal> {
    let fault = |why: &str| Err(Refusal::new("INVALID_CALLBACK_URL", format!("The callback URL {why}.")));
    let Ok(url) = Url::parse(url) else { return fault("is no URL") };
    let is_local = is_this_machine(url.host_str().unwrap_or_default());
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_local || allows_http => Ok(()),
        "http" => fault("is not encrypted: begin it with https, or start the desk with --allow-http"),
        _ => fault("does not begin with https"),
    }
}

async fn ask(inner: Shared, request: HttpRequest, Body(body): Body) -> Result<HttpResponse, Refusal> {
    let service = caller(&inner, &request).await?;
    inner.paced(&inner.questions, &service.id)?;
    let (id, status) = ask_for(&inner, &service, read_notification(&body)?).await?;
    Ok(HttpResponse::Created().json(json!({
        "notification_id": id, "status": status, "estimated_delivery": inner.now(),
    })))
}

/// Keeps a question of a service; its id, and where it stands.
pub(super) async fn ask_for(
    inner: &Inner,
    service: &ServiceRow,
    mut notification: Notification,
) -> Result<(String, Status), Refusal> {
    notification.check().map_err(|error| {
        let code = match error.pointer() {
            pointer if pointer.starts_with("/actions/") => "MALFORMED_ACTION",
            "/context/title" | "/actions" => "MISSING_REQUIRED_FIELD",
            _ => "INVALID_PARAMETER",
        };
        Refusal::new(code, error.to_string()).detail("field", error.pointer())
    })?;
    let id = notification.id.get_or_insert_with(|| Uuid::new_v4().to_string()).clone();
    notification.status = None;
    let (status, is_known) = inner.records.ask(service, &id, &notification, inner.now()).await?;
    if !is_known {
        inner.changed();
    }
    Ok((id, status))
}

/// Reads a question; the code says what is wrong with it.
fn read_notification(body: &[u8]) -> Result<Notification, Refusal> {
    let body = mended(body);
    let body = &flat::nested(&body);
    let value: Value = read(body)?;
    let actions = value.get("actions").and_then(Value::as_array).cloned().unwrap_or_default();
    for (nth, action) in actions.iter().enumerate() {
        let field = format!("/actions/{nth}");
        let known = action.get("response_type").and_then(Value::as_str);
        if known.is_some_and(|known| !RESPONSE_TYPES.contains(&known)) {
            let message = format!("A response type is one of {}.", RESPONSE_TYPES.join(", "));
            return Err(Refusal::new("INVALID_RESPONSE_TYPE", message).detail("field", field));
        }
        if let Err(error) = serde_json::from_value::<atp_core::Action>(action.clone()) {
            return Err(Refusal::new("MALFORMED_ACTION", error.to_string()).detail("field", field));
        }
    }
    // From the text, which keeps numbers as they were written.
    let mut notification = read(body)?;
    flat::forget(&mut notification);
    Ok(notification)
}

const RESPONSE_TYPES: [&str; 10] =
    ["simple", "binary", "choice", "multi_choice", "text", "number", "select", "form", "json", "file"];

async fn change(
    inner: Shared,
    request: HttpRequest,
    id: web::Path<String>,
    Body(body): Body,
) -> Result<HttpResponse, Refusal> {
    let service = caller(&inner, &request).await?;
    inner.paced(&inner.changes, &service.id)?;
    let change: StatusChange = read(&body)?;
    let step = match &*change.status {
        "invalidated" => Step::Withdrawn,
        "processed" => Step::Handled,
        other => {
            let other: String = other.chars().take(40).collect();
            let message = format!("A service may say `invalidated` or `processed`, not `{other}`.");
            return Err(Refusal::new("INVALID_STATUS", message));
        }
    };
    let now = inner.now();
    let detail = match (step, &change.reason) {
        (Step::Handled, _) => "the service says that it has handled it",
        (_, reason) => reason.as_deref().unwrap_or_default(),
    };
    let status = inner.records.step(&id, Some(&service.id), step, detail, now).await?;
    inner.changed();
    let mut changed = StatusChanged::new(id.into_inner(), state::name(status));
    changed.updated_at = Some(now);
    Ok(HttpResponse::Ok().json(changed))
}

#[derive(Deserialize)]
struct Listing {
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    offset: u32,
}

async fn list(
    inner: Shared,
    request: HttpRequest,
    listing: web::Query<Listing>,
) -> Result<HttpResponse, Refusal> {
    shows(&inner, &request, &inner.user_token, "the user token").await?;
    let name = listing.status.as_deref().unwrap_or("waiting");
    let filter = Filter::of_name(name).ok_or_else(|| {
        let names = Filter::ALL.map(Filter::name).join(", ");
        Refusal::new("INVALID_PARAMETER", format!("`status` is one of {names}.")).detail("field", "status")
    })?;
    let now = inner.now();
    inner.records.expire(now).await?;
    let (mut listed, count) = inner.records.list(filter, "", listing.offset).await?;
    inner.records.show(&mut listed, now).await?;
    let notifications: Vec<Notification> = listed.into_iter().map(for_a_client).collect();
    Ok(HttpResponse::Ok().json(json!({ "notifications": notifications, "total": count })))
}

/// A question with what the desk knows better than who asked it: where it stands, and who asked.
fn for_a_client(listed: Listed) -> Notification {
    let Listed { mut notification, status, service, service_name, .. } = listed;
    notification.status = Some(status);
    let icon = notification.service.and_then(|claimed| claimed.icon);
    let mut service = Service::new(service, service_name);
    service.icon = icon;
    notification.service = Some(service);
    notification
}

async fn respond(inner: Shared, request: HttpRequest, Body(body): Body) -> Result<HttpResponse, Refusal> {
    shows(&inner, &request, &inner.user_token, "the user token").await?;
    let wanted: ClientResponse = read(&body)?;
    // As it was written: a number keeps its digits, and a text its halves of characters, unless a name
    // beside it has one, which cannot be read.
    let raw: Raw = serde_json::from_slice(&body).or_else(|_| read(&body))?;
    let data = raw.response_data.as_deref().map_or("null", RawValue::get);
    let taken = answer(&inner, &wanted.notification_id, &wanted.action_id, data).await;
    let told = taken.map_err(|unanswered| match unanswered {
        Unanswered::Refused(refusal) => refusal,
        Unanswered::Unfit { code, violations } => unfit(code, &violations),
    })?;
    Ok(HttpResponse::Ok().json(told))
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    response_data: Option<Box<RawValue>>,
}

/// A human's answer.
pub(super) async fn answer(
    inner: &Inner,
    id: &str,
    action: &str,
    data: &str,
) -> Result<ClientResponded, Unanswered> {
    let data = RawJson::new(data.to_owned())
        .map_err(|error| Refusal::new("INVALID_RESPONSE_DATA", error.to_string()))?;
    let by = Responder { id: "desk_user", kind: "human" };
    let responded = inner.records.answer(id, action, &data, by, inner.now()).await?;
    inner.answered.notify_one();
    inner.changed();
    Ok(responded)
}

fn unfit(code: &'static str, violations: &Violations) -> Refusal {
    let told: Vec<Value> = violations
        .iter()
        .map(|violation| {
            json!({ "pointer": violation.pointer(), "rule": violation.rule(), "found": violation.found() })
        })
        .collect();
    Refusal::new(code, violations.to_string()).detail("violations", told)
}
