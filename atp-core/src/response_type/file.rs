//! Files: a name, a type, and bytes or an address.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;

use super::{
    ResponseType,
    data::Data,
    violation::{Violation, Violations},
};
use crate::{json::Kind, limits, response::RawJson};

/// `file`: a file's name and type, and its bytes or where they are. Nothing is fetched. The
/// members' names are inferred.
///
/// An address is one of `http` or `https` with a host, spelled in the ASCII of RFC 3986, of at most
/// 2,048 bytes. A member that is `null` is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct File {
    /// `name`. It came from outside: never use it as a path.
    pub name: String,
    /// `content_type`. It came from outside: the bytes may be something else.
    pub content_type: Option<String>,
    /// `size` in bytes; that of the bytes if they are here. Of a URL it is what the answer says.
    pub size: Option<u64>,
    /// `data` or `url`.
    pub content: FileContent,
}

/// Where a file's bytes are.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileContent {
    /// The bytes that came with the answer, decoded from Base64.
    Bytes(Bytes),
    /// The address where they are. It came from outside: before you fetch it, see where it leads.
    Url(String),
}

impl fmt::Debug for FileContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
            Self::Url(_) => f.write_str("Url(..)"),
        }
    }
}

impl ResponseType for File {
    type Data = Self;

    fn read(data: Option<&RawJson>) -> Result<Self, Violations> {
        let data = Data::required(data)?;
        data.object()?;
        let mut wrong = Vec::new();
        let mut text = |name: &str| {
            let value = data.member(name).filter(|value| data.kind(*value) != Kind::Null)?;
            match data.string(value) {
                Ok(text) => Some(text.into_owned()),
                Err(violation) => {
                    wrong.push(violation);
                    None
                }
            }
        };
        let (name, content_type) = (text("name"), text("content_type"));
        let (base64, url) = (text("data"), text("url"));
        let size = data.member("size").filter(|value| data.kind(*value) != Kind::Null);
        let size = size.and_then(|value| {
            let size = data.index.raw(value).parse::<u64>();
            size.map_err(|_| wrong.push(data.violation(value, "must be a whole number of bytes"))).ok()
        });
        if data.member("name").is_none_or(|value| data.kind(value) == Kind::Null) {
            wrong.push(Violation::new("/name", "is required", "nothing"));
        }
        let content = file_content(&data, base64, url, size, &mut wrong);
        match (name, content) {
            (Some(name), Some(content)) if wrong.is_empty() => {
                let here = match &content {
                    FileContent::Bytes(bytes) => u64::try_from(bytes.len()).ok(),
                    FileContent::Url(_) => None,
                };
                Ok(Self { name, content_type, size: here.or(size), content })
            }
            _ => {
                Violations::none_in(wrong)?;
                Err(data.violation(0, "must be a file").into())
            }
        }
    }
}

fn file_content(
    data: &Data<'_>,
    base64: Option<String>,
    url: Option<String>,
    size: Option<u64>,
    wrong: &mut Vec<Violation>,
) -> Option<FileContent> {
    match (base64, url) {
        (Some(base64), None) => {
            let Ok(bytes) = STANDARD.decode(&base64) else {
                let found = format!("{} characters that are not", base64.chars().count());
                wrong.push(Violation::new("/data", "must be Base64 with padding", found));
                return None;
            };
            if size.is_some_and(|size| u64::try_from(bytes.len()) != Ok(size)) {
                let found = format!("{} bytes in `data`", bytes.len());
                wrong.push(Violation::new("/size", "must be the size of `data`", found));
            }
            Some(FileContent::Bytes(bytes.into()))
        }
        (None, Some(url)) => {
            if !is_address(&url) {
                let rule = "must be an http or https address with a host, in printable ASCII, of at most 2,048 characters";
                wrong.push(Violation::new(
                    "/url",
                    rule,
                    format!("{} characters that are not", url.chars().count()),
                ));
            }
            Some(FileContent::Url(url))
        }
        (Some(_), Some(_)) => {
            wrong.push(Violation::new("", "must have either `data` or `url`", "both"));
            None
        }
        (None, None) => {
            // A member of the wrong kind has been told already.
            let is_there = |name| data.member(name).is_some_and(|value| data.kind(value) != Kind::Null);
            if !is_there("data") && !is_there("url") {
                wrong.push(Violation::new("", "must have either `data` or `url`", "neither"));
            }
            None
        }
    }
}

/// Whether it is an address as RFC 3986 spells one: of `http` or `https`, with a host, and nothing
/// that would end a line of a header or be read as another address by a browser.
fn is_address(url: &str) -> bool {
    let rest = ["https://", "http://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    let authority = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let is_spelled = url.bytes().all(|byte| byte.is_ascii_graphic() && !br#"<>"\^`{|}"#.contains(&byte));
    url.len() <= limits::FILE_URL && is_spelled && !host.is_empty() && !host.starts_with(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_name_and_either_bytes_or_an_address() {
        let long = |len: usize| "a".repeat(len - "https://example.com/".len());
        for (members, fits) in [
            (r#""data":"aGk=""#.to_owned(), true),
            (r#""data":"aGk=","url":null"#.to_owned(), true),
            (r#""data":null"#.to_owned(), false),
            (r#""data":null,"url":null"#.to_owned(), false),
            (r#""data":7"#.to_owned(), false),
            (r#""url":"https://example.com/a?b#c""#.to_owned(), true),
            (r#""url":"http://[::1]:8080/""#.to_owned(), true),
            (r#""url":"http://user@example.com""#.to_owned(), true),
            (r#""url":"http:// ""#.to_owned(), false),
            (r#""url":"http://""#.to_owned(), false),
            (r#""url":"http:///a""#.to_owned(), false),
            (r#""url":"http://:80/a""#.to_owned(), false),
            (r#""url":"http://user@/a""#.to_owned(), false),
            (r#""url":"http://?a""#.to_owned(), false),
            (r#""url":"https://example.com/\r\nx: y""#.to_owned(), false),
            (r#""url":"https://example.com/a b""#.to_owned(), false),
            (r#""url":"https://example.com/\u007f""#.to_owned(), false),
            (r#""url":"https://exämple.com/""#.to_owned(), false),
            (r#""url":"https://example.com\\@evil.example/""#.to_owned(), false),
            (r#""url":"ftp://example.com/""#.to_owned(), false),
            (format!(r#""url":"https://example.com/{}""#, long(2048)), true),
            (format!(r#""url":"https://example.com/{}""#, long(2049)), false),
        ] {
            let data = RawJson::new(format!(r#"{{"name":"n",{members}}}"#)).unwrap();
            let read = File::read(Some(&data));
            assert_eq!(read.is_ok(), fits, "{members:.80}");
            assert!(read.err().is_none_or(|error| error.iter().count() == 1), "{members:.80}");
        }
    }
}
