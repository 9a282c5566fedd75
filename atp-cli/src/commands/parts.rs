//! Arguments that several commands take: a scheme, a time, a duration, an address, a file.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

use atp_core::Scheme;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use clap::{Arg, Command, ValueEnum, builder::TypedValueParser, error::ErrorKind};
use reqwest::Url;

use super::output::Failure;

/// The most that is read of a file: far more than a webhook takes.
pub(super) const LONGEST_INPUT: u64 = 64 << 20;

/// The scheme to sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum SchemeName {
    /// `t=<seconds>,v1=<hex>` over the time and the body.
    Timestamped,
    /// `<hex>` over the body.
    Raw,
    /// `<hex>` over the payload as Python's `json.dumps(payload, sort_keys=True)` prints it.
    #[value(alias = "python")]
    PythonCanonical,
    /// `<hex>` over the payload as Node's `JSON.stringify(payload)` prints it.
    #[value(alias = "node")]
    NodeCompact,
}

impl From<SchemeName> for Scheme {
    fn from(name: SchemeName) -> Self {
        match name {
            SchemeName::Timestamped => Self::Timestamped,
            SchemeName::Raw => Self::Raw,
            SchemeName::PythonCanonical => Self::PythonCanonical,
            SchemeName::NodeCompact => Self::NodeCompact,
        }
    }
}

/// A time: RFC 3339, or whole seconds since 1970.
pub(super) fn time(text: &str) -> Result<DateTime<Utc>, String> {
    let of_seconds = text.parse().ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    let time = of_seconds.or_else(|| DateTime::parse_from_rfc3339(text).ok().map(Into::into));
    time.ok_or_else(|| "write it as 2026-01-02T03:05:06Z, or as seconds since 1970".to_owned())
}

/// A duration: a number with `ms`, `s` or `m`; seconds if there is no unit.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let scale = match text.get(digits.len()..) {
        Some("ms") => 0.001,
        Some("s" | "") => 1.0,
        Some("m") => 60.0,
        _ => return Err("write it as 500ms, 30s or 2m".to_owned()),
    };
    let number: f64 = digits.parse().map_err(|_| "write it as 500ms, 30s or 2m".to_owned())?;
    let duration = Duration::try_from_secs_f64(number * scale).map_err(|error| error.to_string())?;
    if duration.is_zero() || duration > Duration::from_hours(24) {
        return Err("it must be more than nothing, and a day at most".to_owned());
    }
    Ok(duration)
}

/// The address of a server.
pub(super) fn address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("it is no URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("it must begin with http:// or https:// and name a host".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "it has a user or a password in it, which the arguments of a program tell everybody".to_owned()
        );
    }
    Ok(url)
}

/// Reads an argument that may hold a password: what is wrong with it is told, and not what it is.
pub(super) fn quiet<R>(read: R) -> Quiet<R> {
    Quiet(read)
}

/// See [`quiet`].
#[derive(Clone)]
pub(super) struct Quiet<R>(R);

impl<T, R> TypedValueParser for Quiet<R>
where
    T: Clone + Send + Sync + 'static,
    R: Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static,
{
    type Value = T;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<T, clap::Error> {
        let read = value.to_str().ok_or_else(|| "it is not UTF-8".to_owned()).and_then(&self.0);
        read.map_err(|why| {
            let arg = arg.map_or_else(|| "...".to_owned(), Arg::to_string);
            let text = format!("invalid value for '{arg}': {why}\n");
            clap::Error::raw(ErrorKind::ValueValidation, text).with_cmd(command)
        })
    }
}

/// What is in a file, or comes by the standard input where there is none or it is `-`.
pub(super) fn read(file: Option<&PathBuf>) -> Result<Bytes, Failure> {
    match file.map(PathBuf::as_path).filter(|file| *file != Path::new("-")) {
        None => bounded(io::stdin().lock(), "the standard input"),
        Some(path) => {
            let name = format!("the file {}", path.display());
            let file = File::open(path)
                .map_err(|error| Failure::Unable(format!("{name} cannot be opened: {error}")))?;
            bounded(file, &name)
        }
    }
}

fn bounded(from: impl io::Read, name: &str) -> Result<Bytes, Failure> {
    let mut bytes = Vec::new();
    let read = from.take(LONGEST_INPUT + 1).read_to_end(&mut bytes);
    let read = read.map_err(|error| Failure::Unable(format!("{name} cannot be read: {error}")))?;
    if u64::try_from(read).unwrap_or(u64::MAX) > LONGEST_INPUT {
        return Err(Failure::Unable(format!("{name} is longer than {LONGEST_INPUT} bytes")));
    }
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_rfc_3339_or_seconds() {
        let expected = DateTime::from_timestamp(1_767_323_106, 0);
        for (text, found) in [
            ("2026-01-02T03:05:06Z", expected),
            ("2026-01-02T04:05:06+01:00", expected),
            ("1767323106", expected),
            ("-1", DateTime::from_timestamp(-1, 0)),
            ("9223372036854775807", None),
            ("2026-01-02", None),
            ("now", None),
            ("", None),
        ] {
            assert_eq!(time(text).ok(), found, "{text:?}");
        }
    }

    #[test]
    fn a_duration_has_a_unit_or_is_seconds() {
        for (text, millis) in [
            ("30", Some(30_000)),
            ("30s", Some(30_000)),
            ("1.5s", Some(1_500)),
            ("250ms", Some(250)),
            ("2m", Some(120_000)),
            ("0", None),
            ("-1s", None),
            ("2h", None),
            ("1e30", None),
            ("NaN", None),
            ("inf", None),
            ("s", None),
            ("ü", None),
            ("", None),
        ] {
            assert_eq!(duration(text).ok(), millis.map(Duration::from_millis), "{text:?}");
        }
    }

    #[test]
    fn an_address_is_of_a_host_by_http() {
        for (text, is_good) in [
            ("http://127.0.0.1:8080/atp/webhook", true),
            ("https://example.com", true),
            ("ftp://example.com", false),
            ("example.com", false),
            ("https://user:word@example.com", false),
            ("http://", false),
            ("", false),
        ] {
            assert_eq!(address(text).is_ok(), is_good, "{text:?}");
        }
    }

    #[test]
    fn what_is_too_long_is_refused_and_not_cut() {
        let long = bounded(io::repeat(b'x'), "it").unwrap_err().to_string();
        assert!(long.contains("longer than"), "{long}");
        assert_eq!(bounded(&b"abc"[..], "it").unwrap(), "abc");
    }
}
