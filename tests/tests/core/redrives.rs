//! Tokens of redrives: nobody makes one, alters one, carries one over, or gets anything but the
//! body in that it was made for.

use atp_core::{RedriveError, RedriveToken, Redriven, Scheme, Secret, Verifier};
use atp_tests::SECRET;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};

const OTHER: &str = "whsec_of_another_service_0123456789ab";
const SERVICE: &str = "payments";
const BODY: &str = r#"{"notification_id":"n-1","action_id":"approve","response_data":null}"#;

fn verifier() -> Verifier {
    Verifier::new(secret(SECRET))
}

fn secret(text: &str) -> Secret {
    Secret::new(text).expect("a good secret")
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).expect("a time")
}

fn kept() -> Redriven<'static> {
    Redriven {
        service: SERVICE,
        id: 7,
        nonce: [0x5a; 16],
        scheme: Scheme::Raw,
        secret_index: 0,
        body: BODY.as_bytes(),
        expires: now() + TimeDelta::hours(1),
    }
}

fn token(kept: &Redriven<'_>) -> String {
    verifier().redrive(kept).to_string()
}

/// The fault of a value, or none if it is let in.
fn fault(value: &[u8]) -> Option<RedriveError> {
    verifier().admit_redrive(value, SERVICE, now()).err()
}

#[test]
fn a_token_is_let_in_with_its_body_and_says_what_it_was_made_of() {
    for scheme in Scheme::ALL {
        for id in [0, 1, -1, i64::MAX, i64::MIN] {
            for nonce in [[0; 16], [0x0a; 16], [0xff; 16]] {
                let made = Redriven { scheme, id, nonce, secret_index: 1, ..kept() };
                let text = token(&made);
                let case = format!("{scheme} {id} {nonce:?}: {text}");
                assert!(text.len() <= RedriveToken::MAX_LEN, "{case}");
                assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{case}");
                let redriving = verifier().admit_redrive(text.as_bytes(), SERVICE, now()).expect(&case);
                let said = (redriving.scheme(), redriving.id(), redriving.nonce(), redriving.secret_index());
                assert_eq!(said, (scheme, id, nonce, 1), "{case}");
                let verified = redriving.verify(BODY.into()).expect(&case);
                assert_eq!((verified.scheme(), verified.secret_index()), (scheme, 1), "{case}");
                assert_eq!(verified.signed_at(), None, "{case}");
            }
        }
    }
}

/// Every byte of it in place of every other, left out, put in and doubled.
#[test]
fn an_altered_token_is_none() {
    let good = token(&kept()).into_bytes();
    assert_eq!(fault(&good), None);
    let mut tried = 0;
    for at in 0..=good.len() {
        let (start, end) = good.split_at(at);
        for byte in 0..=u8::MAX {
            let put_in = [start, &[byte], end].concat();
            assert!(fault(&put_in).is_some(), "{byte:#x} put in at {at}");
            if let Some((old, rest)) = end.split_first() {
                let altered = [start, &[byte], rest].concat();
                assert_eq!(fault(&altered).is_none(), byte == *old, "{byte:#x} in place of a byte at {at}");
            }
            tried += 2;
        }
        if at < good.len() {
            assert!(fault(start).is_some(), "cut at {at}");
            assert!(fault(&[start, &end[1..]].concat()).is_some(), "without the byte at {at}");
        }
        assert!(at == 0 || fault(end).is_some(), "without its first {at} bytes");
    }
    assert!(tried > 80_000, "{tried}");
}

