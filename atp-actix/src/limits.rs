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

/// The longest id, kind or name of a sink of an event, in bytes: with a service they fit into a key
/// of any database.
pub const MAX_EVENT_NAME: usize = 200;

/// The longest reason that is stored with an event that was not sent, in bytes.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) const LONGEST_SEND_REASON: usize = 500;

/// The longest lease of an event, and so how far ahead one may end before a clock must have been set
/// back.
pub const LONGEST_SEND_LEASE: Duration = Duration::from_mins(10);

/// How long a sink may take for one event at most: a lease of [`LONGEST_SEND_LEASE`] is for two, with
/// room to say what came of them.
pub const LONGEST_SEND: Duration = Duration::from_mins(4);

/// The longest time between two attempts at an event, whatever a receiver asks for.
pub const LONGEST_BACKOFF: Duration = Duration::from_hours(6);

/// How many events are sent to a sink at a time, unless set: enough to keep a receiver busy that
/// takes some milliseconds for each, and few enough for one that is small.
pub const DEFAULT_CONCURRENCY: u32 = 32;

/// How long a sink may take for one event, unless set: as long as senders of webhooks wait.
pub const DEFAULT_SEND_WITHIN: Duration = Duration::from_secs(10);

/// How often a relay asks the store where nobody says that there is something to send, unless set:
/// the query finds nothing in an index.
pub const DEFAULT_POLL: Duration = Duration::from_secs(1);

/// How often a relay may be set to ask the store at most: more often it would do nothing else.
pub(crate) const SHORTEST_POLL: Duration = Duration::from_millis(10);
/// How seldom a relay may be set to ask the store: whatever is not told of waits so long.
pub(crate) const LONGEST_POLL: Duration = Duration::from_hours(1);
/// How many events that a sink did not take a relay remembers, for when they are due and for whether
/// others got through meanwhile: more are found when it polls, and cost no attempt.
pub(crate) const MOST_REMEMBERED: usize = 1000;
/// After how many attempts an event is parked, unless set: within two hours of the first, as a
/// rule after 80 minutes.
pub const DEFAULT_ATTEMPTS: u32 = 20;

/// How long an event stays in the store though it was sent to all, unless set: long enough to look
/// into it, and short enough to keep the tables small.
pub const DEFAULT_KEEP_SENT: Duration = Duration::from_hours(1);

/// How long an event waits after its first failure, and a sink that is away is left alone at first,
/// unless set.
pub(crate) const FIRST_BACKOFF: Duration = Duration::from_secs(1);

/// How long an event waits at most between two attempts, unless set, or the receiver asks for more.
pub(crate) const USUAL_LONGEST_BACKOFF: Duration = Duration::from_mins(10);

/// How long a sink that is away is left alone at most, unless set or its receiver asks for longer: that
/// it is back is noticed no later.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// How long an HTTP receiver may take to answer, unless set: a little less than a relay lets a sink
/// take, so that what is said of it is that it did not answer.
#[cfg(feature = "outbox-http")]
pub const DEFAULT_HTTP_WITHIN: Duration = Duration::from_secs(8);

/// How long a connection to an HTTP receiver may take to be made, with its name looked up and its
/// certificate checked: one that takes longer is not there.
#[cfg(feature = "outbox-http")]
pub(crate) const CONNECT_WITHIN: Duration = Duration::from_secs(4);

/// How long a connection to an HTTP receiver stays open unused: less than the five seconds after which
/// many servers close it, perhaps just when the next event is sent.
#[cfg(feature = "outbox-http")]
pub(crate) const IDLE_CONNECTION: Duration = Duration::from_secs(4);

/// How much of what an HTTP receiver answers is read, in bytes, and thrown away, so that its
/// connection can be used again: opening another one is cheaper than to read more.
#[cfg(feature = "outbox-http")]
pub(crate) const LONGEST_HTTP_ANSWER: usize = 64 << 10;

/// Of how many answers of an HTTP receiver the rest is read at a time: as many as are sent at a time unless
/// set. The connections of others are closed.
#[cfg(feature = "outbox-http")]
pub(crate) const MOST_HTTP_ANSWERS: usize = 32;

