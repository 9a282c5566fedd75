//! The tasks to look at: JSON for programs, a page for humans.

use actix_web::{HttpResponse, Responder, http::header, web};
use atp_actix::Error;

use crate::tasks::{Delivered, Task, Tasks};

/// `GET /tasks`
pub async fn json(tasks: web::Data<Tasks>) -> Result<impl Responder, Error> {
    Ok(web::Json(tasks.all().await?))
}

/// `GET /`
pub async fn html(tasks: web::Data<Tasks>) -> Result<impl Responder, Error> {
    let rows: String = tasks.all().await?.iter().map(row).collect();
    Ok(HttpResponse::Ok()
        .content_type(header::ContentType::html())
        .insert_header((header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"))
        .body(include_str!("page.html").replace("{rows}", &rows)))
}

fn row(task: &Task) -> String {
    format!(
        "<tr><td><b>{}</b><br>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
        escape(&task.title),
        escape(&task.description),
        escape(&task.state),
        escape(task.outcome.as_deref().unwrap_or_default()),
        escape(told(task)),
        task.deliveries.iter().map(delivered).collect::<String>(),
    )
}

/// Where the event of a decision is.
fn told(task: &Task) -> &'static str {
    match (&task.event, task.is_sent) {
        (None, _) => "",
        (Some(_), false) => "waits",
        (Some(_), true) => "sent",
    }
}

/// A line of the audit.
fn delivered(row: &Delivered) -> String {
    let Delivered { verdict, status, count, last } = row;
    format!("{count} × {} ({status}), last {}<br>", escape(verdict), last.format("%H:%M:%S"))
}

/// Text that is safe in an element and in a quoted attribute. `&` goes first.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}
