//! What may be done to a webhook with a store, and random sequences of it.

use std::fmt;

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{
    leaving::{BUS, SERVER, SINKS},
    running::first_word,
};
use crate::support::random::Random;

/// The ids that the ATP server gives.
pub(super) const IDS: [&str; 2] = ["n-0", "n-1"];

/// The key of a question that has no id until it is bound. Others are recorded under their own id.
const OURS: &str = "ours";

/// The answers that may come: an action, its data, and why no question takes it.
pub(super) fn answers() -> [(&'static str, Value, Option<&'static str>); 5] {
    [
        ("approve", Value::Null, None),
        ("reject", json!("no"), None),
        ("delay", json!("1h"), None),
        ("reject", json!(7), Some("400 INVALID_RESPONSE_DATA")),
        ("else", Value::Null, Some("400 INVALID_ACTION_ID")),
    ]
}

pub(super) const SECOND: Seconds = Seconds(1);
const MINUTE: Seconds = Seconds(60);
const HOUR: Seconds = Seconds(3600);

/// A time's length that reads well in a list of steps.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Seconds(pub(super) i64);

impl Seconds {
    pub(super) const fn times(self, count: i64) -> Self {
        Self(self.0 * count)
    }

    pub(super) fn delta(self) -> TimeDelta {
        TimeDelta::seconds(self.0)
    }
}

impl fmt::Debug for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            hours if hours != 0 && hours % 3600 == 0 => write!(f, "{} h", hours / 3600),
            minutes if minutes != 0 && minutes % 60 == 0 => write!(f, "{} min", minutes / 60),
            seconds => write!(f, "{seconds} s"),
        }
    }
}

/// What a handler does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Does {
    /// Writes, and succeeds.
    Succeeds,
    /// Succeeds without a transaction.
    Passes,
    /// Writes, and refuses for ever.
    Refuses,
    /// Refuses for ever without a transaction.
    Declines,
    /// Refuses this one answer, without a transaction.
    LeavesOpen,
    /// Writes, and fails for now.
    Fails,
    Panics,
}

/// What another process does with a claim that it made.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Completes,
    CompletesInTransaction,
    DropsTransaction,
    Releases,
}

/// What somebody who sends says of an attempt.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ending {
    Sent,
    /// Its own fault.
    Again(Seconds),
    /// Not its own fault.
    Away(Seconds),
    Parked,
}

/// What may be done with what leaves the service.
#[derive(Clone, Debug)]
pub(super) enum SendStep {
    /// An event of the service's own; there are a few, and they come again.
    Emit {
        nth: usize,
        subject: Option<&'static str>,
        sinks: &'static [&'static str],
    },
    /// Whoever leased and says nothing of it died, until he says it after all.
    Lease {
        sink: &'static str,
        most: u32,
        lease: Seconds,
    },
    /// Of the oldest lease, or of all.
    Say {
        sink: &'static str,
        of_all: bool,
        end: Ending,
    },
    /// Of what was said already.
    SayAgain {
        nth: usize,
        end: Ending,
    },
    Release {
        sink: &'static str,
        nth: usize,
    },
    Forget {
        sink: &'static str,
        nth: usize,
    },
    Tidy {
        keep: Seconds,
    },
}

