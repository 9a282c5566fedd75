//! The three bodies that are measured, and the types that they are read as.

use std::borrow::Cow;

use serde::Deserialize;

/// The sizes, by the names used in the tables.
pub const SIZES: [(&str, usize); 3] = [("220 B", 220), ("10 KiB", 10 << 10), ("1 MiB", 1 << 20)];

/// An answer of exactly `size` bytes, as a sender prints it: compact, its names not sorted, ASCII.
/// At 220 B a form of two fields, at 10 KiB one of 111, at 1 MiB one long text with a line end
/// every 80 characters.
pub fn body(size: usize) -> String {
    let data = match size {
        ..=999 => r#"{"approved":true,"comment":"@"}"#.to_owned(),
        1000..=99_999 => form(),
        _ => r#""@""#.to_owned(),
    };
    let body = format!(
        r#"{{"notification_id":"550e8400-e29b-41d4-a716-446655440000","action_id":"approve","response_data":{data},"responded_at":"2025-05-25T10:35:12Z","responder":{{"id":"user_123","type":"human"}}}}"#
    );
    let filler = prose(size - (body.len() - 1));
    let body = body.replace('@', &filler);
    assert_eq!(body.len(), size);
    body
}

fn form() -> String {
    let mut members: Vec<String> = NAMES
        .iter()
        .enumerate()
        .map(|(i, name)| match i % 4 {
            0 => format!(r#""{name}":{}"#, i * 7919),
            1 => format!(r#""{name}":"{}""#, words(i, 60)),
            2 => format!(r#""{name}":"PO-{:06}/{i}""#, i * 104_729 % 1_000_000),
            _ => format!(r#""{name}":{}"#, i % 3 == 0),
        })
        .collect();
    members.push(r#""report":"@""#.to_owned());
    format!("{{{}}}", members.join(","))
}

const WORDS: &str =
    "the request was reviewed by the team and the numbers match what the supplier sent on Monday ";

fn words(from: usize, len: usize) -> String {
    WORDS.chars().cycle().skip(from * 7 % WORDS.len()).take(len).collect()
}

/// Exactly so many bytes of a JSON string.
fn prose(len: usize) -> String {
    let line = format!("{}\\n", words(0, 78));
    let whole = len / line.len();
    let mut text = line.repeat(whole);
    text.push_str(&words(3, len - text.len()));
    text
}

/// At 220 B.
#[derive(Deserialize)]
pub struct Small<T> {
    pub approved: bool,
    pub comment: T,
}

macro_rules! form {
    ($($name:ident: $kind:ident,)*) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];

        /// At 10 KiB, as the library reads it: its own texts.
        #[derive(Deserialize)]
        pub struct Owned {
            $(pub $name: form!(@owned $kind),)*
            pub report: String,
        }

        /// At 10 KiB, as the base reads it: texts that stay in the body where they can.
        #[derive(Deserialize)]
        pub struct Borrowed<'a> {
            $(#[serde(borrow)] pub $name: form!(@borrowed $kind 'a),)*
            #[serde(borrow)]
            pub report: Cow<'a, str>,
        }
    };
    (@owned Text) => { String };
    (@owned $kind:ident) => { $kind };
    (@borrowed Text $life:lifetime) => { Cow<$life, str> };
    (@borrowed $kind:ident $life:lifetime) => { Plain<$life, $kind> };
}

/// A value that borrows nothing, so that every field of a form can be declared alike.
#[derive(Deserialize)]
#[serde(transparent)]
pub struct Plain<'a, T>(pub T, #[serde(skip)] std::marker::PhantomData<&'a ()>);

form! {
    quantity_000: u64,
    note_037: Text,
    reference_074: Text,
    confirmed_111: bool,
    quantity_148: u64,
    note_185: Text,
    reference_023: Text,
    confirmed_060: bool,
    quantity_097: u64,
    note_134: Text,
    reference_171: Text,
    confirmed_009: bool,
    quantity_046: u64,
    note_083: Text,
    reference_120: Text,
    confirmed_157: bool,
    quantity_194: u64,
    note_032: Text,
    reference_069: Text,
    confirmed_106: bool,
    quantity_143: u64,
    note_180: Text,
    reference_018: Text,
    confirmed_055: bool,
    quantity_092: u64,
    note_129: Text,
    reference_166: Text,
    confirmed_004: bool,
    quantity_041: u64,
    note_078: Text,
    reference_115: Text,
    confirmed_152: bool,
    quantity_189: u64,
    note_027: Text,
    reference_064: Text,
    confirmed_101: bool,
    quantity_138: u64,
    note_175: Text,
    reference_013: Text,
    confirmed_050: bool,
    quantity_087: u64,
    note_124: Text,
    reference_161: Text,
    confirmed_198: bool,
    quantity_036: u64,
    note_073: Text,
    reference_110: Text,
    confirmed_147: bool,
    quantity_184: u64,
    note_022: Text,
    reference_059: Text,
    confirmed_096: bool,
    quantity_133: u64,
    note_170: Text,
    reference_008: Text,
    confirmed_045: bool,
    quantity_082: u64,
    note_119: Text,
    reference_156: Text,
    confirmed_193: bool,
    quantity_031: u64,
    note_068: Text,
    reference_105: Text,
    confirmed_142: bool,
    quantity_179: u64,
    note_017: Text,
    reference_054: Text,
    confirmed_091: bool,
    quantity_128: u64,
    note_165: Text,
    reference_003: Text,
    confirmed_040: bool,
    quantity_077: u64,
    note_114: Text,
    reference_151: Text,
    confirmed_188: bool,
    quantity_026: u64,
    note_063: Text,
    reference_100: Text,
    confirmed_137: bool,
    quantity_174: u64,
    note_012: Text,
    reference_049: Text,
    confirmed_086: bool,
    quantity_123: u64,
    note_160: Text,
    reference_197: Text,
    confirmed_035: bool,
    quantity_072: u64,
    note_109: Text,
    reference_146: Text,
    confirmed_183: bool,
    quantity_021: u64,
    note_058: Text,
    reference_095: Text,
    confirmed_132: bool,
    quantity_169: u64,
    note_007: Text,
    reference_044: Text,
    confirmed_081: bool,
    quantity_118: u64,
    note_155: Text,
    reference_192: Text,
    confirmed_030: bool,
    quantity_067: u64,
    note_104: Text,
    reference_141: Text,
    confirmed_178: bool,
    quantity_016: u64,
    note_053: Text,
}
