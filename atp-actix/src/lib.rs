//! Webhooks of the Agent Triage Protocol (ATP) for actix-web: a human's answer, verified, validated
//! and typed.
//!
//! An AI service asks a human for a decision. The ATP server posts the answer to the service's
//! webhook, signed with HMAC-SHA256. This crate mounts that webhook: nothing that was not signed
//! reaches a handler, and a handler gets the answer as the type it asked for.
//!
//! ```
//! use actix_web::{App, HttpServer, test};
//! use atp_actix::{AtpResponse, Error, Form, Secret, Simple, Verifier, Webhook, test::Sender};
//!
//! #[derive(serde::Deserialize)]
//! struct Rejection {
//!     reason: Option<String>,
//! }
//!
//! async fn approve(answer: AtpResponse<Simple>) -> Result<(), Error> {
//!     std::fs::write(std::env::temp_dir().join("approved"), &answer.notification_id)?;
//!     Ok(())
//! }
//!
//! async fn reject(answer: AtpResponse<Form<Rejection>>) -> String {
//!     answer.into_data().reason.unwrap_or_default()
//! }
//!
//! # #[actix_web::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let secret = "whsec_0123456789abcdef0123456789abcdef"; // Secret::from_env("ATP_WEBHOOK_SECRET")
//! let verifier = Verifier::new(Secret::new(secret)?);
//! let app = move || {
//!     let webhook = Webhook::new("/atp/webhook", verifier.clone());
//!     App::new().service(webhook.on("approve", approve).on("reject", reject))
//! };
//! let server = HttpServer::new(app.clone()).bind("127.0.0.1:0")?; // and .run().await
//!
//! // In your tests you are the ATP server.
//! let service = test::init_service(app()).await;
//! let answer = Sender::new(secret).answer("n-1", "approve", ());
//! let response = test::call_service(&service, answer.post_to("/atp/webhook").to_request()).await;
//! assert_eq!(response.status(), 200);
//! assert_eq!(test::read_body(response).await, r#"{"status":"success"}"#);
//!
//! let response = test::call_service(&service, answer.forged().post_to("/atp/webhook").to_request()).await;
//! assert_eq!(response.status(), 401);
//! assert_eq!(test::read_body(response).await, r#"{"error":"Invalid signature"}"#);
//! # Ok(())
//! # }
//! ```
//!
//! # What is where
//!
//! * [`Webhook`] mounts a path and routes answers by action. [`VerifySignature`] is the middleware
//!   in it, for routes of your own, with the guards in [`guard`].
//! * [`AtpResponse`] is the answer with its data as a response type; [`Delivery`] is how it came.
//! * [`store`] turns verified into took effect, once: [`Webhook::store`]. With it [`Correlation`]
//!   is what was asked, [`Transaction`] commits a handler's own work with the decision, and
//!   [`Task`] sets what becomes of the task.
//!   [`Decisions`] has the settings that go with a store, and the times.
//! * [`Report`] tells what became of a delivery: [`Webhook::observe`]. The feature `metrics` makes
//!   metrics of it, and of what a relay sends.
//! * [`Health`] answers the probes of a readiness route.
//! * [`Relay`] sends what the store holds, as its [`Routes`](store::Routes) and a handler's [`Events`]
//!   have it, to its [`Sink`]s: [`ChannelSink`] to a task of this
//!   process, `HttpSink` to an HTTP receiver as CloudEvents, `NatsSink` to NATS JetStream.
//! * [`Client`] calls an ATP server; [`AtpSink`] is how a relay sends it the questions that are
//!   recorded, and what became of them (feature `client`).
//! * [`Refusal`] is the table of what is answered when; [`ErrorReply`] is how a handler refuses,
//!   and [`Error`] what its `?` turns into.
//! * [`limits`] has the numbers that bound what you meet, each with its reason.
//! * [`mod@test`] signs requests as an ATP server does.
//! * [`atp_core`] has the wire types, the verifier and the validation, without a framework.
//!
//! # From the guide to here
//!
//! The protocol's guide builds a webhook from a dozen functions. They are here under other names:
//!
//! | the guide | here |
//! |---|---|
//! | `handle_atp_webhook` | [`Webhook`] |
//! | `verify_signature` | [`VerifySignature`], [`Verifier::verify`] |
//! | `validate_response` | [`AtpResponse<R>`](AtpResponse); against the action: [`Response::fits`](atp_core::Response::fits) |
//! | `handle_text_response` | a handler that takes `AtpResponse<Text>` |
//! | `handle_form_response` | a handler that takes `AtpResponse<Form<T>>`; where a field is missing it does not run, and the log says so |
//! | file responses | a handler that takes `AtpResponse<File>` |
//! | `process_response` | `.on("approve", ..)` and `.on("reject", ..)`; data that may be missing is `AtpResponse<Option<R>>` |
//! | `handle_webhook_with_retry` | `?` in a handler that returns `Result<_, Error>`: 503, so that the server delivers again |
//! | `verify_response_timestamp` | [`Verifier::tolerance`], always on |
//! | `verify_notification_id` | [`Webhook::store`]: an answer to what was not recorded is refused |
//! | `correlate_response` | a handler that takes [`Correlation`] |
//! | `update_task_state` | [`Task`]; the action's id unless set |
//! | `transform_response_for_downstream` | [`UserDecision::new`] |
//! | database transactions, idempotency | a handler that takes [`Transaction`]; [`Delivery::decision_id`] |
//!
//! # Logs
//!
//! They are events of the crate `tracing`, so they show once the service has a subscriber, such as
//! `tracing_subscriber::fmt().init()` at the start of `main`.
//!
//! One event a delivery in the target `atp_actix`, when it is known what became of it: `info` when
//! handled, `warn` when a signed delivery is refused, `error` when it failed, with the request id,
//! notification, action, scheme, secret, verdict, status, duration and reason. A handler that
//! outlived the time that its sender waits is told as what it came to, with what the sender was
//! told in `told`. Deliveries without a valid signature are told at `info`. What is
//! handled is told each time. Whatever can be had again by sending the same again (replays,
//! refusals, failures, and what is unsigned) is told ten times a second by each worker of a
//! webhook, each of these kinds apart, and the next event says in `untold` how many were not. At
//! `debug`, the target `atp_actix::explain` says why a signature does not fit (see
//! [`Verifier::explain`]). Secrets, signatures and the values of answers are in none of them.
//!
//! A delivery is handled in a span named `delivery`, with `notification_id`, `action_id` and, where
//! there is a store, `decision_id`; an event is sent in one named `send`, with the event's id and
//! kind, and the `traceparent` that [`Decisions::traceparent`] gave it.
//!
//! # Features
//!
//! * `sqlite` (default): [`store::SqliteStore`]. Handlers that write in its transactions need sqlx
//!   0.9, the version that `atp_actix::sqlx` is.
//! * `postgres`: `store::PostgresStore`, with the same sqlx.
//! * `postgres-tls`: TLS to PostgreSQL, by rustls with ring; `sslmode=verify-full` trusts whom the
//!   system trusts. Without it a connection is not encrypted, and one that must be is an error.
//! * `metrics`: tells the recorder of the crate `metrics` of deliveries, secrets, clocks and what
//!   waits to be sent; the module `metrics` has the table.
//! * `outbox-http`: `HttpSink`, which posts events to a receiver, as CloudEvents, signed if asked. It
//!   brings `reqwest` and `rustls` with `ring`.
//! * `nats`: `NatsSink`, which publishes events to NATS JetStream, with async-nats 0.51, the version
//!   that `atp_actix::async_nats` is. TLS to NATS is by rustls with ring: a program that has another
//!   provider of rustls too chooses one, by `CryptoProvider::install_default`.
//! * `client`: [`Client`], the calls to an ATP server, and [`AtpSink`], which sends questions by it. TLS is
//!   rustls with ring, and trusts whom the system trusts.
//! * `json-schema`: judges `json` answers by the JSON Schema of their action. Without it a question that
//!   has one is refused, by `Store::record` and `Client::notify`.
//! * `test-util`: the module [`mod@test`], `store::contract` and `store::outbox_contract`, for your own
//!   tests. Give it to your dev-dependency.