impl SendStep {
    fn random(random: &mut Random) -> Self {
        let [first, other] = IDS;
        let sink = random.one(&[BUS, BUS, SERVER]);
        let nth = random.below(100);
        let (now, later) = (SECOND.times(0), MINUTE.times(2));
        let end = random.one(&[
            Ending::Sent,
            Ending::Sent,
            Ending::Sent,
            Ending::Again(now),
            Ending::Again(later),
            Ending::Away(now),
            Ending::Away(HOUR.times(20)),
            Ending::Parked,
            Ending::Parked,
        ]);
        match random.below(100) {
            0..22 => Self::Emit {
                nth: nth % 8,
                subject: random.one(&[None, Some(first), Some(first), Some(other)]),
                sinks: random.one(&[&[BUS], &[BUS], &[SERVER], &SINKS]),
            },
            22..52 => {
                let leases = [MINUTE, MINUTE.times(5), MINUTE.times(20)];
                Self::Lease { sink, most: random.one(&[1, 2, 100, 100]), lease: random.one(&leases) }
            }
            52..82 => Self::Say { sink, of_all: random.below(3) > 0, end },
            82..86 => Self::SayAgain { nth, end },
            86..91 => Self::Release { sink, nth },
            91..95 => Self::Forget { sink, nth },
            _ => Self::Tidy { keep: random.one(&[now, MINUTE, HOUR.times(2)]) },
        }
    }
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Record {
        key: &'static str,
        deadline: Option<Seconds>,
    },
    RecordAgain {
        key: &'static str,
    },
    Bind {
        key: &'static str,
        id: &'static str,
    },
    Deliver {
        id: &'static str,
        answer: usize,
        age: Seconds,
        takes_late: bool,
        handler: Does,
    },
    Forge {
        id: &'static str,
    },
    /// A kept body.
    Redrive {
        nth: usize,
        takes_late: bool,
        handler: Does,
    },
    /// A delivery whose handler hangs until it is let go.
    Hang {
        id: &'static str,
        answer: usize,
        takes_late: bool,
    },
    LetGo {
        handler: Does,
    },
    /// The sender of one that hangs gives up waiting.
    HangUp,
    /// Another process takes the decision. Unless it goes on, it died.
    ClaimElsewhere {
        id: &'static str,
        answer: usize,
    },
    GoOnElsewhere {
        end: End,
    },
    Wait(Seconds),
    Invalidate {
        id: &'static str,
    },
    Reopen {
        id: &'static str,
    },
    Erase {
        id: &'static str,
    },
    Purge {
        before: Seconds,
    },
    /// What leaves the service.
    Send(SendStep),
    /// The clock is set back.
    SetBack(Seconds),
}

impl Step {
    fn random(random: &mut Random) -> Self {
        let [first, other] = IDS;
        let id = random.one(&[first, first, first, other]);
        let key = random.one(&[first, first, other, OURS]);
        let answer = random.one(&[0, 0, 0, 0, 1, 1, 2, 3, 4]);
        let takes_late = random.below(3) == 0;
        let handler = random.one(&[
            Does::Succeeds,
            Does::Succeeds,
            Does::Succeeds,
            Does::Passes,
            Does::Refuses,
            Does::Declines,
            Does::LeavesOpen,
            Does::Fails,
            Does::Panics,
        ]);
        match random.below(100) {
            0..7 => {
                let passed = Some(MINUTE.times(-1));
                let deadlines =
                    [None, Some(SECOND.times(0)), Some(MINUTE.times(2)), Some(HOUR.times(20)), passed];
                Self::Record { key, deadline: random.one(&deadlines) }
            }
            7..10 => Self::RecordAgain { key },
            10..15 => Self::Bind { key: random.one(&[OURS, OURS, OURS, key]), id },
            15..43 => {
                let now = SECOND.times(0);
                let ages = [now, now, now, now, SECOND, HOUR, HOUR.times(72), HOUR.times(80), HOUR.times(-1)];
                Self::Deliver { id, answer, age: random.one(&ages), takes_late, handler }
            }
            43 => Self::Forge { id },
            44..53 => Self::Redrive { nth: random.below(100), takes_late, handler },
            53..60 => Self::Hang { id, answer, takes_late },
            60..65 => Self::LetGo { handler },
            65 => Self::HangUp,
            66..72 => Self::ClaimElsewhere { id, answer: answer % 3 },
            72..77 => {
                let ends =
                    [End::Completes, End::CompletesInTransaction, End::DropsTransaction, End::Releases];
                Self::GoOnElsewhere { end: random.one(&ends) }
            }
            77..88 => {
                let times = [SECOND, MINUTE.times(2), MINUTE.times(5), HOUR.times(20), HOUR.times(72)];
                Self::Wait(random.one(&times))
            }
            88..91 => Self::Invalidate { id },
            91..94 => Self::Reopen { id },
            94..96 => Self::Erase { id },
            _ => Self::Purge { before: random.one(&[HOUR.times(71), HOUR.times(72), HOUR.times(90)]) },
        }
    }

