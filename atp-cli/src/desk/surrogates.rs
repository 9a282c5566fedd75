//! Half characters in JSON texts: a sender that cuts a text in the middle of an emoji writes one.

use std::borrow::Cow;

/// The same JSON text, in which a surrogate that stands alone is U+FFFD. What is no JSON stays none.
pub(super) fn mended(json: &[u8]) -> Cow<'_, [u8]> {
    const REPLACEMENT: &[u8] = b"\\ufffd";
    let mut out: Option<Vec<u8>> = None;
    let mut at = 0;
    while let Some(found) = json.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == b'\\')) {
        let begin = at + found;
        let unit = unit(json, begin);
        let end = match unit {
            // A backslash and what it escapes.
            None => begin + 2,
            Some(0xD800..=0xDBFF) if matches!(self::unit(json, begin + 6), Some(0xDC00..=0xDFFF)) => {
                begin + 12
            }
            Some(_) => begin + 6,
        };
        let is_alone = end == begin + 6 && matches!(unit, Some(0xD800..=0xDFFF));
        if is_alone && out.is_none() {
            out = Some(json.get(..at).unwrap_or_default().to_vec());
        }
        if let Some(out) = &mut out {
            out.extend_from_slice(json.get(at..begin).unwrap_or_default());
            out.extend_from_slice(if is_alone {
                REPLACEMENT
            } else {
                json.get(begin..end).unwrap_or_default()
            });
        }
        at = end;
    }
    match out {
        Some(mut out) => {
            out.extend_from_slice(json.get(at..).unwrap_or_default());
            Cow::Owned(out)
        }
        None => Cow::Borrowed(json),
    }
}

/// The unit of an escape such as `\ud83d` at this place.
fn unit(json: &[u8], at: usize) -> Option<u16> {
    let digits = json.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::mended;

    #[test]
    fn what_stands_alone_is_replaced_and_all_else_stays() {
        for (json, expected) in [
            (r#""plain""#, r#""plain""#),
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (r#""a\ud83db""#, r#""a\ufffdb""#),
            (r#""\ude00\ud83d""#, r#""\ufffd\ufffd""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\ud83d\n\ud83d\\ude00""#, r#""\ufffd\n\ufffd\\ude00""#),
            (r#""\\ud83d""#, r#""\\ud83d""#),
            (r#""\ud8"#, r#""\ud8"#),
            ("\"\\", "\"\\"),
            ("", ""),
        ] {
            let mended = String::from_utf8(mended(json.as_bytes()).into_owned()).unwrap();
            assert_eq!(mended, expected, "{json}");
            let reads = |json: &str| serde_json::from_str::<String>(json).is_ok();
            assert!(reads(&mended) || !expected.ends_with('"') || expected.len() < 2, "{mended}");
        }
    }
}
