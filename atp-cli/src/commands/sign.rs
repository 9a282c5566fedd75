//! `atp sign`: the signature header of a body.

use std::{fmt, path::PathBuf};

use atp_core::{Scheme, Signature, Verifier};
use chrono::{DateTime, Utc};
use clap::Args;
use serde::Serialize;

use super::{
    delivery,
    output::{End, Failure, Output},
    parts::{self, SchemeName},
    secret::SecretArgs,
};

/// What to sign, and how.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  atp sign --scheme raw answer.json")]
pub(super) struct Sign {
    /// The body, byte for byte; `-` or nothing is the standard input.
    file: Option<PathBuf>,
    /// The scheme to sign in.
    #[arg(long, value_enum, default_value = "timestamped")]
    scheme: SchemeName,
    /// The time to sign at, as 2026-01-02T03:05:06Z or in seconds since 1970 [default: now]. Only
    /// the scheme timestamped has one.
    #[arg(long, value_name = "TIME", value_parser = parts::time, allow_hyphen_values = true)]
    at: Option<DateTime<Utc>>,
    #[command(flatten)]
    secret: SecretArgs,
}

/// A header that was made.
#[derive(Serialize)]
struct Signed {
    header: &'static str,
    value: String,
    scheme: &'static str,
}

impl Sign {
    pub(super) fn run(&self, output: Output) -> Result<End, Failure> {
        let (scheme, at) = (Scheme::from(self.scheme), self.at.unwrap_or_else(Utc::now));
        let verifier = Verifier::new(self.secret.secret()?);
        let body = parts::read(self.file.as_ref())?;
        let value = delivery::sign(&verifier, scheme, &body, at)?;
        output.print(&Signed { header: Signature::HEADER, value, scheme: scheme.name() })?;
        Ok(End::Done)
    }
}

impl fmt::Display for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.header, self.value)
    }
}