    /// What leaves the service, without answers, and with a clock that is set back: those who answer
    /// are judged by it.
    fn random_without_answers(random: &mut Random) -> Self {
        let id = random.one(&IDS);
        match random.below(100) {
            0..75 => Self::Send(SendStep::random(random)),
            75..80 => Self::Record { key: id, deadline: None },
            80..83 => Self::Invalidate { id },
            83..95 => {
                let times = [SECOND, MINUTE, MINUTE.times(2), MINUTE.times(10), HOUR.times(7)];
                Self::Wait(random.one(&times))
            }
            _ => Self::SetBack(random.one(&[MINUTE, MINUTE.times(15), HOUR, HOUR.times(20)])),
        }
    }

    pub(super) fn sequence(seed: u64) -> Vec<Self> {
        let mut random = Random(seed);
        if random.below(4) == 0 {
            return (0..10 + random.below(25)).map(|_| Self::random_without_answers(&mut random)).collect();
        }
        // Most begin with a question: without one nothing can be decided.
        let mut steps = match random.below(8) {
            0..3 => vec![Self::Record { key: IDS[0], deadline: None }],
            3..5 => vec![Self::Record { key: IDS[0], deadline: Some(HOUR.times(20)) }],
            5 => vec![Self::Record { key: OURS, deadline: None }, Self::Bind { key: OURS, id: IDS[0] }],
            6 => vec![Self::Record { key: OURS, deadline: None }],
            _ => Vec::new(),
        };
        for _ in 0..5 + random.below(12) {
            let step = Self::random(&mut random).or_what_it_needs(&steps);
            let is_lucky = random.below(2) == 0;
            let is_claim = matches!(step, Self::Hang { .. } | Self::ClaimElsewhere { .. });
            // Nothing is forgotten earlier.
            if is_lucky && matches!(step, Self::Purge { .. }) {
                steps.push(Self::Wait(HOUR.times(92)));
            }
            steps.push(step);
            if is_lucky && is_claim {
                steps.push(Self::Wait(MINUTE.times(5)));
            }
            while random.below(5) < 2 {
                steps.push(Self::Send(SendStep::random(&mut random)));
            }
        }
        steps
    }

    /// The step, or another where nothing would come of it.
    fn or_what_it_needs(self, earlier: &[Self]) -> Self {
        let came = |is_needed: fn(&Self) -> bool| earlier.iter().any(is_needed);
        let id = IDS[0];
        match self {
            Self::LetGo { .. } | Self::HangUp if !came(|step| matches!(step, Self::Hang { .. })) => {
                Self::Hang { id, answer: 0, takes_late: false }
            }
            Self::GoOnElsewhere { .. } if !came(|step| matches!(step, Self::ClaimElsewhere { .. })) => {
                Self::ClaimElsewhere { id, answer: 0 }
            }
            Self::Bind { key: OURS, .. } if !came(|step| matches!(step, Self::Record { key: OURS, .. })) => {
                Self::Record { key: OURS, deadline: None }
            }
            Self::Reopen { .. } if !came(Self::may_refuse) => {
                Self::Deliver { id, answer: 0, age: Seconds(0), takes_late: false, handler: Does::Refuses }
            }
            step => step,
        }
    }

    fn may_refuse(&self) -> bool {
        use Does::{Declines, Refuses};
        matches!(
            self,
            Self::Deliver { handler: Refuses | Declines, .. } | Self::LetGo { handler: Refuses | Declines }
        )
    }

    pub(super) fn name(&self) -> String {
        match self {
            Self::Send(step) => first_word(step),
            step => first_word(step),
        }
    }
}
