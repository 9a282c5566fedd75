//! What became of a verified delivery, in a word.

/// What became of a verified delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Verdict {
    /// Its handler ran and succeeded, which was recorded.
    Handled,
    /// It was handled before.
    Replayed,
    /// Another delivery was at it.
    Running,
    /// Its handler refused it with a 4xx, which was recorded.
    Refused,
    /// Its handler refused it with a 4xx that leaves the question open.
    LeftOpen,
    /// Its handler failed, or the store did.
    Failed,
    /// Its handler began, and its process died before it ended.
    Abandoned,
    /// Another answer stands.
    Conflict,
    /// The deadline had passed, or the question was taken back.
    Late,
    /// It was signed longer ago than servers deliver again, or in the future.
    Stale,
    /// Its action is not of the question, or its data does not fit.
    Unfit,
    /// The notification was not recorded.
    Unknown,
    /// Its responder may not decide.
    Forbidden,
    /// It is no answer.
    Malformed,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Handled,
        Self::Replayed,
        Self::Running,
        Self::Refused,
        Self::LeftOpen,
        Self::Failed,
        Self::Abandoned,
        Self::Conflict,
        Self::Late,
        Self::Stale,
        Self::Unfit,
        Self::Unknown,
        Self::Forbidden,
        Self::Malformed,
    ];

    /// The name in the database and in logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Handled => "handled",
            Self::Replayed => "replayed",
            Self::Running => "running",
            Self::Refused => "refused",
            Self::LeftOpen => "left open",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
            Self::Conflict => "conflict",
            Self::Late => "late",
            Self::Stale => "stale",
            Self::Unfit => "unfit",
            Self::Unknown => "unknown",
            Self::Forbidden => "forbidden",
            Self::Malformed => "malformed",
        }
    }
}
