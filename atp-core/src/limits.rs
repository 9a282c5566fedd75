//! Every number that bounds something in this crate, with its reason.
//!
//! Lengths are in bytes unless a name or a comment says otherwise. Types repeat the limits that
//! belong to them, such as [`Secret::MIN_LEN`](crate::Secret::MIN_LEN): both are the same number.

use std::time::Duration;

// Signatures.

/// The least length of a secret: 128 bits. A shorter one can be guessed from one signed message.
pub const SECRET_MIN: usize = 16;
/// The longest signature header that is looked at. A real one has 64 to about 700 bytes, so this
/// leaves room, and a stranger's header costs no more.
pub const SIGNATURE_HEADER: usize = 1024;
/// The most `v1` elements of a signature header. A sender in the middle of a rotation sends two,
/// and each costs one comparison a secret.
pub const SIGNATURE_DIGESTS: usize = 8;
/// The most digits of a signed time: fewer than the 19 of `i64::MAX`, so that no value can
/// overflow.
pub const TIME_DIGITS: usize = 18;
/// How far a signed time may be from the clock, both ways, unless set otherwise. Five minutes are
/// the guide's number.
pub const TOLERANCE: Duration = Duration::from_secs(300);
/// The most memory that is reserved for a body by its announced length: 1 MiB. Whoever announces a
/// length may be lying, so more is taken only as it arrives.
pub const BODY_RESERVED: usize = 1 << 20;
/// The longest token of a redrive: it must fit into one short header on any server.
pub const REDRIVE_TOKEN: usize = 255;

// JSON.

/// The deepest nesting of an answer, its root counted as 1: what `serde_json` reads.
pub const DEPTH: usize = 128;
/// The deepest nesting that is indexed, and so of a canonical text. CPython gives up near here.
pub const INDEX_DEPTH: usize = 1023;
/// The text for which an index reserves its memory at once: 64 KiB. Of a longer one, which a
/// stranger may have sent, the index grows as it is read.
pub const INDEX_RESERVED: usize = 64 << 10;
/// The most digits of an integer that CPython reads, which is the default of its
/// `sys.set_int_max_str_digits`.
pub const PYTHON_DIGITS: usize = 4300;
/// About the longest JSON Pointer in an error. A name of a sender's may be as long as the body.
pub const POINTER: usize = 256;
/// The longest name in a JSON Pointer in an error, in characters.
pub const POINTER_NAME: usize = 64;

// Questions.

/// The longest id of a notification: with a service's name it fits into a key of any database. The
/// protocol does not say; its own ids have 36 bytes.
pub const NOTIFICATION_ID: usize = 1000;
/// The longest text of a `Decimal`. Its digits are calculated with, and no rule needs more.
pub const DECIMAL: usize = 1000;
/// The most digits of the exponent of a `Decimal`, so that places can be added to it in an `i64`.
pub const DECIMAL_EXPONENT_DIGITS: usize = 15;
/// The longest text of a pattern: what a text may have, so that no pattern is longer than its
/// answers.
pub const PATTERN: usize = 10_000;
/// The most memory that one compiled pattern may take: 8 MiB. A class of Unicode that repeats takes
/// the most: `\p{L}{1,100}` does fit.
pub const PATTERN_SIZE: usize = 8 << 20;
/// How many compiled patterns a process keeps. With [`PATTERN_SIZE`] this bounds their memory at
/// 256 MiB; usual ones take some KiB each.
pub const PATTERNS: usize = 32;

// Answers.

/// The most code points of a `text`: the guide's limit.
pub const TEXT: usize = 10_000;
/// The longest address of a file: what browsers and proxies can be trusted with.
pub const FILE_URL: usize = 2048;
/// The most violations that are told of one answer: whoever sends thousands needs no more.
pub const VIOLATIONS: usize = 100;
/// The longest text of a violation: its pointer, its rule, or what was found.
pub const VIOLATION_TEXT: usize = 256;

// JSON Schemas. An answer must not be able to stretch its judgement.

/// How many compiled schemas a process keeps.
pub const SCHEMAS: usize = 32;
/// The most schemas that may be applied to one value. Each look at a value may cost that much.
pub const SCHEMAS_APPLIED: u64 = 10_000;
/// How many schemas may be applied within each other to one value: each takes stack.
pub const SCHEMAS_WITHIN: usize = 64;
/// The steps that an answer of any size may take in its judgement: well below a second.
pub const SCHEMA_STEPS: u64 = 4_000_000;
/// The steps that an answer may take besides for each of its bytes, so that a large one is judged
/// too.
pub const SCHEMA_STEPS_EACH_BYTE: u64 = 64;
/// The most steps to say what is wrong. Details are a courtesy, so they get far less than the
/// verdict.
pub const SCHEMA_DETAIL_STEPS: u64 = 10_000;
/// The longest path for which details are told, since each error holds its own copy.
pub const SCHEMA_DETAIL_PATH: usize = 512;
/// What each step of a path counts at least: a step in the answer is several in the schema, and an
/// error holds these too.
pub const SCHEMA_DETAIL_STEP: usize = 32;
/// The most stack: 512 KiB, a quarter of what a thread has that nobody asked to have more.
pub const SCHEMA_STACK: usize = 512 << 10;
