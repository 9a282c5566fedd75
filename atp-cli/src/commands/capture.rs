//! A request to a webhook as somebody has written it down: a raw HTTP request, or a HAR file.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::Deserialize;

/// A request that was captured.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Capture {
    /// Names and values, in their order.
    pub(super) headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub(super) body: Bytes,
    /// What is odd about the capture itself, in whole sentences.
    pub(super) remarks: Vec<String>,
}

/// Reads a raw HTTP request, or a HAR file or one entry of it, whichever it is.
pub(super) fn read(bytes: &Bytes, entry: Option<usize>) -> Result<Capture, String> {
    // As some editors begin a file.
    let bytes = &bytes.slice_ref(bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes));
    let is_json = bytes.trim_ascii_start().first() == Some(&b'{');
    let (method, mut capture) = match (is_json, entry) {
        (true, entry) => har(bytes, entry)?,
        (false, None) => raw(bytes)?,
        (false, Some(_)) => return Err("--entry chooses an entry of a HAR file, and this is none".to_owned()),
    };
    capture.remark_on_head(&method);
    Ok(capture)
}

impl Capture {
    /// Tells for what a webhook refuses the request, however it is signed.
    fn remark_on_head(&mut self, method: &str) {
        if method != "POST" {
            self.remarks.push("The method is not POST, which a webhook refuses with 405.".to_owned());
        }
        if !is_json(&value(&self.headers, "content-type").unwrap_or_default()) {
            self.remarks.push(
                "The content type is not application/json in UTF-8, which a webhook refuses with 415."
                    .to_owned(),
            );
        }
        if let Some(encoding) =
            value(&self.headers, "content-encoding").filter(|encoding| encoding != "identity")
        {
            self.remarks.push(format!("The body is encoded ({encoding}), which a webhook refuses with 415."));
        }
    }
}

/// Whether it is `application/json`, in UTF-8 if it says.
fn is_json(media_type: &str) -> bool {
    let mut parts = media_type.split(';').map(str::trim);
    parts.next() == Some("application/json")
        && parts
            .filter_map(|part| part.strip_prefix("charset="))
            .all(|name| name.trim_matches('"') == "utf-8")
}

/// The first value of a header, in lower case.
fn value(headers: &[(String, Vec<u8>)], name: &str) -> Option<String> {
    let mut values = headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
    values.next().map(|(_, value)| String::from_utf8_lossy(value).to_ascii_lowercase())
}

/// A request line, headers, an empty line, and the body. Lines may end in LF alone, as an editor
/// leaves them.
fn raw(bytes: &Bytes) -> Result<(String, Capture), String> {
    let (request, mut at) = line(bytes, 0).ok_or("it is empty")?;
    let request = String::from_utf8_lossy(request);
    let words: Vec<&str> = request.split(' ').collect();
    if !matches!(&*words, [_, _, version] if version.starts_with("HTTP/")) {
        return Err(
            "line 1 is no request line, such as `POST /atp/webhook HTTP/1.1`; give a whole HTTP request, a \
                    HAR entry, or --signature and --body"
                .to_owned(),
        );
    }
    let mut headers = Vec::new();
    for number in 2.. {
        let Some((text, next)) = line(bytes, at) else {
            return Err("there is no empty line that ends the headers, so there is no body".to_owned());
        };
        at = next;
        if text.is_empty() {
            break;
        }
        headers.push(
            header(text).ok_or_else(|| format!("line {number} is no header: it has no name and colon"))?,
        );
    }
    let method = words.first().copied().unwrap_or_default().to_owned();
    Ok((method, body(headers, bytes.slice(at.min(bytes.len())..))?))
}

/// The line at this place without its end, and where the next begins; nothing behind the last.
fn line(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
    let len = rest.iter().position(|byte| *byte == b'\n');
    let text = rest.get(..len.unwrap_or(rest.len()))?;
    let next = at + len.map_or(rest.len(), |len| len + 1);
    Some((text.strip_suffix(b"\r").unwrap_or(text), next))
}

fn header(text: &[u8]) -> Option<(String, Vec<u8>)> {
    let colon = text.iter().position(|byte| *byte == b':').filter(|colon| *colon > 0)?;
    let (name, value) = text.split_at_checked(colon)?;
    let name = std::str::from_utf8(name).ok().filter(|name| !name.contains(char::is_whitespace))?;
    Some((name.to_owned(), value.get(1..)?.trim_ascii().to_vec()))
}

/// The body that the headers announce.
fn body(headers: Vec<(String, Vec<u8>)>, rest: Bytes) -> Result<Capture, String> {
    let mut remarks = Vec::new();
    let body = if value(&headers, "transfer-encoding").is_some_and(|coding| coding.ends_with("chunked")) {
        // Tools that write requests down often write them decoded.
        chunked(&rest).unwrap_or_else(|| {
            remarks.push(
                "The headers say that the body is chunked, and it is not: it is read as it is.".to_owned(),
            );
            rest.clone()
        })
    } else {
        announced(rest, value(&headers, "content-length").as_deref(), &mut remarks)?
    };
    Ok(Capture { headers, body, remarks })
}

