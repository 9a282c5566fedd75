//! A developer's tool for the Agent Triage Protocol: a desk to answer at, which is an ATP server with
//! an inbox page, and the commands around it.
//!
//! It is no server for strangers' networks: it listens on this machine alone unless told otherwise.

pub mod commands;
pub mod desk;
mod https;
pub mod limits;
