//! Where an ATP server is.

use std::fmt::Write as _;

use reqwest::Url;

use super::error::ClientError;
use crate::https::is_this_machine;

/// The address of an ATP server, to which a path is added.
#[derive(Clone, Debug)]
pub(super) struct Address {
    /// Ends with a slash.
    base: String,
    /// Whether what is sent there is encrypted; else it stays on this machine.
    pub(super) is_https: bool,
}

impl Address {
    /// The server at this URL, which may have a path.
    pub(super) fn new(url: &str) -> Result<Self, ClientError> {
        let fault = |why| Err(ClientError::Address(why));
        let Ok(url) = Url::parse(url) else { return fault("is no URL") };
        if !url.has_host() {
            return fault("names no host");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return fault("has a user or a password in it: an `ApiKey` is what a service shows");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return fault("has something behind its path");
        }
        let is_https = match url.scheme() {
            "https" => true,
            "http" if is_this_machine(&url) => false,
            "http" => return fault("is not encrypted: begin it with https, unless it is this machine's own"),
            _ => return fault("does not begin with https"),
        };
        let mut base = url.to_string();
        if !base.ends_with('/') {
            base.push('/');
        }
        Ok(Self { base, is_https })
    }

    /// Where these segments of a path lead.
    pub(super) fn join(&self, segments: &[&str]) -> Result<Url, ClientError> {
        let mut url = self.base.clone();
        for (nth, segment) in segments.iter().enumerate() {
            // A URL has no way to write these three.
            match *segment {
                "" => return Err(ClientError::Id("is empty")),
                "." | ".." => return Err(ClientError::Id("is `.` or `..`")),
                _ => {}
            }
            if nth > 0 {
                url.push('/');
            }
            encode(segment, &mut url);
        }
        Url::parse(&url).map_err(|_| ClientError::Id("makes no URL"))
    }
}

/// Leaves what no reader of URLs takes for anything but itself.
fn encode(segment: &str, url: &mut String) {
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            url.push(char::from(byte));
        } else {
            // Writing to a text does not fail.
            let _ = write!(url, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_sent_encrypted_or_to_this_machine() {
        for (url, base) in [
            ("https://atp.example", Ok("https://atp.example/")),
            ("https://atp.example/", Ok("https://atp.example/")),
            ("HTTPS://ATP.example:8443/triage", Ok("https://atp.example:8443/triage/")),
            ("https://atp.example/triage/", Ok("https://atp.example/triage/")),
            ("http://localhost:8080", Ok("http://localhost:8080/")),
            ("http://127.0.0.1:8080/", Ok("http://127.0.0.1:8080/")),
            ("http://127.9.9.9", Ok("http://127.9.9.9/")),
            ("http://[::1]:8080", Ok("http://[::1]:8080/")),
            ("http://atp.example", Err("is not encrypted")),
            ("http://localhost.example", Err("is not encrypted")),
            ("http://10.0.0.1", Err("is not encrypted")),
            ("http://[::ffff:10.0.0.1]", Err("is not encrypted")),
            ("ftp://atp.example", Err("does not begin with https")),
            ("file:///etc/passwd", Err("names no host")),
            ("https://user@atp.example", Err("has a user or a password")),
            ("https://user:hunter2@atp.example", Err("has a user or a password")),
            ("https://:hunter2@atp.example", Err("has a user or a password")),
            ("https://atp.example/?key=hunter2", Err("has something behind its path")),
            ("https://atp.example/#hunter2", Err("has something behind its path")),
            ("atp.example", Err("is no URL")),
            ("", Err("is no URL")),
        ] {
            match (Address::new(url), base) {
                (Ok(address), Ok(base)) => assert_eq!(address.base, base, "{url}"),
                (Err(error), Err(part)) => {
                    let told = format!("{error} {error:?}");
                    assert!(told.contains(part) && !told.contains("hunter2"), "{url}: {told}");
                }
                (found, _) => panic!("{url}: {found:?}"),
            }
        }
    }

    #[test]
    fn any_id_that_a_url_can_write_is_one_segment() {
        let address = Address::new("https://atp.example/triage").unwrap();
        for (id, path) in [
            ("n-1", Some("/triage/v1/n-1")),
            ("a/b", Some("/triage/v1/a%2Fb")),
            ("../../services", Some("/triage/v1/..%2F..%2Fservices")),
            ("%2e%2e", Some("/triage/v1/%252e%252e")),
            ("...", Some("/triage/v1/...")),
            ("a\\b?c#d", Some("/triage/v1/a%5Cb%3Fc%23d")),
            (" \t\r\n\0", Some("/triage/v1/%20%09%0D%0A%00")),
            ("ünï", Some("/triage/v1/%C3%BCn%C3%AF")),
            ("", None),
            (".", None),
            ("..", None),
        ] {
            let found = address.join(&["v1", id]);
            assert_eq!(found.as_ref().ok().map(Url::path), path, "{id:?}");
        }
        let longest = "\u{10FFFF}".repeat(250);
        let url = address.join(&[&longest]).unwrap();
        assert_eq!(url.path().len(), "/triage/".len() + 3000);
    }
}