fn announced(rest: Bytes, len: Option<&str>, remarks: &mut Vec<String>) -> Result<Bytes, String> {
    let Some(len) = len else { return Ok(rest) };
    let len: usize = len.parse().map_err(|_| "the header Content-Length is no number".to_owned())?;
    if len < rest.len() {
        let more = rest.len() - len;
        remarks.push(format!("What is behind Content-Length was left out: {more} bytes."));
    } else if len > rest.len() {
        let (found, missing) = (rest.len(), len - rest.len());
        remarks.push(format!("The body has {found} bytes, {missing} fewer than Content-Length says: it was cut, or its line ends were changed."));
    }
    Ok(rest.slice(..len.min(rest.len())))
}

/// A body in chunks, put together; nothing if it is not.
fn chunked(rest: &Bytes) -> Option<Bytes> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let (size, next) = line(rest, at)?;
        let size = std::str::from_utf8(size).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(body.into());
        }
        let end = next.checked_add(size)?;
        body.extend_from_slice(rest.get(next..end)?);
        let (nothing, next) = line(rest, end)?;
        if !nothing.is_empty() {
            return None;
        }
        at = next;
    }
}

/// A HAR file, or one entry of it.
#[derive(Deserialize)]
struct Har {
    log: Option<Log>,
    request: Option<Request>,
}

#[derive(Deserialize)]
struct Log {
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    request: Request,
}

#[derive(Deserialize)]
struct Request {
    method: String,
    headers: Vec<Header>,
    #[serde(rename = "postData")]
    post_data: Option<PostData>,
}

#[derive(Deserialize)]
struct Header {
    name: String,
    value: String,
}

#[derive(Deserialize)]
struct PostData {
    #[serde(default)]
    text: String,
    // Chrome's name, and that of others.
    #[serde(alias = "_encoding")]
    encoding: Option<String>,
}

fn har(bytes: &[u8], entry: Option<usize>) -> Result<(String, Capture), String> {
    let har: Har = serde_json::from_slice(bytes)
        .map_err(|error| format!("it begins as JSON, and is no HAR file nor an entry of one: {error}"))?;
    let request = match (har.log, har.request, entry) {
        (None, Some(request), None) => request,
        (None, Some(_), Some(_)) => {
            return Err("--entry chooses an entry of a HAR file, and this is one entry".to_owned());
        }
        (Some(log), _, entry) => chosen(log.entries, entry)?,
        (None, None, _) => return Err("the JSON has neither `log` nor `request`: it is no HAR".to_owned()),
    };
    let headers =
        request.headers.into_iter().map(|header| (header.name, header.value.into_bytes())).collect();
    let Some(data) = request.post_data else {
        return Err("the request of the HAR has no `postData`: it was captured without its body".to_owned());
    };
    let body = match data.encoding.as_deref() {
        Some("base64") => {
            STANDARD.decode(data.text).map_err(|error| format!("`postData.text` is no Base64: {error}"))?
        }
        _ => data.text.into_bytes(),
    };
    Ok((request.method, Capture { headers, body: body.into(), remarks: Vec::new() }))
}