/// How long the answer of an HTTP receiver is read once its status is known.
#[cfg(feature = "outbox-http")]
pub(crate) const HTTP_ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// How long a relay waits after a fault of the store.
pub(crate) const AFTER_A_STORE_FAULT: Duration = Duration::from_secs(1);

/// How long before its lease ends the latest attempt at an event has ended.
pub(crate) const ROOM_TO_SETTLE: Duration = Duration::from_secs(5);

/// How long after a lease what was written or is due since then waits for the next, where nothing
/// else wakes who sends: no human notices it, and those who write are held up less.
pub(crate) const BETWEEN_LEASES: Duration = Duration::from_millis(20);

/// How often what was sent is deleted.
pub(crate) const BETWEEN_TIDYINGS: Duration = Duration::from_mins(1);

/// How often a relay reads what waits, for the metrics: the store counts for it, and who looks at
/// graphs has a point for each quarter of a minute.
pub(crate) const BETWEEN_LAG_READINGS: Duration = Duration::from_secs(15);

/// How long a store may take to say that it is there, unless set: who probes waits for one second,
/// as a rule, and another half is left for the way.
pub const DEFAULT_HEALTH_WITHIN: Duration = Duration::from_millis(500);

/// How old the oldest event that waits may be, unless set: a receiver that is away for some minutes
/// is no reason to take the webhook out of service.
pub const DEFAULT_OLDEST_EVENT: Duration = Duration::from_hours(1);

/// How long probes share what one of them has found: however many come, the store is asked once in
/// that time.
pub(crate) const HEALTH_LASTS: Duration = Duration::from_secs(1);

/// How long after a connection on which events are told was lost the next one is opened.
#[cfg(feature = "postgres")]
pub(crate) const BETWEEN_HEARINGS: Duration = Duration::from_secs(1);

/// How long one connection is listened on for what other processes have written: one that was cut
/// off without a word is not listened on for ever.
#[cfg(feature = "postgres")]
pub(crate) const LONGEST_HEARING: Duration = Duration::from_mins(1);

/// How long an acknowledgement of NATS is waited for, unless set: a stream of several servers that
/// elects a leader needs some seconds, and this is less than a relay waits.
#[cfg(feature = "nats")]
pub const DEFAULT_ACK_WITHIN: Duration = Duration::from_secs(5);

/// The longest subject that is published under, in bytes: a NATS server closes a connection that
/// sends it a longer line than 4,096 bytes, and beside the subject there is where to answer.
#[cfg(feature = "nats")]
pub(crate) const LONGEST_NATS_SUBJECT: usize = 3500;

/// Events behind others of their subjects that are put aside at once, where nothing else was found.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) const PUT_ASIDE_BATCH: u32 = 500;
/// How long events are put aside before who leases is told that nothing was found: the longest step
/// is longer, and the next call goes on.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) const LONGEST_PUTTING_ASIDE: Duration = Duration::from_secs(1);
/// How often what is due is looked for from the start, where there always is more.
#[cfg(feature = "postgres")]
pub(crate) const FROM_THE_START_EVERY: Duration = Duration::from_secs(1);
/// How much of a SQLite file the connection keeps that leases and settles what leaves, in KiB as SQLite
/// has it: the pages that are looked up where a million events wait.
#[cfg(feature = "sqlite")]
pub(crate) const QUICK_CACHE: &str = "-16384";
/// After so many pages of 4 KiB a SQLite file's journal is written back into it: with a thousand, which
/// SQLite takes, a tenth less of what leaves is sent, with 16,000 no more. A decision takes as long.
#[cfg(feature = "sqlite")]
pub(crate) const WAL_PAGES: &str = "4000";
/// Events that are looked through in one step for those that were sent, where most wait: that many are
/// looked up in some hundredths of a second.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) const TIDY_LOOK: i64 = 20_000;
/// Events that are deleted in one transaction once they were sent: it holds up nobody for long.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) const TIDY_BATCH: i64 = 500;

/// How many refused bodies of one notification are kept. A sender may sign as many answers as it
/// likes; whoever looks into a notification that was refused so often needs no more of them.
pub const MAX_KEPT: u32 = 100;

