//! A question: what is asked, with what it is answered, and what became of it.

use std::collections::BTreeMap;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web,
};
use atp_core::{Action, Attachment, AttachmentContent, Notification, Violation, Violations};
use maud::{Markup, html};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};

use super::{
    controls::{self, Entered, Faults},
    inbox::deadline,
    layout::{self, label, moment_of, or, segment, short, title},
    markdown, visitor,
};
use crate::desk::{
    api, deliver,
    fit::Unanswered,
    inner::Inner,
    records::{AttemptTold, DeliveryRow, Extent, Happened, Listed, Sent, Story, text},
    refusal::Refusal,
    state::Step,
};

/// An answer that was not taken: which action, what was filled in, and why.
struct Again {
    /// The action's place.
    action: usize,
    entered: Entered,
    why: Option<String>,
    violations: Option<Violations>,
}

/// The page of a question. To open it is to have seen it.
pub(super) async fn page(
    inner: web::Data<Inner>,
    request: HttpRequest,
    id: web::Path<String>,
) -> HttpResponse {
    if !visitor::is_known(&inner, &request) {
        return visitor::to_the_door();
    }
    show(&inner, &id, None).await
}

async fn show(inner: &Inner, id: &str, again: Option<&Again>) -> HttpResponse {
    let now = inner.now();
    let story = async {
        inner.records.step(id, None, Step::Seen, "", now).await?;
        inner.records.story(id, Extent::Page).await
    };
    match story.await {
        Ok(story) => {
            let title = short(title(&story.listed.notification), 80);
            let content = content(inner, &story, again);
            let mut page = layout::page(inner, &title, None, &content);
            if again.is_some() {
                *page.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
            }
            page
        }
        Err(refusal) => layout::refusal(inner, &refusal),
    }
}

type Form = web::Form<Vec<(String, String)>>;

fn entered(form: Form) -> Entered {
    let mut entered = Entered::new();
    for (name, value) in form.into_inner() {
        entered.entry(name).or_default().push(value);
    }
    entered
}

/// A human's answer.
pub(super) async fn answer(
    inner: web::Data<Inner>,
    request: HttpRequest,
    id: web::Path<String>,
    form: Form,
) -> HttpResponse {
    let entered = entered(form);
    if let Err(refusal) = visitor::check_form(&inner, &request, controls::first(&entered, "token")) {
        return layout::refusal(&inner, &refusal);
    }
    match try_answer(&inner, &id, &entered).await {
        Ok(()) => to_the_question(&id),
        Err(Tried::Refused(refusal)) => layout::refusal(&inner, &refusal),
        Err(Tried::Again(why, violations)) => {
            let action = place(&entered).unwrap_or_default();
            show(&inner, &id, Some(&Again { action, entered, why, violations })).await
        }
    }
}

enum Tried {
    Refused(Refusal),
    Again(Option<String>, Option<Violations>),
}

/// At which place of the question the action is that was chosen.
fn place(entered: &Entered) -> Option<usize> {
    controls::first(entered, "action").parse().ok()
}

async fn try_answer(inner: &Inner, id: &str, entered: &Entered) -> Result<(), Tried> {
    let story = inner.records.story(id, Extent::Page).await.map_err(Tried::Refused)?;
    let unknown = || Refusal::new("INVALID_ACTION_ID", "The question has no such answer.");
    let action = place(entered).and_then(|place| story.listed.notification.actions.get(place));
    let action = action.ok_or_else(|| Tried::Refused(unknown()))?;
    if is_irreversible(action) && controls::first(entered, "sure") != "yes" {
        let why = "This cannot be undone: say first that you know it.";
        return Err(Tried::Again(Some(why.to_owned()), None));
    }
    let data = controls::data(action, entered).map_err(|why| Tried::Again(Some(why), None))?;
    match api::answer(inner, id, &action.id, &data).await {
        Ok(_) => Ok(()),
        // What was filled in can be mended.
        Err(Unanswered::Refused(refusal)) if refusal.code() == "INVALID_RESPONSE_DATA" => {
            Err(Tried::Again(Some(refusal.message().to_owned()), None))
        }
        Err(Unanswered::Refused(refusal)) => Err(Tried::Refused(refusal)),
        Err(Unanswered::Unfit { violations, .. }) => Err(Tried::Again(None, Some(violations))),
    }
}

/// Sends the same answer once more.
pub(super) async fn again(
    inner: web::Data<Inner>,
    request: HttpRequest,
    id: web::Path<String>,
    form: Form,
) -> HttpResponse {
    let entered = entered(form);
    let sent = async {
        visitor::check_form(&inner, &request, controls::first(&entered, "token"))?;
        deliver::again(&inner, &id).await
    };
    match sent.await {
        Ok(()) => to_the_question(&id),
        Err(refusal) => layout::refusal(&inner, &refusal),
    }
}

fn to_the_question(id: &str) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((header::LOCATION, format!("/questions/{}", segment(id)))).finish()
}