/// Parts of one token beside the signature of another.
#[test]
fn no_part_of_a_token_fits_into_another() {
    let later = kept().expires + TimeDelta::days(365);
    let ours = token(&kept());
    let ours: Vec<&str> = ours.split('.').collect();
    for (case, other) in [
        ("another place", Redriven { id: 8, ..kept() }),
        ("another nonce", Redriven { nonce: [0x5b; 16], ..kept() }),
        ("another scheme", Redriven { scheme: Scheme::PythonCanonical, ..kept() }),
        ("another secret's number", Redriven { secret_index: 1, ..kept() }),
        ("a later end", Redriven { expires: later, ..kept() }),
        ("another body", Redriven { body: b"{}", ..kept() }),
        ("another service", Redriven { service: "payment", ..kept() }),
    ] {
        let theirs = token(&other);
        let theirs: Vec<&str> = theirs.split('.').collect();
        assert_eq!(ours.len(), theirs.len(), "{case}");
        for at in 0..ours.len() {
            let mut mixed = ours.clone();
            mixed[at] = theirs[at];
            let mixed = mixed.join(".");
            let is_ours = mixed == ours.join(".");
            assert_eq!(fault(mixed.as_bytes()).is_none(), is_ours, "{case}, part {at}: {mixed}");
        }
    }
}

#[test]
fn a_token_is_good_for_one_service_one_secret_and_one_time() {
    let text = token(&kept());
    let text = text.as_bytes();
    // Where one name ends and what follows begins is signed too.
    for service in ["", "payment", "payments ", "Payments", "payments\0", "payments1", "paymentſ"] {
        let seen = verifier().admit_redrive(text, service, now()).err();
        assert_eq!(seen, Some(RedriveError::Mismatch), "{service:?}");
    }
    let moved = token(&Redriven { service: "payments1", ..kept() });
    assert_eq!(fault(moved.as_bytes()), Some(RedriveError::Mismatch), "{moved}");

    let of = |verifier: Verifier| verifier.admit_redrive(text, SERVICE, now()).err();
    let hour = TimeDelta::hours(1);
    assert_eq!(of(Verifier::new(secret(OTHER))), Some(RedriveError::Mismatch), "another secret");
    assert_eq!(of(Verifier::new(secret(OTHER)).or(secret(SECRET))), None, "the previous secret");
    let rotated = |until| Verifier::new(secret(OTHER)).or_until(secret(SECRET), until);
    assert_eq!(of(rotated(now() + hour)), None, "the previous secret, while it is good");
    assert_eq!(of(rotated(now() - hour)), Some(RedriveError::Mismatch), "the previous secret, later");

    let at = |time| verifier().admit_redrive(text, SERVICE, time).err();
    let second = TimeDelta::seconds(1);
    for (time, seen) in [
        (kept().expires - second, None),
        (kept().expires, Some(RedriveError::Expired)),
        (kept().expires + second, Some(RedriveError::Expired)),
        (DateTime::<Utc>::MAX_UTC, Some(RedriveError::Expired)),
        (DateTime::<Utc>::MIN_UTC, None),
    ] {
        assert_eq!(at(time), seen, "{time}");
    }
    for expires in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
        let text = token(&Redriven { expires, ..kept() });
        let seen = verifier().admit_redrive(text.as_bytes(), SERVICE, now()).err();
        let wanted = (expires < now()).then_some(RedriveError::Expired);
        assert_eq!(seen, wanted, "{text}");
    }
}

#[test]
fn a_token_is_for_one_body_to_the_byte() {
    let text = token(&kept());
    let more = format!("{BODY} ");
    let respelt = BODY.replace("n-1", "\\u006e-1");
    for body in ["", "{}", " ", &BODY[1..], &more, &respelt, &BODY.replace("approve", "approvf"), "\0"] {
        let redriving = verifier().admit_redrive(text.as_bytes(), SERVICE, now()).expect("a good token");
        assert!(redriving.verify(Bytes::copy_from_slice(body.as_bytes())).is_err(), "{body:?}");
    }
}

