//! What waits, and what was answered.

use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    layout::{self, moment, segment, short},
    markdown, visitor,
};
use crate::{
    desk::{
        api::shown,
        inner::Inner,
        records::{Filter, Listed},
        refusal::Refusal,
    },
    limits::PAGE,
};

#[derive(Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    show: String,
    #[serde(default)]
    words: String,
    #[serde(default)]
    skip: u32,
}

/// The inbox.
pub(super) async fn page(
    inner: web::Data<Inner>,
    request: HttpRequest,
    asked: web::Query<Asked>,
) -> HttpResponse {
    if !visitor::is_known(&inner, &request) {
        return visitor::to_the_door();
    }
    match content(&inner, &asked).await {
        Ok(content) => layout::page(&inner, "Inbox", Some("/"), &content),
        Err(refusal) => layout::refusal(&inner, &refusal),
    }
}

async fn content(inner: &Inner, asked: &Asked) -> Result<Markup, Refusal> {
    let now = inner.now();
    inner.records.expire(now).await?;
    let filter = Filter::of_name(&asked.show).unwrap_or_default();
    let (listed, count) = inner.records.list(filter, &asked.words, asked.skip).await?;
    for question in &listed {
        shown(inner, question, now).await?;
    }
    let counts = inner.records.counts().await?;
    Ok(html! {
        h1 { "Inbox" }
        form.search method="get" action="/" role="search" {
            input type="hidden" name="show" value=(filter.name());
            label for="words" { "Search titles" }
            input id="words" name="words" type="search" value=(asked.words);
            button type="submit" { "Search" }
        }
        nav.filters aria-label="Which questions" {
            @for (one, count) in Filter::ALL.into_iter().zip(counts) {
                a href={ "/?show=" (one.name()) } aria-current=[(one == filter).then_some("true")] {
                    (words_of(one)) " (" (count) ")"
                }
            }
        }
        section #list data-live aria-label="Questions" {
            @if listed.is_empty() {
                p.empty { (nothing(filter)) }
            }
            ul.questions {
                @for question in &listed { (item(question, now)) }
            }
            (turn(asked, filter, count))
        }
    })
}

fn words_of(filter: Filter) -> &'static str {
    match filter {
        Filter::Waiting => "Waiting",
        Filter::Answered => "Answered",
        Filter::Expired => "Too late",
        Filter::Withdrawn => "Taken back",
        Filter::All => "All",
    }
}

fn nothing(filter: Filter) -> &'static str {
    match filter {
        Filter::Waiting => "Nothing waits for you.",
        _ => "There is nothing here.",
    }
}

fn item(question: &Listed, now: DateTime<Utc>) -> Markup {
    let notification = &question.notification;
    html! {
        li {
            a href={ "/questions/" (segment(&question.id)) } {
                bdi { (short(&notification.context.title, 200)) }
            }
            @if let Some(project) = &notification.context.project {
                " " span.tag { bdi { (short(project, 60)) } }
            }
            p.about { bdi { (short(&markdown::words(&notification.context.description), 160)) } }
            (deadline(question, now))
        }
    }
}

/// Until when there is time, counting down.
pub(super) fn deadline(question: &Listed, now: DateTime<Utc>) -> Markup {
    use atp_core::Status;
    let is_open = matches!(question.status, Status::Created | Status::Delivered | Status::Acknowledged);
    html! {
        @if let (Some(deadline), true) = (question.notification.deadline, is_open) {
            p.deadline {
                "Answer by " (moment(deadline))
                " " span data-until=(deadline.timestamp_millis()) data-now=(now.timestamp_millis()) {}
            }
        }
    }
}

fn turn(asked: &Asked, filter: Filter, count: i64) -> Markup {
    let (skip, page) = (i64::from(asked.skip), i64::from(PAGE));
    let to = |skip: i64| format!("/?show={}&words={}&skip={skip}", filter.name(), segment(&asked.words));
    html! {
        @if count > page {
            nav.turn aria-label="Turn the page" {
                @if skip > 0 { a href=(to((skip - page).max(0))) { "Newer" } }
                span { (skip + 1) " to " ((skip + page).min(count)) " of " (count) }
                @if skip + page < count { a href=(to(skip + page)) { "Older" } }
            }
        }
    }
}
