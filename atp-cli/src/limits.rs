//! The numbers that bound something, each with its reason.

use std::time::Duration;

/// How long after the desk could not write down what came of deliveries it tries again.
pub(crate) const BETWEEN_WRITES: Duration = Duration::from_secs(1);

/// How long a desk waits for its file, which one that stops has for a moment.
pub(crate) const FREE_WITHIN: Duration = Duration::from_secs(3);

/// How long a desk takes a request: a form of [`FORM`] at a megabyte in seven seconds, and no sender
/// that never ends.
pub(crate) const REQUEST_WITHIN: Duration = Duration::from_mins(5);

/// After how many seconds a service is told to come again while the desk is away.
pub(crate) const AWAY_FOR: u64 = 1;

/// The most that a command reads of a desk's answer: more than a page of the largest questions.
pub(crate) const DESK_ANSWER: usize = 128 << 20;

/// How long a command waits for a connection to a database.
pub(crate) const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// How long `atp doctor` waits for its turn to try whether a file can be written: longer than a
/// commit takes, and shorter than whoever looks on is patient.
pub(crate) const TURN_WITHIN: Duration = Duration::from_secs(2);

/// How long a service has to answer: the protocol's five seconds.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// How long the desk waits before it delivers again, the first time, unless set: who develops sees
/// it happen.
pub const FIRST_WAIT: Duration = Duration::from_millis(500);

/// The longest it waits, unless set.
pub const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// How often it delivers before it gives up, unless set: some ten minutes.
pub const ATTEMPTS: u32 = 16;

/// How many deliveries are under way at a time: more than a service on this machine answers at once.
pub const DELIVERIES_AT_ONCE: usize = 64;

/// Of a service's answer so much is kept, in bytes: error bodies are short, and a page shows them.
pub const ANSWER_KEPT: usize = 16 * 1024;

/// The longest request, in bytes: a question or an answer with a file in it.
pub const REQUEST: usize = 16 * 1024 * 1024;

/// The largest file in an answer, in bytes: a form of [`FORM`] has it in Base64.
pub const FILE: usize = 10 * 1024 * 1024;

/// The longest form of a page, in bytes: it writes a character of Base64 as three at worst.
pub const FORM: usize = 4 * FILE + 1024 * 1024;

/// Questions that a service may ask in a minute (protocol, section 4).
pub const QUESTIONS_A_MINUTE: u32 = 100;

/// Changes of status that a service may make in a minute (protocol, section 4).
pub const CHANGES_A_MINUTE: u32 = 200;

/// How many of the next deliveries may be told to go wrong: more could not be counted down in a day.
pub const FAULTS: usize = 100_000;

/// Copies of a delivery in a burst.
pub const BURST: usize = 100;

/// How long a delivery that is to be overtaken waits for the next at most.
pub const OVERTAKEN_WITHIN: Duration = Duration::from_secs(2);

/// The longest that a delivery can be delayed: no desk is on for longer, and any clock can tell it.
pub const LONGEST_DELAY: Duration = Duration::from_hours(366 * 24);

/// How far a time is off that is to be stale, or of the future: past any tolerance, and past the 72
/// hours of a store.
pub const TIME_OFF: chrono::TimeDelta = chrono::TimeDelta::hours(100);

/// Of an answer so many characters are read for a page, which shows the start: a text of the most
/// characters that there may be is whole, each written as two escapes.
pub const DATA_SHOWN: u32 = 128 * 1024;

/// Of what was sent so many characters are on a page: it shows each attempt, and is made anew at each
/// change.
pub const BODY_SHOWN: u32 = 4 * 1024;

/// Attempts of a delivery on a page, the last ones: more than a burst, and a human reads no more.
pub const ATTEMPTS_SHOWN: u32 = 200;

/// How deep one thing is within another in a description: no human needs more, and a browser takes
/// seconds to lay out thousands.
pub const NESTING: usize = 16;

/// Questions on a page.
pub const PAGE: u32 = 100;

/// The shortest secret of a service, in bytes: shorter ones can be guessed.
pub const SHORTEST_SECRET: usize = 16;
