//! What waits, and what was answered.

use actix_web::{HttpRequest, HttpResponse, web};
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    layout::{self, moment, segment, short, title},
    markdown, visitor,
};
use crate::{
    desk::{
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
    let (mut listed, count) = inner.records.list(filter, &asked.words, asked.skip).await?;
    inner.records.show(&mut listed, now).await?;
    let counts = inner.records.counts().await?;
    Ok(html! {
        h1 { "Inbox" }
        form.search method="get" action="/" role="search" {
            input type="hidden" name="show" value=(filter.name());
            label for="words" { "Search titles" }
            input id="words" name="words" type="search" value=(asked.words);
            button type="submit" { "Search" }
        }
        nav.filters #filters data-live aria-label="Which questions" {
            @for (one, count) in Filter::ALL.into_iter().zip(counts) {
                a href=(address(one, &asked.words, 0)) aria-current=[(one == filter).then_some("true")] {
                    (words_of(one)) " (" (count) ")"
                }
            }
        }
        section #list data-live aria-label="Questions" {
            @if listed.is_empty() {
                p.empty { (nothing(filter)) }
            }
            ul.questions {
                @for question in &listed { (item(question)) }
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

fn item(question: &Listed) -> Markup {
    let notification = &question.notification;
    html! {
        li {
            a href={ "/questions/" (segment(&question.id)) } {
                bdi { (short(title(notification), 200)) }
            }
            @if let Some(project) = &notification.context.project {
                " " span.tag { bdi { (short(project, 60)) } }
            }
            p.about { bdi { (short(&markdown::words(&notification.context.description), 160)) } }
            (deadline(question))
        }
    }
}

/// Until when there is time, counting down.
pub(super) fn deadline(question: &Listed) -> Markup {
    use atp_core::Status;
    let is_open = matches!(question.status, Status::Created | Status::Delivered | Status::Acknowledged);
    html! {
        @if let (Some(deadline), true) = (question.notification.deadline, is_open) {
            p.deadline {
                "Answer by " (moment(deadline))
                " " span data-until=(deadline.timestamp_millis()) {}
            }
        }
    }
}

/// Where a part of the questions is shown: what is left out of it is as it is by itself.
fn address(filter: Filter, words: &str, skip: i64) -> String {
    let words = if words.is_empty() { String::new() } else { format!("&words={}", segment(words)) };
    let skip = if skip == 0 { String::new() } else { format!("&skip={skip}") };
    format!("/?show={}{words}{skip}", filter.name())
}

fn turn(asked: &Asked, filter: Filter, count: i64) -> Markup {
    let (skip, page) = (i64::from(asked.skip), i64::from(PAGE));
    let to = |skip: i64| address(filter, &asked.words, skip);
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