fn is_irreversible(action: &Action) -> bool {
    action.flags.iter().any(|flag| flag == "irreversible")
}

fn content(inner: &Inner, story: &Story, again: Option<&Again>) -> Markup {
    let notification = &story.listed.notification;
    html! {
        p.back { a href="/" { "Back to the inbox" } }
        h1 { bdi { (title(notification)) } }
        p.from {
            (who(&story.listed))
            " asks"
            @if let Some(project) = &notification.context.project { " about " span.tag { bdi { (project) } } }
        }
        div.description { (markdown::safe(&notification.context.description)) }
        (facts(notification))
        section #answer data-live aria-labelledby="answer-title" {
            h2 #answer-title { "Your answer" }
            (deadline(&story.listed))
            (answers(inner, story, again))
        }
        section #story data-live aria-labelledby="story-title" {
            h2 #story-title { "What became of it" }
            (timeline(story))
            @if story.listed.action.is_some() { (send_again(inner, story)) }
        }
        details {
            summary { "The question as it was sent" }
            pre tabindex="0" { (serde_json::to_string_pretty(notification).unwrap_or_default()) }
        }
    }
}

/// Who asks, by the name under which it was registered; another that it gives itself stands behind it.
fn who(listed: &Listed) -> Markup {
    let claimed = listed.notification.service.as_ref().map_or("", |service| or(&service.name, ""));
    html! {
        bdi { (or(&listed.service_name, "A service")) }
        @if !claimed.is_empty() && claimed != listed.service_name { " as " bdi { (short(claimed, 200)) } }
    }
}

fn facts(notification: &Notification) -> Markup {
    let context = &notification.context;
    html! {
        @if !context.metadata.is_empty() {
            dl.facts {
                @for (name, value) in &context.metadata {
                    dt { bdi { (name) } }
                    dd { bdi { (value.as_str().map_or_else(|| value.to_string(), str::to_owned)) } }
                }
            }
        }
        @if !context.attachments.is_empty() {
            h2 { "To look at" }
            ul.attachments { @for attachment in &context.attachments { li { (attached(attachment)) } } }
        }
    }
}

fn attached(attachment: &Attachment) -> Markup {
    let name = or(&attachment.description, or(&attachment.media_type, "An attachment"));
    html! {
        @match &attachment.content {
            AttachmentContent::Uri(uri) if uri.starts_with("https://") || uri.starts_with("http://") => {
                a href=(uri) rel="noopener noreferrer" { bdi { (name) } }
            }
            AttachmentContent::Uri(uri) => { bdi { (name) } ": " code { (uri) } }
            AttachmentContent::Data(data) => {
                details { summary { bdi { (name) } } pre tabindex="0" { (plain(data)) } }
            }
            _ => { bdi { (name) } }
        }
    }
}

/// The text of an attachment, or how much of what it is.
fn plain(data: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    match STANDARD.decode(data) {
        Ok(bytes) => {
            let count = bytes.len();
            String::from_utf8(bytes).unwrap_or_else(|_| format!("{count} bytes that are no text"))
        }
        Err(_) => "it cannot be read: it is not in Base64".to_owned(),
    }
}

fn answers(inner: &Inner, story: &Story, again: Option<&Again>) -> Markup {
    use atp_core::Status::{Acknowledged, Created, Delivered, Expired, Invalidated};
    let listed = &story.listed;
    html! {
        @match listed.status {
            Created | Delivered | Acknowledged => {
                @for (nth, action) in listed.notification.actions.iter().enumerate() {
                    (answer_form(inner, &listed.id, action, nth, again.filter(|again| again.action == nth)))
                }
            }
            Expired => p { "The time to answer has passed." },
            Invalidated => p { "The question was taken back: nobody needs an answer any more." },
            _ => {
                @let action = listed.action.as_deref().unwrap_or_default();
                @let label = listed.notification.find_action(action).map_or(action, label);
                p { "Answered: " strong { bdi { (label) } } }
                @if let Some(data) = story.data.as_deref().filter(|data| *data != "null") {
                    pre tabindex="0" { (short(&readable(data), 4000)) }
                }
            }
        }
    }
}

/// What was answered, each number digit for digit.
fn readable(data: &str) -> String {
    serde_json::from_str::<String>(data)
        .ok()
        .or_else(|| spread::<BTreeMap<String, Box<RawValue>>>(data))
        .or_else(|| spread::<Vec<Box<RawValue>>>(data))
        .unwrap_or_else(|| data.to_owned())
}

/// Each member on its own line, if it is of that kind.
fn spread<T: DeserializeOwned + Serialize>(data: &str) -> Option<String> {
    serde_json::to_string_pretty(&serde_json::from_str::<T>(data).ok()?).ok()
}

