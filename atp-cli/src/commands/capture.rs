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
    /// For what a webhook refuses it, however it is signed, in whole sentences.
    pub(super) refusals: Vec<String>,
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
    capture.judge_head(&method, is_json);
    Ok(capture)
}

impl Capture {
    /// Tells for what a webhook refuses the request, however it is signed.
    fn judge_head(&mut self, method: &str, is_har: bool) {
        if method != "POST" {
            self.refusals.push("The method is not POST, which a webhook refuses with 405.".to_owned());
        }
        let media_type = value(&self.headers, "content-type");
        if !is_json(media_type.as_deref().unwrap_or_default()) {
            // Who writes a HAR may leave headers out.
            let told = if is_har && media_type.is_none() { &mut self.remarks } else { &mut self.refusals };
            told.push(
                "The content type is not application/json in UTF-8, which a webhook refuses with 415."
                    .to_owned(),
            );
        }
        if let Some(encoding) =
            value(&self.headers, "content-encoding").filter(|encoding| encoding != "identity")
        {
            self.refusals
                .push(format!("The body is encoded ({encoding}), which a webhook refuses with 415."));
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
        let (body, remark) = chunked(&rest);
        remarks.extend(remark);
        body
    } else {
        announced(rest, value(&headers, "content-length").as_deref(), &mut remarks)?
    };
    Ok(Capture { headers, body, remarks, refusals: Vec::new() })
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

/// A body in chunks, put together as far as they go, and what is odd about them.
fn chunked(rest: &Bytes) -> (Bytes, Option<String>) {
    let (mut body, mut at) = (Vec::new(), 0);
    for number in 1_u64.. {
        let here = line(rest, at);
        let (size, start) = match here.map(|(size, start)| (chunk_size(size), start)) {
            Some((Some(0), _)) => break,
            Some((Some(size), start)) => (size, start),
            // Tools that write requests down often write them decoded.
            _ if number == 1 => {
                let odd = "The headers say that the body is chunked, and it is not: it is read as it is.";
                return (rest.clone(), Some(odd.to_owned()));
            }
            Some(_) => return (body.into(), Some(broken(number))),
            None => return (body.into(), Some(cut(number))),
        };
        let Some(data) = start.checked_add(size).and_then(|end| rest.get(start..end)) else {
            body.extend_from_slice(rest.get(start..).unwrap_or_default());
            return (body.into(), Some(cut(number)));
        };
        body.extend_from_slice(data);
        at = match line(rest, start + size) {
            Some(([], next)) => next,
            Some(_) => return (body.into(), Some(broken(number))),
            None => return (body.into(), Some(cut(number))),
        };
    }
    (body.into(), None)
}

fn chunk_size(line: &[u8]) -> Option<usize> {
    let size = std::str::from_utf8(line).ok()?.split(';').next()?.trim();
    usize::from_str_radix(size, 16).ok()
}

fn cut(number: u64) -> String {
    format!(
        "The capture ends within chunk {number} of the body, before the last one: what there is of it was read."
    )
}

fn broken(number: u64) -> String {
    format!(
        "Chunk {number} of the body is not as long as its size says, or has none: were the line ends of the capture \
         changed? What is before that was read."
    )
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
    /// None where a browser left it out, as it does with what is long.
    text: Option<String>,
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
    let Some(PostData { text: Some(text), encoding }) = request.post_data else {
        return Err(
            "the request of the HAR has no `postData` with a `text`: it was captured without its body"
                .to_owned(),
        );
    };
    let body = match encoding.as_deref() {
        Some("base64") => {
            STANDARD.decode(text).map_err(|error| format!("`postData.text` is no Base64: {error}"))?
        }
        _ => text.into_bytes(),
    };
    Ok((request.method, Capture { headers, body: body.into(), ..Capture::default() }))
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
            (format!("{head}Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{{}}"), "{}", 1),
            (format!("{head}Content-Encoding: gzip\r\n\r\n{{}}"), "{}", 0),
        ] {
            let capture = read(&text).unwrap();
            assert_eq!(capture.body, body, "{text:?}");
            assert_eq!(capture.remarks.len(), remarks, "{text:?}: {:?}", capture.remarks);
            assert_eq!(capture.headers[1], ("X-ATP-Signature".to_owned(), b"abc".to_vec()), "{text:?}");
        }
    }

    #[test]
    fn a_chunked_body_is_read_as_far_as_it_goes() {
        for (text, body, remark) in [
            ("2\r\n{}\r\n0\r\n\r\n", "{}", None),
            ("2\n{}\n0\n\n", "{}", None),
            ("0\r\n\r\n", "", None),
            ("2\r\n{}\r\n", "{}", Some("ends within chunk 2")),
            ("2\r\n{}", "{}", Some("ends within chunk 1")),
            ("2\r\n{", "{", Some("ends within chunk 1")),
            ("1\r\n{\r\n9\r\n}", "{}", Some("ends within chunk 2")),
            ("1\r\n{}\r\n0\r\n\r\n", "{", Some("Chunk 1 of the body is not as long")),
            ("1\r\n{\r\n}\r\n0\r\n\r\n", "{", Some("Chunk 2 of the body is not as long")),
            ("{}", "{}", Some("it is not: it is read as it is")),
            ("", "", Some("it is not: it is read as it is")),
        ] {
            let (read, said) = chunked(&Bytes::from_static(text.as_bytes()));
            assert_eq!(read, body, "{text:?}");
            assert_eq!(said.is_some(), remark.is_some(), "{text:?}: {said:?}");
            assert!(said.unwrap_or_default().contains(remark.unwrap_or_default()), "{text:?}");
        }
    }

    #[test]
    fn what_a_webhook_refuses_whatever_is_signed_is_no_mere_remark() {
        for (text, refusals) in [
            ("POST / HTTP/1.1\nContent-Type: application/json\n\n{}", 0),
            ("POST / HTTP/1.1\nContent-Type: Application/JSON ; Charset=\"UTF-8\"\n\n{}", 0),
            ("POST / HTTP/1.1\nContent-Type: application/json;charset=latin1\n\n{}", 1),
            ("PUT / HTTP/1.1\nContent-Type: application/json\n\n{}", 1),
            ("POST / HTTP/1.1\nContent-Type: text/plain\n\n{}", 1),
            ("POST / HTTP/1.1\n\n{}", 1),
            ("GET / HTTP/1.1\nContent-Encoding: gzip\n\n{}", 3),
        ] {
            let capture = read(text).unwrap();
            assert_eq!((capture.refusals.len(), capture.remarks.len()), (refusals, 0), "{text:?}");
        }
        // The headers of a HAR may not be all.
        for (headers, refusals, remarks) in [
            ("", 0, 1),
            (r#"{"name":"Content-Type","value":"text/plain"}"#, 1, 0),
            (r#"{"name":"Content-Type","value":"application/json"}"#, 0, 0),
        ] {
            let request = format!(r#"{{"method":"POST","headers":[{headers}],"postData":{{"text":""}}}}"#);
            let capture = read(&format!(r#"{{"request":{request}}}"#)).unwrap();
            assert_eq!((capture.refusals.len(), capture.remarks.len()), (refusals, remarks), "{headers}");
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
            (r#"{"request":{"method":"POST","headers":[],"postData":{}}}"#, "no `postData` with a `text`"),
            (
                r#"{"request":{"method":"POST","headers":[],"postData":{"text":null}}}"#,
                "captured without its body",
            ),
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
