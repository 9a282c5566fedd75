//! Every integration test, in one binary.

#![allow(clippy::type_complexity, reason = "tables of cases")]

mod attacks;
mod canonical;
mod careless;
mod cases;
mod clusters;
mod compositions;
mod databases;
mod decisions;
mod differential;
mod durable;
mod external;
mod faults;
mod hmac;
mod hostile;
mod hostile_answers;
mod http_signatures;
mod kills;
mod layout;
mod logged;
mod model;
mod mounting;
mod outages;
mod postgres;
mod races;
mod redrives;
mod replayed;
mod responses;
mod schemas;
mod senders;
mod server;
mod signatures;
mod silence;
mod stores;
mod timestamps;
mod transactions;
mod watched;
mod webhook;