/// The entry that was asked for, or the only one that has a signature.
fn chosen(entries: Vec<Entry>, entry: Option<usize>) -> Result<Request, String> {
    let count = entries.len();
    let is_signed = |entry: &Entry| {
        let mut headers = entry.request.headers.iter();
        headers.any(|header| header.name.eq_ignore_ascii_case(atp_core::Signature::HEADER))
    };
    let signed: Vec<usize> =
        entries.iter().enumerate().filter(|(_, entry)| is_signed(entry)).map(|(at, _)| at).collect();
    let at = match (entry, &*signed) {
        (Some(at), _) => at,
        (None, [only]) => *only,
        (None, []) => {
            return Err(format!(
                "none of the {count} entries of the HAR has a signature header: choose one by --entry N, counted from 0"
            ));
        }
        (None, several) => {
            let first: Vec<String> = several.iter().take(20).map(usize::to_string).collect();
            return Err(format!(
                "several entries of the HAR have a signature header ({}): choose one by --entry N, counted from 0",
                first.join(", ")
            ));
        }
    };
    let chosen = entries.into_iter().nth(at);
    Ok(chosen
        .ok_or_else(|| format!("the HAR has {count} entries, counted from 0, and none is {at}"))?
        .request)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Capture, String> {
        super::read(&Bytes::copy_from_slice(text.as_bytes()), None)
    }

    #[test]
    fn a_raw_request_is_read_with_either_line_end_and_up_to_its_announced_length() {
        let head = "POST /atp/webhook HTTP/1.1\r\nContent-Type: application/json; charset=utf-8\r\nX-ATP-Signature:  abc \r\n";
        for (text, body, remarks) in [
            (format!("{head}Content-Length: 2\r\n\r\n{{}}"), "{}", 0),
            (format!("{head}Content-Length: 2\r\n\r\n{{}}\n"), "{}", 1),
            (format!("{head}Content-Length: 9\r\n\r\n{{}}"), "{}", 1),
            (format!("{head}\r\n{{}}\n"), "{}\n", 0),
            (format!("{head}\r\n{{\r\n}}"), "{\r\n}", 0),
            (format!("{head}\r\n"), "", 0),
            (format!("\u{feff}{head}\r\n{{}}"), "{}", 0),
            (head.replace("\r\n", "\n") + "\n{\n\n}", "{\n\n}", 0),
            (format!("{head}Transfer-Encoding: chunked\r\n\r\n1\r\n{{\r\n1;x=y\r\n}}\r\n0\r\n\r\n"), "{}", 0),
            (format!("{head}Transfer-Encoding: chunked\r\n\r\n{{}}"), "{}", 1),
            (
                format!("{head}Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{{}}"),
                "ffffffffffffffff\r\n{}",
                1,
            ),
            (format!("{head}Content-Encoding: gzip\r\n\r\n{{}}"), "{}", 1),
        ] {
            let capture = read(&text).unwrap();
            assert_eq!(capture.body, body, "{text:?}");
            assert_eq!(capture.remarks.len(), remarks, "{text:?}: {:?}", capture.remarks);
            assert_eq!(capture.headers[1], ("X-ATP-Signature".to_owned(), b"abc".to_vec()), "{text:?}");
        }
    }

    #[test]
    fn what_a_webhook_refuses_whatever_is_signed_is_remarked() {
        for (text, remarks) in [
            ("POST / HTTP/1.1\nContent-Type: application/json\n\n{}", 0),
            ("POST / HTTP/1.1\nContent-Type: Application/JSON ; Charset=\"UTF-8\"\n\n{}", 0),
            ("POST / HTTP/1.1\nContent-Type: application/json;charset=latin1\n\n{}", 1),
            ("PUT / HTTP/1.1\nContent-Type: application/json\n\n{}", 1),
            ("POST / HTTP/1.1\nContent-Type: text/plain\n\n{}", 1),
            ("POST / HTTP/1.1\n\n{}", 1),
            ("GET / HTTP/1.1\nContent-Encoding: gzip\n\n{}", 3),
        ] {
            assert_eq!(read(text).unwrap().remarks.len(), remarks, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_request_is_refused_with_its_place() {
        for (text, says) in [
            ("", "empty"),
            ("\n\n", "line 1 is no request line"),
            ("hello", "line 1 is no request line"),
            ("POST / HTTP/1.1\r\nHost: x\r\n", "no empty line"),
            ("POST / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", "line 3 is no header"),
            ("POST / HTTP/1.1\nContent-Length: -1\n\n{}", "no number"),
            ("{", "no HAR file"),
            ("\u{feff}{", "no HAR file"),
            ("{}", "neither `log` nor `request`"),
            (r#"{"log":{"entries":[]}}"#, "none of the 0 entries"),
            (r#"{"request":{"method":"POST","headers":[]}}"#, "no `postData`"),
            (
                r#"{"request":{"method":"POST","headers":[],"postData":{"text":"!","encoding":"base64"}}}"#,
                "no Base64",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(says), "{text:?}: {error}");
        }
    }

    #[test]
    fn of_a_har_the_signed_entry_is_taken_or_the_one_that_is_named() {
        let entry = |header: &str, text: &str| {
            format!(
                r#"{{"request":{{"method":"POST","headers":[{{"name":"{header}","value":"v"}}],"postData":{{"mimeType":"application/json","text":"{text}"}}}}}}"#
            )
        };
        let (plain, signed) = (entry("Host", "a"), entry("x-atp-signature", "b"));
        assert_eq!(read(&signed).unwrap().body, "b");
        let har = |entries: &[&String]| {
            let entries: Vec<&str> = entries.iter().map(|entry| entry.as_str()).collect();
            Bytes::from(format!(r#"{{"log":{{"version":"1.2","entries":[{}]}}}}"#, entries.join(",")))
        };
        let one = har(&[&plain, &signed]);
        assert_eq!(super::read(&one, None).unwrap().body, "b");
        assert_eq!(super::read(&one, Some(0)).unwrap().body, "a");
        assert!(super::read(&one, Some(2)).unwrap_err().contains("none is 2"));
        let error = super::read(&har(&[&signed, &plain, &signed]), None).unwrap_err();
        assert!(error.contains("(0, 2)"), "{error}");
        let based = entry("Host", "e30=").replace(r#""text""#, r#""encoding":"base64","text""#);
        assert_eq!(read(&based).unwrap().body, "{}");
    }
}
