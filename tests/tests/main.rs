//! Every integration test, in one binary.

#![allow(clippy::type_complexity, reason = "tables of cases")]

mod core;
mod desk;
mod layout;
mod outbox;
mod store;
mod support;
mod webhook;