mod age;
mod backoff;
mod body;
mod claim_cell;
#[cfg(feature = "client")]
pub mod client;
mod counters;
mod decide;
mod decisions;
mod delivery;
mod error;
mod explain;
mod extract;
pub mod guard;
mod handler;
mod head;
mod health;
#[cfg(any(feature = "client", feature = "outbox-http"))]
mod https;
pub mod limits;
mod log;
#[cfg(feature = "metrics")]
pub mod metrics;
mod mounted;
mod outbox;
mod refusal;
mod reply;
mod report;
mod reporter;
#[cfg(any(feature = "client", feature = "outbox-http"))]
mod retry_after;
pub mod store;
#[cfg(feature = "test-util")]
pub mod test;
mod times;
mod verify;
mod webhook;

pub use atp_core;
pub use atp_core::{
    Binary, Choice, File, FileContent, Form, Json, MultiChoice, Number, RawJson, ResponseType, Scheme,
    Secret, SecretError, Select, Simple, Text, UserDecision, Verifier, Violation, Violations,
};

/// The sqlx that the stores are built on. What a handler runs in its [`Transaction`] must be of this
/// version, 0.9: a program that has another one beside it finds its queries refused by the compiler.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use sqlx;

/// The async-nats that [`NatsSink`] takes a client of, 0.51: with its feature `jetstream` it also makes
/// streams and reads them.
#[cfg(feature = "nats")]
pub use async_nats;

pub use body::RefusalBody;
#[cfg(feature = "client")]
pub use client::{ApiKey, Client, ClientError};
pub use decisions::Decisions;
pub use delivery::Delivery;
pub use error::Error;
#[cfg(feature = "postgres")]
pub use extract::PostgresTransaction;
#[cfg(feature = "sqlite")]
pub use extract::SqliteTransaction;
pub use extract::{AtpResponse, Correlation, Deferred, Events, Raw, Task, Transaction};
pub use health::Health;
#[cfg(feature = "client")]
pub use outbox::AtpSink;
pub use outbox::{ChannelReceiver, ChannelSink, Received, Relay, RunningRelay, SendError, Sink};
#[cfg(feature = "outbox-http")]
pub use outbox::{HttpSink, HttpSinkError};
#[cfg(feature = "nats")]
pub use outbox::{NatsSink, NatsSubjectError};
pub use refusal::Refusal;
pub use reply::ErrorReply;
pub use report::Report;
pub use verify::{VerifySignature, Verifying};
pub use webhook::Webhook;

/// The code of both READMEs, compiled.
#[cfg(all(doctest, feature = "client", feature = "outbox-http", feature = "sqlite"))]
#[doc = include_str!("../README.md")]
#[doc = include_str!("../../README.md")]
pub struct Readme;
