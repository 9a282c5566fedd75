//! Every number that bounds something, once, with its reason.

use std::time::Duration;

/// The longest body of a delivery, in bytes, unless set: actix's own for a body. A form or a long
/// text is far below; files need more.
pub const DEFAULT_BODY: usize = 256 << 10;

/// How long a body may take to arrive, unless set: a sender waits five seconds for the whole
/// answer.
pub const DEFAULT_BODY_WITHIN: Duration = Duration::from_secs(3);

/// How many times longer than the body a canonical text can be: one byte becomes `\u00xx` at most.
pub(crate) const CANONICAL_PER_BODY: usize = 6;

/// The longest request id that is read, in bytes: it goes into logs and answers.
pub(crate) const LONGEST_REQUEST_ID: usize = 128;

/// The longest reason in a line of the log, in bytes. An answer can be wrong in a hundred ways at
/// once; the first few tell what is wrong.
pub(crate) const LONGEST_REASON: usize = 1000;

/// The longest body that is explained in the log, in bytes: that costs some dozen hashes of it, and
/// anybody can ask for them.
pub(crate) const LONGEST_EXPLAINED: usize = 16 << 10;

/// How many events of a kind the log takes in a second, of one worker.
pub(crate) const EVENTS_A_SECOND: u32 = 10;

/// How long a delivery waits for its answer, unless set: a sender waits five seconds.
pub const DEFAULT_RESPOND_WITHIN: Duration = Duration::from_secs(4);

/// How long a claim lasts, unless set: how long others wait for a handler whose process died.
pub const DEFAULT_LEASE: Duration = Duration::from_mins(1);

/// The part of a lease after which its handler is dropped, so that it has ended before another may
/// begin.
pub(crate) const PART_OF_LEASE: f32 = 0.9;

/// How long an answer to a question that is not recorded is asked to come again, unless set: it may
/// be faster than our own `record`.
pub const DEFAULT_UNKNOWN_GRACE: Duration = Duration::from_mins(10);

/// The longest answer of a handler, in bytes, where there is a store: it is held in memory while
/// its decision is completed.
pub(crate) const LONGEST_ANSWER: u64 = 8 << 20;

/// How long after a batch of counters the next one is written, so that there is more in it.
pub(crate) const PAUSE_OF_COUNTERS: Duration = Duration::from_millis(20);

/// How long after a fault of the store the counters are tried again.
pub(crate) const COUNTERS_AFTER_A_FAULT: Duration = Duration::from_secs(1);

/// The longest name of a service, in bytes: with a notification's id it fits into a key of any
/// database.
pub const MAX_SERVICE: usize = 250;

/// How many refused bodies of one notification are kept. A sender may sign as many answers as it
/// likes; whoever looks into a notification that was refused so often needs no more of them.
pub const MAX_KEPT: u32 = 100;

/// The longest body of a handler's answer that is recorded, in bytes: it is stored with every decision, and what a
/// sender reads of it is a status.
pub const LONGEST_OUTCOME: usize = 16 << 10;

/// How long an ATP server may go on delivering an answer, unless set: three days.
pub const DEFAULT_REDELIVERY_WINDOW: Duration = Duration::from_hours(72);

/// How long the stores' `close` lets handlers go on: as long as actix, unless set, waits for its
/// connections.
pub const DRAIN_WITHIN: Duration = Duration::from_secs(30);
