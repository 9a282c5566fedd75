//! What is refused by the head of a request: its method, its signature header, and how its body is
//! said to come.

use atp_actix::Scheme;
use chrono::DateTime;

use super::{MARKER, Site, good};
use crate::support::{
    asked::verifier,
    server::{post, request},
};

with_and_without_a_store!(
    each_form_of_the_signature_header_has_its_status,
    only_plain_json_is_read,
    a_compressed_body_is_not_unpacked,
    other_methods_are_refused_and_post_is_named,
    ambiguous_framing_is_refused,
);

/// The digest over `<t>.<body>` for any text `t`, as a sender would make it that writes `t` like
/// this.
fn digest(t: &str, body: &[u8]) -> String {
    let text = [t.as_bytes(), b".", body].concat();
    verifier().sign(Scheme::Raw, &text).expect("any bytes can be signed").to_string()
}

async fn each_form_of_the_signature_header_has_its_status(server: Site) {
    let (_, body) = good().member("note", MARKER).to_parts();
    let seconds = DateTime::from_timestamp(5, 0).expect("a time");
    let right = good().body(body.clone()).at(seconds).to_parts().0.remove(1).1;
    let hex = right.strip_prefix("t=5,v1=").expect("the timestamped form").to_owned();
    let upper = hex.to_uppercase();
    let padded = |len: usize| {
        let start = format!("{right},note=");
        format!("{start}{}", "y".repeat(len - start.len()))
    };
    let with_time = |t: &str| format!("t={t},v1={}", digest(t, &body));
    // It is authentic. With a store its age is judged after that, and not at all where the decision
    // is taken.
    let ahead = if server.has_a_store() { 200 } else { 401 };
    let cases: Vec<(&str, Vec<String>, u16)> = vec![
        ("one good header", vec![right.clone()], 200),
        ("no header", vec![], 401),
        ("two good header lines", vec![right.clone(), right.clone()], 401),
        ("a good and an empty line", vec![right.clone(), String::new()], 401),
        ("a bad and a good line", vec![MARKER.to_owned(), right.clone()], 401),
        ("two in one line", vec![format!("{right},{right}")], 401),
        ("two lines, joined as proxies do", vec![format!("{right}, {right}")], 401),
        ("an empty value", vec![String::new()], 401),
        ("1 KiB", vec![padded(1024)], 200),
        ("1 KiB and 1", vec![padded(1025)], 401),
        ("64 KiB", vec![padded(64 << 10)], 401),
        ("an element of the stranger's", vec![format!("t=5,v1={},note={MARKER}", "0".repeat(64))], 401),
        ("bare `t=`", vec!["t=".to_owned()], 401),
        ("empty `t`", vec![with_time("")], 401),
        ("`t` alone", vec!["t=5".to_owned()], 401),
        ("`v1` alone", vec![format!("v1={hex}")], 401),
        ("`t` of 18 digits", vec![with_time("999999999999999999")], 401),
        ("`t` of 19 digits", vec![with_time("9999999999999999999")], 401),
        ("`t` past 64 bits", vec![with_time("99999999999999999999999999")], 401),
        ("i64::MAX", vec![with_time("9223372036854775807")], 401),
        ("i64::MIN", vec![with_time("-9223372036854775808")], 401),
        ("negative `t` within the tolerance", vec![with_time("-5")], 401),
        ("`t` with a fraction", vec![with_time("5.7")], 401),
        ("`t` with an exponent", vec![with_time("5e0")], 401),
        ("`t` in hexadecimal", vec![with_time("0x5")], 401),
        ("`t` with a plus", vec![with_time("+5")], 401),
        ("`t` with a leading zero", vec![with_time("05")], 401),
        ("`t` in milliseconds", vec![with_time("5000")], ahead),
        ("`t` = 5", vec![with_time("5")], 200),
        ("`t` = 0", vec![with_time("0")], 200),
        ("`t` on the edge", vec![with_time("305")], 200),
        ("`t` past the edge", vec![with_time("306")], ahead),
        ("two `t`", vec![format!("t=5,{right}")], 401),
        ("8 `v1`", vec![format!("t=5{}", format!(",v1={hex}").repeat(8))], 200),
        ("9 `v1`", vec![format!("t=5{}", format!(",v1={hex}").repeat(9))], 401),
        ("upper-case digits", vec![format!("t=5,v1={upper}")], 401),
        ("63 digits", vec![format!("t=5,v1={}", &hex[1..])], 401),
        ("65 digits", vec![format!("t=5,v1={hex}0")], 401),
        ("a plus among the digits", vec![format!("t=5,v1=+f{}", &hex[2..])], 401),
        ("another digest", vec![format!("t=5,v1={}", "0".repeat(64))], 401),
        ("a bare digest of nothing here", vec!["0".repeat(64)], 401),
        ("a bare digest in upper case", vec![upper], 401),
        ("a bare digest of 63 digits", vec![hex[1..].to_owned()], 401),
        ("a bare digest of 65 digits", vec![format!("{hex}0")], 401),
        ("the timestamped digest, bare", vec![hex.clone()], 401),
        ("`sha256=`", vec![format!("sha256={hex}")], 401),
    ];
    let mut wrong = Vec::new();
    for (case, signatures, status) in &cases {
        let mut headers = vec![("content-type", "application/json"), ("x-atp-request-id", MARKER)];
        headers.extend(signatures.iter().map(|value| ("x-atp-signature", &**value)));
        let sent = request("POST", &format!("/epoch?{MARKER}"), &headers, &body);
        let answer = server.exchange(&sent).await.unwrap_or_else(|| panic!("{case}: no answer"));
        if answer.status != *status {
            wrong.push(format!("{case}: {} instead of {status}: {signatures:?}", answer.status));
        }
        server.assert_tells_nothing(&answer, case);
        server.serves_on(case).await;
    }
    println!("{} forms of the signature header", cases.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
}

async fn only_plain_json_is_read(server: Site) {
    let (json, gzip) = ("application/json", "content-encoding");
    let cases: &[(&str, &[(&str, &str)], u16)] = &[
        ("plain", &[("content-type", json)], 200),
        ("no type", &[], 415),
        ("two types", &[("content-type", json), ("content-type", json)], 415),
        ("two types in one line", &[("content-type", "application/json, application/json")], 415),
        ("an empty type", &[("content-type", "")], 415),
        ("text", &[("content-type", "text/plain")], 415),
        ("a form", &[("content-type", "application/x-www-form-urlencoded")], 415),
        ("the stranger's own", &[("content-type", MARKER)], 415),
        ("a longer name", &[("content-type", "application/jsonp")], 415),
        ("a suffix", &[("content-type", "application/vnd.api+json")], 415),
        ("upper case", &[("content-type", "Application/JSON")], 200),
        ("latin-1", &[("content-type", "application/json; charset=latin-1")], 415),
        ("UTF-16", &[("content-type", "application/json;charset=utf-16")], 415),
        ("UTF-8", &[("content-type", "application/json; charset=UTF-8")], 200),
        ("quoted", &[("content-type", "application/json; charset=\"utf-8\"")], 200),
        ("two charsets", &[("content-type", "application/json; charset=utf-8; charset=latin-1")], 415),
        ("another parameter", &[("content-type", "application/json; q=1")], 200),
        ("gzip", &[("content-type", json), (gzip, "gzip")], 415),
        ("deflate", &[("content-type", json), (gzip, "deflate")], 415),
        ("an encoding of the stranger's", &[("content-type", json), (gzip, MARKER)], 415),
        ("identity", &[("content-type", json), (gzip, "identity")], 200),
        ("Identity", &[("content-type", json), (gzip, "Identity")], 200),
        ("identity and gzip", &[("content-type", json), (gzip, "identity"), (gzip, "gzip")], 415),
        ("identity, gzip", &[("content-type", json), (gzip, "identity, gzip")], 415),
    ];
    for scheme in Scheme::ALL {
        let (signed, body) = good().scheme(scheme).to_parts();
        for (case, headers, status) in cases {
            let mut headers = headers.to_vec();
            headers.push(("x-atp-signature", &signed[1].1));
            let answer = server.exchange(&request("POST", "/small", &headers, &body)).await;
            let answer = answer.unwrap_or_else(|| panic!("{scheme}, {case}: no answer"));
            assert_eq!(answer.status, *status, "{scheme}, {case}: {headers:?}");
            server.assert_tells_nothing(&answer, case);
            server.serves_on(case).await;
        }
    }
}

/// A body that says gzip and is gzip is not unpacked: a small one could become a huge one.
async fn a_compressed_body_is_not_unpacked(server: Site) {
    // An empty gzip member: enough to tell whether anyone tries.
    let packed: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    for (case, answer, status) in [
        ("encoded, signed", good().body(packed).header("content-encoding", "gzip"), 415),
        ("encoded, forged", good().body(packed).header("content-encoding", "gzip").forged(), 415),
        ("not told, signed", good().body(packed), 400),
        ("not told, forged", good().body(packed).forged(), 401),
    ] {
        let answer = server.exchange(&post("/small", &answer)).await.expect("an answer");
        assert_eq!(answer.status, status, "{case}");
        server.assert_tells_nothing(&answer, case);
        server.serves_on(case).await;
    }
}

async fn other_methods_are_refused_and_post_is_named(server: Site) {
    let (headers, body) = good().to_parts();
    for method in ["GET", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH", "TRACE", "BREW"] {
        for body in [&b""[..], &body] {
            let mut client = server.connect().await;
            let path = format!("/small?{MARKER}");
            client.send(&request(method, &path, &headers, body)).await.expect("sent");
            let answer = if method == "HEAD" { client.answer_to_head().await } else { client.answer().await };
            let answer = answer.unwrap_or_else(|| panic!("{method}: no answer"));
            assert_eq!(answer.status, 405, "{method} with {} bytes", body.len());
            assert_eq!(answer.header("allow"), Some("POST"), "{method}");
            if method != "HEAD" {
                server.assert_tells_nothing(&answer, method);
            }
            server.serves_on(method).await;
        }
    }
}

/// Where two readers could see two bodies, there is none.
async fn ambiguous_framing_is_refused(server: Site) {
    let (headers, body) = good().to_parts();
    let len = body.len().to_string();
    let cases: &[&[(&str, &str)]] = &[
        &[("content-length", &len), ("content-length", "5")],
        &[("content-length", "5"), ("content-length", &len)],
        &[("content-length", &len), ("transfer-encoding", "chunked")],
        &[("transfer-encoding", "chunked"), ("content-length", &len)],
        &[("transfer-encoding", "chunked, identity")],
        &[("transfer-encoding", "xchunked")],
        &[("content-length", "-1")],
        &[("content-length", "+5")],
        &[("content-length", "0x10")],
        &[("content-length", "18446744073709551616")],
        &[("content-length", "99999999999999999999999999999999")],
    ];
    for framing in cases {
        let mut headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        headers.extend(*framing);
        let mut client = server.connect().await;
        let _ = client.send(&request("POST", "/small", &headers, &body)).await;
        client.end().await;
        let answer = client.answer().await;
        let status = answer.as_ref().map(|answer| answer.status);
        assert!(matches!(status, None | Some(400)), "{framing:?}: {answer:?}");
        server.assert_untouched(&format!("{framing:?}"));
        server.serves_on(&format!("{framing:?}")).await;
    }
}