/// The longest body of a handler's answer that is recorded, in bytes: it is stored with every
/// decision, and what a sender reads of it is a status.
pub const LONGEST_OUTCOME: usize = 16 << 10;

/// How long an ATP server may go on delivering an answer, unless set: three days.
pub const DEFAULT_REDELIVERY_WINDOW: Duration = Duration::from_hours(72);

/// How long the stores' `close` lets handlers go on: as long as actix, unless set, waits for its
/// connections.
pub const DRAIN_WITHIN: Duration = Duration::from_secs(30);

/// How long a handler may hold its transaction, unless set: it holds up who wants to write the
/// same, on SQLite all who write.
pub const DEFAULT_TRANSACTION_LIMIT: Duration = Duration::from_secs(2);

/// How long a store waits for a connection, for a lock, or for its turn to write: a sender waits
/// five seconds for the whole answer. `schema/postgres.1.sql` has it too, as the `lock_timeout` of
/// single statements.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// How long a step on PostgreSQL may take, with all that it waits for: after that nobody waits for
/// its answer.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) const LONGEST_STEP: Duration = Duration::from_secs(5);

/// How long before nobody waits for a lease any more PostgreSQL gives it up, so that its answer still
/// comes.
#[cfg(feature = "postgres")]
pub(crate) const ROOM_TO_HEAR: Duration = Duration::from_millis(500);

/// How long an unused connection to PostgreSQL may take to say that it is there.
#[cfg(feature = "postgres")]
pub(crate) const LONGEST_PING: Duration = Duration::from_millis(500);

/// How long a connection to PostgreSQL may have been unused before it is asked whether it is there:
/// asking each time would double most steps.
#[cfg(feature = "postgres")]
pub(crate) const IDLE_UNTIL_ASKED: Duration = Duration::from_secs(1);

/// How long after a step without an answer the tables are tried before each use of a connection.
#[cfg(feature = "postgres")]
pub(crate) const DOUBT_LASTS: Duration = Duration::from_mins(1);

/// How long the tables are waited for when they are tried: one that is locked for longer is not
/// there.
#[cfg(feature = "postgres")]
pub(crate) const PROBE_WAITS: Duration = Duration::from_secs(1);

/// How long the tables may take to be made, or an index of many rows.
#[cfg(feature = "postgres")]
pub(crate) const LONGEST_MIGRATION: Duration = Duration::from_mins(1);

/// Connections of a pool to PostgreSQL that the store makes itself.
#[cfg(feature = "postgres")]
pub(crate) const POSTGRES_CONNECTIONS: u32 = 10;

/// Of so many connections of a pool one is never lent to a handler, and one at least: handlers that
/// call the store while they hold a transaction do not wait for each other.
#[cfg(feature = "postgres")]
pub(crate) const CONNECTIONS_PER_RESERVED: usize = 4;

/// How much longer than a handler may hold its transaction the server waits before it ends it: the
/// store ends it first.
#[cfg(feature = "postgres")]
pub(crate) const SERVER_WAITS_LONGER: Duration = Duration::from_secs(1);

/// Connections that read a SQLite file; two more write.
#[cfg(feature = "sqlite")]
pub(crate) const SQLITE_READERS: u32 = 5;

/// How far in the future a lease in a SQLite file may start before a clock must have been set back:
/// longer than any process waits for the file's lock.
#[cfg(feature = "sqlite")]
pub(crate) const FARTHEST_LEASE: Duration = Duration::from_secs(30);

/// How long to wait for the hooks of a connection to a SQLite file: sqlx has been seen to lose the
/// wake-up that they wait for.
#[cfg(feature = "sqlite")]
pub(crate) const LONGEST_HOOKING: Duration = Duration::from_secs(1);

/// How many steps of SQLite's machine a statement runs before it is asked whether it may go on:
/// well below a millisecond.
#[cfg(feature = "sqlite")]
pub(crate) const STEPS_UNASKED: i32 = 10_000;

/// Questions, or rows of no question, that are looked through in one transaction of a purge: it
/// holds up nobody for long.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) const PURGE_BATCH: i64 = 200;

