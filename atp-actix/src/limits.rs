//! Every number that bounds something, once, with its reason.

use std::time::Duration;

/// The longest name of a service, in bytes: with a notification's id it fits into a key of any database.
pub const MAX_SERVICE: usize = 250;

/// How many refused bodies of one notification are kept. A sender may sign as many answers as it likes; whoever looks into a
/// notification that was refused so often needs no more of them.
pub const MAX_KEPT: u32 = 100;

/// How long an ATP server may go on delivering an answer, unless set: three days.
pub const DEFAULT_REDELIVERY_WINDOW: Duration = Duration::from_hours(72);

/// How long the stores' `close` lets handlers go on: as long as actix, unless set, waits for its connections.
pub const DRAIN_WITHIN: Duration = Duration::from_secs(30);