fn answer_form(inner: &Inner, id: &str, action: &Action, nth: usize, again: Option<&Again>) -> Markup {
    let nothing = Entered::new();
    let entered = again.map_or(&nothing, |again| &again.entered);
    let violations: Vec<&Violation> =
        again.and_then(|again| again.violations.as_ref()).map(|all| all.iter().collect()).unwrap_or_default();
    let faults = Faults { whole: again.and_then(|again| again.why.as_deref()), violations };
    html! {
        form.answer method="post" action={ "/questions/" (segment(id)) "/answer" } aria-labelledby={ "a" (nth) "-title" } {
            input type="hidden" name="token" value=(inner.form_token);
            input type="hidden" name="action" value=(nth);
            h3 id={ "a" (nth) "-title" } { bdi { (label(action)) } }
            (controls::control(action, nth, entered, &faults))
            @if is_irreversible(action) {
                div.option.sure {
                    input id={ "a" (nth) "-sure" } type="checkbox" name="sure" value="yes" required;
                    label for={ "a" (nth) "-sure" } { "I know that this cannot be undone." }
                }
            }
            button type="submit" { bdi { (label(action)) } }
        }
    }
}

fn send_again(inner: &Inner, story: &Story) -> Markup {
    html! {
        form method="post" action={ "/questions/" (segment(&story.listed.id)) "/again" } {
            input type="hidden" name="token" value=(inner.form_token);
            button.second type="submit" { "Send the same answer again" }
            p.hint { "It does not answer anew: the service gets what it was sent before." }
        }
    }
}

fn timeline(story: &Story) -> Markup {
    let mut entries: Vec<(i64, Markup)> =
        story.happened.iter().map(|happened| (happened.at, told(story, happened))).collect();
    for Sent { delivery, attempts, left_out } in &story.deliveries {
        if *left_out > 0 {
            entries.push((attempts.first().map_or(0, |first| first.attempt.at), left(*left_out)));
        }
        entries.extend(attempts.iter().map(|told| (told.attempt.at, tried(told))));
        if let (None, false) = (&delivery.outcome, attempts.is_empty()) {
            entries.push((i64::MAX, html! { "It is tried again." }));
        }
        if let Some("given up" | "refused") = delivery.outcome.as_deref() {
            entries.push((i64::MAX, given_up(delivery)));
        }
    }
    entries.sort_by_key(|(at, _)| *at);
    html! {
        ol.timeline {
            @for (at, entry) in &entries {
                li { @if *at != i64::MAX { (moment_of(*at)) " " } (entry) }
            }
        }
    }
}

fn left(count: i64) -> Markup {
    html! { (count) " attempts before these are not shown; the desk's API tells them." }
}

fn given_up(delivery: &DeliveryRow) -> Markup {
    html! {
        @if delivery.outcome.as_deref() == Some("refused") {
            "The service has refused the answer, so it is not sent again by itself."
        } @else {
            "It was tried " (delivery.attempts) " times, and is not sent again by itself."
        }
    }
}

fn told(story: &Story, happened: &Happened) -> Markup {
    let detail = text(&happened.detail);
    let chosen = || story.listed.notification.find_action(&detail).map_or(&*detail, label).to_owned();
    html! {
        @match &*happened.what {
            "asked" => { "Asked by " bdi { (or(&story.listed.service_name, "a service")) } },
            "shown" => "Shown in the inbox",
            "seen" => "Opened",
            "answered" => { "Answered: " bdi { (chosen()) } },
            "handled" => { "Done: " (detail) },
            "withdrawn" => {
                "Taken back by the service"
                @if !detail.is_empty() { ": " bdi { (short(&detail, 1000)) } }
            },
            "expired" => "The time to answer passed",
            "sent again" => "Asked to send the same answer again",
            other => (other),
        }
    }
}

/// One attempt, with all that was sent and said.
fn tried(told: &AttemptTold) -> Markup {
    let attempt = &told.attempt;
    let headers: Value = serde_json::from_str(&attempt.headers).unwrap_or_default();
    let headers = headers.as_object().into_iter().flatten();
    let mut request = vec![format!("POST {}", attempt.url)];
    request.extend(headers.map(|(name, value)| format!("{name}: {}", value.as_str().unwrap_or_default())));
    request.extend([String::new(), attempt.body.clone()]);
    if told.is_cut() {
        request.push(format!("… ({} bytes in all)", told.body_bytes));
    }
    let request = request.join("\n");
    html! {
        @match attempt.status {
            Some(status) if (200..300).contains(&status) => "Sent, and the service took it",
            Some(status) if status >= 500 => { "Sent, but the service was not ready (" (status) ")" },
            Some(status) => { "Sent, but the service refused it (" (status) ")" },
            None => { "The service did not get it, or its answer was lost" },
        }
        @if let Some(fault) = &attempt.fault { " " span.tag { "on purpose: " (fault) } }
        details {
            summary { "Technical details" }
            p { "After " (attempt.micros / 1000) " ms." }
            h3 { "What was sent" }
            pre tabindex="0" { (request) }
            button.copy type="button" data-copy { "Copy" }
            h3 { "What the service said" }
            pre tabindex="0" { (attempt.answer) }
        }
    }
}