/// Counters that are written at once: decisions are not held up for long.
pub(crate) const COUNTERS_A_BATCH: usize = 100;

/// Counters that may wait to be written. With more than that the store is slower than what comes,
/// and deliveries wait for it.
pub(crate) const MOST_COUNTERS: usize = 10_000;

/// How often the log is told of a fault that every delivery could cause.
pub(crate) const BETWEEN_FAULTS_TOLD: Duration = Duration::from_secs(1);

/// How long a [`Redrive`](crate::store::Redrive) is good: enough to send it, and not to keep it.
pub(crate) const REDRIVE_GOOD_FOR: Duration = Duration::from_mins(10);

/// How deep a context or a question may nest: `serde_json` writes any depth, and reads this one.
pub(crate) const DEEPEST_JSON: usize = 127;

/// How long connecting to an ATP server may take, TLS included, unless set: three lost packets are
/// sent again within it.
#[cfg(feature = "client")]
pub const DEFAULT_CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// How long one try at a call to an ATP server may take, unless set: as long as a relay waits.
#[cfg(feature = "client")]
pub const DEFAULT_CALL_WITHIN: Duration = Duration::from_secs(10);

/// How often a call to an ATP server is tried, unless set: with the waits between them a server that
/// is started anew is survived.
#[cfg(feature = "client")]
pub const DEFAULT_TRIES: u32 = 4;

/// How long after the first try at a call the last one may begin, unless set: whoever waits for an
/// answer waits no longer than half a minute and one try.
#[cfg(feature = "client")]
pub const DEFAULT_RETRY_WITHIN: Duration = Duration::from_secs(30);

/// How long a call waits before its second try.
#[cfg(feature = "client")]
pub(crate) const FIRST_RETRY: Duration = Duration::from_millis(500);

/// How long a call waits between two tries at most, unless the server asks for more.
#[cfg(feature = "client")]
pub(crate) const LONGEST_RETRY: Duration = Duration::from_secs(10);

/// The longest time that a server's `Retry-After` is told as: more than that is no time to wait, and
/// a sum with it must not overflow.
#[cfg(any(feature = "client", feature = "outbox-http"))]
pub(crate) const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(24 * 366);

/// Notifications in any minute, unless set: what the protocol allows a service.
#[cfg(feature = "client")]
pub const DEFAULT_NOTIFICATIONS_A_MINUTE: u32 = 100;

/// Changes of a status in any minute, unless set: what the protocol allows a service.
#[cfg(feature = "client")]
pub const DEFAULT_STATUS_CHANGES_A_MINUTE: u32 = 200;

/// After how long one of the calls that are allowed in a minute is allowed again: a minute, and a
/// second for how differently long requests are on their way.
#[cfg(feature = "client")]
pub(crate) const CALLS_COME_BACK_AFTER: Duration = Duration::from_secs(61);

/// How much later than the next call somebody is told to come back who is one of very many.
#[cfg(feature = "client")]
pub(crate) const LONGEST_COMING_BACK: Duration = Duration::from_mins(10);

/// The longest body of an ATP server that is read, in bytes: an answer has some hundred.
#[cfg(feature = "client")]
pub(crate) const LONGEST_CALL_ANSWER: usize = 64 << 10;

/// How much of a code or a message of an ATP server is told in the text of an error, in bytes.
#[cfg(feature = "client")]
pub(crate) const LONGEST_SERVER_TEXT: usize = 200;

/// How long an event that is for an ATP server waits for its turn before others are let forward, and
/// how long the one try at it may take then: both fit into the time that a relay gives a sink.
#[cfg(feature = "client")]
pub(crate) const SINK_TURN_WITHIN: Duration = Duration::from_secs(2);

/// See [`SINK_TURN_WITHIN`].
#[cfg(feature = "client")]
pub(crate) const SINK_CALL_WITHIN: Duration = Duration::from_secs(7);

/// How many ids that an ATP server gave are kept in memory while the store cannot take them. Each
/// holds back its own question alone; of more than that the eldest are forgotten.
#[cfg(feature = "client")]
pub(crate) const MOST_UNBOUND: usize = 10_000;
