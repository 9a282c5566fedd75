//! `atp verify`: whether a webhook would accept a request that was captured, and why not.

use std::{fmt, path::PathBuf};

use atp_core::{Scheme, Signature, Verified, Verifier, VerifyError};
use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;
use serde::Serialize;

use super::{
    capture::{self, Capture},
    output::{End, Failure, Output, Shown},
    parts::{self, SchemeName},
    secret::SecretsArgs,
};

/// What to judge, and by what.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  atp verify --any-age request.http")]
pub(super) struct Verify {
    /// The request, with its headers: raw HTTP, a HAR file, or one entry of it; `-` or nothing is the
    /// standard input.
    file: Option<PathBuf>,
    /// The entry of a HAR file, counted from 0 [default: the only one with a signature].
    #[arg(long, value_name = "N")]
    entry: Option<usize>,
    /// The value of the signature header, in place of a request.
    #[arg(long, value_name = "HEADER", requires = "body", conflicts_with_all = ["file", "entry"])]
    signature: Option<String>,
    /// The file with the body that goes with --signature, byte for byte; `-` is the standard input.
    #[arg(long, value_name = "FILE", requires = "signature")]
    body: Option<PathBuf>,
    /// A scheme that is accepted; may be repeated [default: all four].
    #[arg(long, value_enum)]
    scheme: Vec<SchemeName>,
    /// The time to judge at, as 2026-01-02T03:05:06Z or in seconds since 1970 [default: now].
    #[arg(long, value_name = "TIME", value_parser = parts::time, allow_hyphen_values = true)]
    at: Option<DateTime<Utc>>,
    /// Judges the signature alone, whenever it was signed.
    #[arg(long, conflicts_with = "at")]
    any_age: bool,
    #[command(flatten)]
    secrets: SecretsArgs,
}

/// The verdict.
#[derive(Serialize)]
struct Verdict {
    accepted: bool,
    /// With its time; the request may be refused all the same.
    signature_fits: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    scheme: Option<&'static str>,
    /// 0 is the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_at: Option<String>,
    /// Before the time of the judgement.
    #[serde(skip_serializing_if = "Option::is_none")]
    age_s: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    remarks: Vec<String>,
}

impl Verify {
    pub(super) fn run(&self, output: Output) -> Result<End, Failure> {
        let verifier = self.verifier()?;
        let verdict = judge(&verifier, self.capture()?);
        output.judge(&verdict)?;
        Ok(if verdict.accepted { End::Done } else { End::Bad })
    }

    fn verifier(&self) -> Result<Verifier, Failure> {
        let mut verifier = self.secrets.verifier()?;
        if !self.scheme.is_empty() {
            verifier = verifier.schemes(self.scheme.iter().copied().map(Scheme::from));
        }
        if self.any_age {
            verifier = verifier.any_age();
        }
        let now = self.at.unwrap_or_else(Utc::now);
        Ok(verifier.clock(move || now))
    }

    fn capture(&self) -> Result<Capture, Failure> {
        if let Some(signature) = &self.signature {
            let headers = vec![(Signature::HEADER.to_owned(), signature.clone().into_bytes())];
            return Ok(Capture { headers, body: parts::read(self.body.as_ref())?, ..Capture::default() });
        }
        let bytes = parts::read(self.file.as_ref())?;
        capture::read(&bytes, self.entry)
            .map_err(|why| Failure::Unable(format!("the request cannot be read: {why}")))
    }
}

fn judge(verifier: &Verifier, capture: Capture) -> Verdict {
    let Capture { headers, body, mut remarks, refusals } = capture;
    let headers = || headers.iter().map(|(name, value)| (name, value));
    match verifier.verify(headers(), body.clone()) {
        Ok(good) => Verdict { remarks, ..fitting(good, verifier.now(), &refusals) },
        Err(error) => {
            remarks.extend(refusals);
            let (why, signature_fits) = match error {
                VerifyError::Malformed(why) => (no_answer(&why), true),
                _ => (verifier.explain(headers(), body), false),
            };
            refused(why, signature_fits, remarks)
        }
    }
}

fn no_answer(why: &impl fmt::Display) -> String {
    format!("the digest fits, and what was signed is no answer: {why}")
}

/// Of a signature that fits; the request may still be refused.
fn fitting(verified: Verified, now: DateTime<Utc>, refusals: &[String]) -> Verdict {
    let (scheme, secret, signed_at) = (verified.scheme(), verified.secret_index(), verified.signed_at());
    let malformed = verified.decode().err().map(|why| no_answer(&why));
    let head = (!refusals.is_empty()).then(|| format!("the digest fits. {}", refusals.join(" ")));
    let why: Vec<String> = malformed.into_iter().chain(head).collect();
    Verdict {
        accepted: why.is_empty(),
        signature_fits: true,
        scheme: Some(scheme.name()),
        secret: Some(secret),
        signed_at: signed_at.map(|time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
        age_s: signed_at.map(|time| (now - time).num_seconds()),
        why: (!why.is_empty()).then(|| why.join("; ")),
        remarks: Vec::new(),
    }
}

fn refused(why: String, signature_fits: bool, remarks: Vec<String>) -> Verdict {
    let (accepted, scheme, secret, signed_at, age_s) = (false, None, None, None, None);
    Verdict { accepted, signature_fits, scheme, secret, signed_at, age_s, why: Some(why), remarks }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.accepted { "accepted" } else { "refused" })?;
        if let (Some(scheme), Some(secret)) = (self.scheme, self.secret) {
            let which = if secret == 0 { " (the first)" } else { "" };
            write!(f, ": {scheme} with secret {secret}{which}")?;
        }
        match (&self.signed_at, self.age_s) {
            (Some(time), Some(age)) if age < 0 => {
                write!(f, ", signed at {time}, {} s ahead", age.saturating_neg())?;
            }
            (Some(time), Some(age)) => write!(f, ", signed at {time}, {age} s before")?,
            _ => {}
        }
        if let Some(why) = &self.why {
            write!(f, ": {}", Shown(why))?;
        }
        self.remarks.iter().try_for_each(|remark| write!(f, "\n{}", Shown(remark)))
    }
}