#[test]
fn what_is_no_token_is_refused_whatever_it_is() {
    let good = token(&kept());
    let parts: Vec<&str> = good.split('.').collect();
    let with = |at: usize, part: &str| {
        let mut parts = parts.clone();
        parts[at] = part;
        parts.join(".")
    };
    let long = "0".repeat(RedriveToken::MAX_LEN);
    let mut values: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("dots", ".".repeat(7).into()),
        ("more dots", ".".repeat(300).into()),
        ("64 KiB", vec![b'1'; 64 << 10]),
        ("one byte more than the longest", vec![b'0'; RedriveToken::MAX_LEN + 1]),
        ("a token of before", b"0123456789abcdef0123456789abcdef".to_vec()),
        ("no UTF-8", vec![0xff; 40]),
        ("in capitals", good.to_uppercase().into()),
        ("quoted", format!("\"{good}\"").into()),
        ("twice", format!("{good}{good}").into()),
        ("twice, as a list", format!("{good}, {good}").into()),
        ("one part more", format!("{good}.0").into()),
        ("one part less", parts[..parts.len() - 1].join(".").into()),
        ("an empty part more", format!("{good}.").into()),
        ("of another form", with(0, "2").into()),
        ("of a form written otherwise", with(0, "01").into()),
        ("of no form", with(0, "").into()),
        ("a long form", with(0, &long).into()),
    ];
    for (at, part) in parts.iter().enumerate().skip(1) {
        for (case, spelt) in [
            ("a part with a zero before it", format!("0{part}")),
            ("a part with a sign", format!("+{part}")),
            ("a part with a blank", format!("{part} ")),
            ("a part with a TAB before it", format!("\t{part}")),
            ("a part with NUL", format!("{part}\0")),
            ("an empty part", String::new()),
            ("a part of other digits", part.replace(|found: char| found.is_ascii_digit(), "٣")),
            ("a part with an underscore", format!("{part}_")),
            ("a number beyond all", "9".repeat(60)),
            ("a part in hexadecimal", format!("0x{part}")),
        ] {
            if spelt != *part {
                values.push((case, with(at, &spelt).into()));
            }
        }
    }
    for (case, value) in values {
        let shown = String::from_utf8_lossy(&value);
        assert!(fault(&value).is_some(), "{case}: {shown:.200}");
        assert!(shown.parse::<RedriveToken>().is_err(), "{case}: {shown:.200}");
    }
}

/// What a server signs is no token, and what a token is signed with is no signature of a server's.
#[test]
fn signatures_are_no_tokens_and_tokens_are_no_signatures() {
    let good = token(&kept());
    let (claims, mac) = good.rsplit_once('.').expect("parts");
    for scheme in [Scheme::Raw, Scheme::Timestamped] {
        for signed in [claims, &good, &format!("{SERVICE}{claims}"), &format!("{SERVICE}.{claims}"), BODY] {
            let signature = verifier().sign_at(scheme, signed.as_bytes(), now()).expect("signed").to_string();
            let digest = &signature[signature.len() - 64..];
            let made = format!("{claims}.{digest}");
            assert_eq!(fault(made.as_bytes()), Some(RedriveError::Mismatch), "{scheme}: {signed}");
        }
    }
    for header in [mac.to_owned(), format!("t={},v1={mac}", now().timestamp()), good.clone()] {
        for body in [claims, &good, BODY, SERVICE] {
            let body_as_sent = Bytes::copy_from_slice(body.as_bytes());
            let seen = verifier().verify_at([("x-atp-signature", &header)], body_as_sent, now());
            assert!(seen.is_err(), "{header} with {body}");
        }
    }
}

/// A token is a secret: what prints by mistake cannot be used.
#[test]
fn a_token_is_not_shown_by_mistake() {
    let made = verifier().redrive(&kept());
    let good = made.to_string();
    let redriving = verifier().admit_redrive(good.as_bytes(), SERVICE, now()).expect("a good token");
    let mac = good.rsplit('.').next().expect("parts");
    for shown in [format!("{made:?}"), format!("{redriving:?}")] {
        assert!(!shown.contains(mac) && !shown.contains("5a5a"), "{shown}");
    }
}
