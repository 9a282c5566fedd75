//! Random sequences of steps beside a small model of what a webhook with a store promises, on every store.
//!
//! 40 sequences a store unless `ATP_MODEL` says how many; `ATP_SEED` repeats a run. A sequence that goes otherwise than the
//! model is cut down to the steps that it takes, and is told with the seed that repeats it alone.
//!
//! Time is the model's own: it stands still until a step moves it, so that both sides of every limit are met exactly.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    env, fmt, panic,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use actix_web::{
    Error as ActixError, FromRequest as _, HttpRequest,
    http::StatusCode,
    rt::{self, task::JoinHandle, time::sleep},
};
use atp_actix::{
    AtpResponse, Decisions, Error, ErrorReply, PostgresTransaction, SqliteTransaction, Verifier, Webhook,
    atp_core::{Fingerprint, RawJson},
    store::{
        Claim, Claimed, Completion, MemoryStore, PostgresStore, Question, Redrive, STATE_LATE, STATE_REFUSED,
        SqliteStore, Store, StoreError, StoredRefusal, Verdict,
    },
    test::{Judged, Sender, SignedAnswer, judged},
};
use atp_tests::{PATH, SECRET};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::support::{
    asked::{arrival, asked, verifier},
    databases::{Database as _, PostgresDatabase, SqliteDatabase},
    mounted::Mounted,
    random::{Random, seed},
};

#[actix_web::test]
async fn random_sequences_go_as_the_model_says_in_memory() {
    sequences(Memory::default()).await;
}

#[actix_web::test]
async fn random_sequences_go_as_the_model_says_on_sqlite() {
    sequences(SqliteDatabase::new().await).await;
}

#[actix_web::test]
async fn random_sequences_go_as_the_model_says_on_postgres() {
    if let Some(database) = PostgresDatabase::new().await {
        sqlx::raw_sql(CLOCK).execute(&database.pool).await.expect("a clock");
        sequences(database).await;
    }
}

/// The ids that the ATP server gives.
const IDS: [&str; 2] = ["n-0", "n-1"];

/// The key of a question that has no id until it is bound. Others are recorded under their own id.
const OURS: &str = "ours";

/// The answers that may come: an action, its data, and why no question takes it.
fn answers() -> [(&'static str, Value, Option<&'static str>); 5] {
    [
        ("approve", Value::Null, None),
        ("reject", json!("no"), None),
        ("delay", json!("1h"), None),
        ("reject", json!(7), Some("400 INVALID_RESPONSE_DATA")),
        ("else", Value::Null, Some("400 INVALID_ACTION_ID")),
    ]
}

const LEASE: TimeDelta = TimeDelta::minutes(5);
const GRACE: TimeDelta = TimeDelta::minutes(10);
const WINDOW: TimeDelta = TimeDelta::hours(72);
const TOLERANCE: TimeDelta = TimeDelta::minutes(5);

const SECOND: Seconds = Seconds(1);
const MINUTE: Seconds = Seconds(60);
const HOUR: Seconds = Seconds(3600);

/// A time's length that reads well in a list of steps.
#[derive(Clone, Copy, PartialEq)]
struct Seconds(i64);

impl Seconds {
    const fn times(self, count: i64) -> Self {
        Self(self.0 * count)
    }

    fn delta(self) -> TimeDelta {
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
enum Does {
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
enum End {
    Completes,
    CompletesInTransaction,
    DropsTransaction,
    Releases,
}

#[derive(Clone, Debug)]
enum Step {
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

    fn sequence(seed: u64) -> Vec<Self> {
        let mut random = Random(seed);
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

    fn name(&self) -> String {
        first_word(self)
    }
}

type Time = DateTime<Utc>;

struct Asked {
    id: Option<&'static str>,
    recorded_at: Time,
    deadline: Option<Time>,
    invalidated_at: Option<Time>,
    state: Option<&'static str>,
}

enum Decision {
    /// With what is kept of it if nobody goes on.
    Running {
        holder: usize,
        until: Time,
        left: Option<Answer>,
    },
    Completed {
        answer: usize,
        told: String,
        at: Time,
    },
}

struct Counted {
    count: u64,
    first: Time,
    last: Time,
    /// Whether it is still known who answered.
    names_responder: bool,
}

#[derive(Clone)]
struct Body {
    id: &'static str,
    verdict: Verdict,
    refused_at: Time,
    answer: Answer,
}

/// An answer as it was signed.
#[derive(Clone)]
struct Answer {
    id: &'static str,
    which: usize,
    at: Time,
    body: Bytes,
    /// Its age counts no more.
    is_redriven: bool,
}

struct Model {
    now: Time,
    has_transactions: bool,
    asked: BTreeMap<&'static str, Asked>,
    decisions: BTreeMap<&'static str, Decision>,
    counted: BTreeMap<(&'static str, usize, Verdict), Counted>,
    kept: Vec<Body>,
    /// For good: also where the question is forgotten.
    erased: BTreeSet<&'static str>,
    effects: Vec<&'static str>,
    holders: usize,
    fingerprint_key: [u8; 32],
}

const INVALID: &str = "401 Invalid signature";
const AWAY: &str = "503 Service temporarily unavailable";
const FAULT: &str = "500 Internal server error";

impl Model {
    fn new(now: Time, has_transactions: bool, fingerprint_key: [u8; 32]) -> Self {
        Self {
            now,
            has_transactions,
            asked: BTreeMap::new(),
            decisions: BTreeMap::new(),
            counted: BTreeMap::new(),
            kept: Vec::new(),
            erased: BTreeSet::new(),
            effects: Vec::new(),
            holders: 0,
            fingerprint_key,
        }
    }

    fn question(&self, id: &str) -> Option<&Asked> {
        self.asked.values().find(|asked| asked.id == Some(id))
    }

    fn question_mut(&mut self, id: &str) -> Option<&mut Asked> {
        self.asked.values_mut().find(|asked| asked.id == Some(id))
    }

    fn completed(&self, id: &str) -> Option<(usize, &str)> {
        match self.decisions.get(id)? {
            Decision::Completed { answer, told, .. } => Some((*answer, told)),
            Decision::Running { .. } => None,
        }
    }

    fn is_refusal(&self, id: &str) -> bool {
        self.completed(id).is_some_and(|(_, told)| told.starts_with('4'))
    }

    fn record(&mut self, key: &'static str, deadline: Option<Time>) -> &'static str {
        let id = IDS.contains(&key).then_some(key);
        if self.asked.contains_key(key) {
            return "()";
        }
        if deadline.is_some_and(|deadline| deadline < self.now) {
            return "DeadlinePassed";
        }
        if id.is_some_and(|id| self.question(id).is_some()) {
            return "AlreadyRecorded";
        }
        let recorded_at = self.now;
        self.asked.insert(key, Asked { id, recorded_at, deadline, invalidated_at: None, state: None });
        "()"
    }

    fn bind(&mut self, key: &'static str, id: &'static str) -> &'static str {
        let is_taken = self.question(id).is_some();
        match self.asked.get_mut(key) {
            None => "NotRecorded",
            Some(asked) if asked.id == Some(id) => "()",
            Some(asked) if asked.id.is_none() && !is_taken => {
                asked.id = Some(id);
                "()"
            }
            Some(_) => "AlreadyRecorded",
        }
    }

    fn invalidate(&mut self, id: &str) -> &'static str {
        if self.completed(id).is_some() {
            return "Decided";
        }
        if matches!(self.decisions.get(id), Some(Decision::Running { until, .. }) if self.now < *until) {
            return "Running";
        }
        let now = self.now;
        let Some(asked) = self.question_mut(id) else { return "NotRecorded" };
        asked.invalidated_at.get_or_insert(now);
        "()"
    }

    fn reopen(&mut self, id: &str) -> &'static str {
        if !self.is_refusal(id) {
            return "NotRefused";
        }
        self.decisions.remove(id);
        if let Some(asked) = self.question_mut(id) {
            asked.state = None;
        }
        "()"
    }

    fn erase(&mut self, id: &'static str) -> &'static str {
        match self.decisions.get_mut(id) {
            Some(Decision::Running { until, .. }) if self.now < *until => return "Running",
            Some(Decision::Running { left, .. }) => *left = None,
            _ => {}
        }
        self.erased.insert(id);
        self.kept.retain(|body| body.id != id);
        for ((of, ..), counted) in &mut self.counted {
            counted.names_responder &= *of != id;
        }
        "()"
    }

    fn purge(&mut self, before: Time) -> String {
        if self.now - before < WINDOW {
            return "TooRecent".to_owned();
        }
        let asked = std::mem::take(&mut self.asked);
        let (gone, stay): (BTreeMap<_, _>, _) = asked.into_iter().partition(|(_, asked)| {
            self.ended_at(asked, before).is_some_and(|end| end < before) && !self.came_since(asked, before)
        });
        self.asked = stay;
        let forgotten: Vec<_> = gone.values().filter_map(|asked| asked.id).collect();
        self.decisions.retain(|id, _| !forgotten.contains(id));
        self.counted.retain(|(id, ..), _| !forgotten.contains(id));
        self.kept.retain(|body| !forgotten.contains(&body.id));
        let known: Vec<_> = self.asked.values().filter_map(|asked| asked.id).collect();
        self.counted.retain(|(id, ..), counted| known.contains(id) || counted.last >= before);
        self.kept.retain(|body| known.contains(&body.id) || body.refused_at >= before);
        gone.len().to_string()
    }

    /// Whether anything of a question came or was refused since.
    fn came_since(&self, asked: &Asked, since: Time) -> bool {
        let is_of_it = |id: &str| asked.id == Some(id);
        self.counted.iter().any(|((id, ..), counted)| is_of_it(id) && counted.last >= since)
            || self.kept.iter().any(|body| is_of_it(body.id) && body.refused_at >= since)
    }

    /// Moves what was left under a lease that ended to what is refused.
    fn tell_abandoned(&mut self) {
        let mut told = Vec::new();
        for (id, decision) in &mut self.decisions {
            if let Decision::Running { until, left, .. } = decision
                && *until < self.now
                && let Some(answer) = left.take()
            {
                told.push((*until, *id, answer));
            }
        }
        told.sort_by_key(|(until, id, _)| (*until, *id));
        for (.., answer) in told {
            self.keep(&answer, Verdict::Abandoned);
        }
    }

    /// When nothing more could come of a question.
    fn ended_at(&self, asked: &Asked, before: Time) -> Option<Time> {
        match asked.id.and_then(|id| self.decisions.get(id)) {
            Some(Decision::Completed { at, .. }) => Some(*at),
            Some(Decision::Running { until, .. }) if before <= *until => None,
            _ => asked.invalidated_at.or(asked.deadline),
        }
    }

    /// What comes of an answer before its handler runs: whether it is for the handler of late ones, or what it is told.
    fn judge(&self, answer: &Answer, takes_late: bool) -> Result<bool, (Verdict, String)> {
        let stop = |verdict, told: &str| Err((verdict, told.to_owned()));
        if let Some((stands, told)) = self.completed(answer.id) {
            return if stands == answer.which {
                stop(Verdict::Replayed, told)
            } else if told.starts_with('2') {
                stop(Verdict::Conflict, "409 NOTIFICATION_ALREADY_RESPONDED")
            } else {
                stop(Verdict::Conflict, "409 ALREADY_REFUSED")
            };
        }
        let is_ahead = answer.at - self.now > TOLERANCE;
        if !answer.is_redriven && (is_ahead || self.now - answer.at > WINDOW) {
            return stop(Verdict::Stale, INVALID);
        }
        let Some(asked) = self.question(answer.id) else {
            let is_new = self.now - self.first_seen(answer.id) < GRACE;
            return stop(Verdict::Unknown, if is_new { AWAY } else { "404 NOTIFICATION_NOT_FOUND" });
        };
        if let Some(told) = answers()[answer.which].2 {
            return stop(Verdict::Unfit, told);
        }
        let is_expired = asked.deadline.is_some_and(|deadline| answer.at > deadline);
        let is_late = is_expired || asked.invalidated_at.is_some();
        if is_late && !takes_late {
            let is_invalidated = asked.invalidated_at.is_some();
            let code =
                if is_invalidated { "409 NOTIFICATION_INVALIDATED" } else { "409 NOTIFICATION_EXPIRED" };
            return stop(Verdict::Late, code);
        }
        match self.decisions.get(answer.id) {
            Some(Decision::Running { until, .. }) if self.now < *until => stop(Verdict::Running, AWAY),
            _ => Ok(is_late),
        }
    }

    fn first_seen(&self, id: &str) -> Time {
        let of_it = self.counted.iter().filter(|((of, ..), _)| *of == id);
        of_it.map(|(_, counted)| counted.first).min().unwrap_or(self.now)
    }

    fn claim(&mut self, answer: &Answer) -> usize {
        self.holders += 1;
        // What died is not lost where another answer takes its place.
        if let Some(Decision::Running { left: Some(died), .. }) = self.decisions.get(answer.id)
            && died.which != answer.which
        {
            self.keep(&died.clone(), Verdict::Abandoned);
        }
        let left = Some(answer.clone()).filter(|answer| !self.erased.contains(answer.id));
        let running = Decision::Running { holder: self.holders, until: self.now + LEASE, left };
        self.decisions.insert(answer.id, running);
        self.holders
    }

    /// Whether a claim is still its holder's. That its lease ended changes nothing until another takes it.
    fn holds(&self, id: &str, of: usize) -> bool {
        matches!(self.decisions.get(id), Some(Decision::Running { holder, .. }) if *holder == of)
    }

    fn complete(&mut self, id: &'static str, answer: usize, is_late: bool, told: String) {
        let state = match (told.starts_with('2'), is_late) {
            (false, _) => STATE_REFUSED,
            (true, true) => STATE_LATE,
            (true, false) => answers()[answer].0,
        };
        if let Some(asked) = self.question_mut(id) {
            asked.state = Some(state);
        }
        self.decisions.insert(id, Decision::Completed { answer, told, at: self.now });
    }

    /// A delivery that is told why it goes no further.
    fn stopped(&mut self, answer: &Answer, verdict: Verdict) {
        self.count(answer, verdict);
        match verdict {
            Verdict::Replayed if self.is_refusal(answer.id) => self.keep(answer, Verdict::Refused),
            Verdict::Replayed | Verdict::Running => {}
            _ => self.keep(answer, verdict),
        }
    }

    /// What a delivery is told whose handler ran under this claim.
    fn handled(&mut self, answer: &Answer, holder: usize, is_late: bool, handler: Does) -> String {
        let is_ours = self.holds(answer.id, holder);
        let told = match handler {
            Does::Succeeds | Does::Passes => {
                let time = if is_late { "late" } else { "timely" };
                format!("200 {time} {}", answers()[answer.which].0)
            }
            Does::Refuses | Does::Declines => "409 REFUSED".to_owned(),
            Does::LeavesOpen => "409 NOT YOU".to_owned(),
            Does::Fails => AWAY.to_owned(),
            Does::Panics => FAULT.to_owned(),
        };
        // Outside of a transaction it happens at least once: whoever lost his claim had done it already.
        if handler == Does::Succeeds && (is_ours || !self.has_transactions) {
            self.effects.push(answer.id);
        }
        if handler == Does::LeavesOpen {
            if is_ours {
                self.decisions.remove(answer.id);
            }
            self.stopped(answer, Verdict::LeftOpen);
            return told;
        }
        if is_ours && !told.starts_with('5') {
            self.complete(answer.id, answer.which, is_late, told.clone());
            if self.is_refusal(answer.id) {
                self.keep(answer, Verdict::Refused);
                self.count(answer, Verdict::Refused);
            } else {
                self.count(answer, Verdict::Handled);
            }
            return told;
        }
        if is_ours {
            self.decisions.remove(answer.id);
        }
        self.stopped(answer, Verdict::Failed);
        if told.starts_with('5') { told } else { AWAY.to_owned() }
    }

    fn count(&mut self, answer: &Answer, verdict: Verdict) {
        let now = self.now;
        let names_responder = !self.erased.contains(answer.id);
        let none = Counted { count: 0, first: now, last: now, names_responder };
        let counted = self.counted.entry((answer.id, answer.which, verdict)).or_insert(none);
        *counted = Counted { count: counted.count + 1, first: counted.first, last: now, names_responder };
    }

    fn keep(&mut self, answer: &Answer, verdict: Verdict) {
        let (id, now) = (answer.id, self.now);
        if self.erased.contains(id) {
            return;
        }
        if let Some(body) = self.kept.iter_mut().find(|body| body.answer.body == answer.body) {
            body.verdict = verdict;
            return;
        }
        let body = Body { id, verdict, refused_at: now, answer: answer.clone() };
        self.kept.push(body);
    }

    /// What a store is to say of a notification: the question's key and deadline, whether it was taken back, and its state;
    /// the answer that stands, and its status.
    fn found(&self, id: &str) -> String {
        let question = self.asked.iter().find(|(_, asked)| asked.id == Some(id)).map(|(key, asked)| {
            (*key, asked.recorded_at, asked.deadline, asked.invalidated_at.is_some(), asked.state)
        });
        let decision =
            self.completed(id).map(|(answer, told)| (self.fingerprint(answer), told[..3].to_owned()));
        format!("{question:?} {decision:?}")
    }

    fn fingerprint(&self, answer: usize) -> Fingerprint {
        fingerprint(answer).keyed(&self.fingerprint_key)
    }

    /// In the order of [`Run::kept`].
    fn refused(&mut self) -> Vec<String> {
        let line = |body: &Body| kept_line(Some(body.id), body.verdict, body.refused_at, &body.answer.body);
        self.kept.sort_by_key(|body| (body.refused_at, line(body)));
        self.kept.iter().map(line).collect()
    }

    fn deliveries(&self, id: &'static str) -> Vec<String> {
        let of_it = self.counted.iter().filter(|((of, ..), _)| *of == id);
        let line = |((_, answer, verdict), counted): (&(_, usize, Verdict), &Counted)| {
            counted_line(*answer, *verdict, counted.count, counted.names_responder)
        };
        let mut lines: Vec<_> = of_it.map(line).collect();
        // One that was completed by another process, which counts by itself, is told by the decision.
        if let Some((answer, _)) = self.completed(id) {
            let verdict = if self.is_refusal(id) { Verdict::Refused } else { Verdict::Handled };
            if !self.counted.contains_key(&(id, answer, verdict)) {
                lines.push(counted_line(answer, verdict, 1, false));
            }
        }
        lines.sort();
        lines
    }
}

fn kept_line_of(kept: &StoredRefusal) -> String {
    kept_line(kept.notification_id.as_deref(), kept.verdict, kept.refused_at, &kept.body)
}

fn kept_line(id: Option<&str>, verdict: Verdict, refused_at: Time, body: &Bytes) -> String {
    format!("{id:?} {verdict:?} {refused_at} {}", String::from_utf8_lossy(body))
}

fn counted_line(which: usize, verdict: Verdict, count: u64, names_responder: bool) -> String {
    format!("answer {which}: {verdict:?} {count} times, responder known: {names_responder}")
}

fn fingerprint(answer: usize) -> Fingerprint {
    let (action, data, _) = &answers()[answer];
    Fingerprint::new(action, Some(&RawJson::new(data.to_string()).expect("JSON")))
}

/// Time by the model, for whoever asks: microseconds since 1970.
#[derive(Clone)]
struct Clock(Arc<AtomicI64>);

impl Clock {
    fn now(&self) -> Time {
        DateTime::from_timestamp_micros(self.0.load(Ordering::SeqCst)).expect("a time")
    }
}

fn verifier_at(clock: &Clock) -> Verifier {
    let clock = clock.clone();
    verifier().clock(move || clock.now())
}

/// A store with a table of effects beside it.
trait Backend: 'static {
    const NAME: &'static str;
    /// Whether a handler can write in the transaction that its decision completes in.
    const HAS_TRANSACTIONS: bool;
    type Store: Store;

    /// An empty one.
    async fn fresh(&self, clock: &Clock) -> Self::Store;

    /// How many counters are written, where writing them takes time.
    async fn counters(&self) -> Option<i64> {
        None
    }

    /// For a store that does not ask our clock.
    async fn set_time(&self, _: Time) {}

    async fn effects(&self) -> Vec<String>;

    /// A handler's own work.
    async fn write(&self, request: &HttpRequest, id: &str) -> Result<(), ActixError>;
}

#[derive(Default)]
struct Memory(RefCell<Vec<String>>);

impl Backend for Memory {
    const NAME: &'static str = "memory";
    const HAS_TRANSACTIONS: bool = false;
    type Store = MemoryStore;

    async fn fresh(&self, clock: &Clock) -> MemoryStore {
        self.0.borrow_mut().clear();
        let clock = clock.clone();
        MemoryStore::new().clock(move || clock.now())
    }

    async fn effects(&self) -> Vec<String> {
        self.0.borrow().clone()
    }

    async fn write(&self, _: &HttpRequest, id: &str) -> Result<(), ActixError> {
        self.0.borrow_mut().push(id.to_owned());
        Ok(())
    }
}

const EMPTY: &str = "DELETE FROM atp_questions; DELETE FROM atp_decisions; DELETE FROM atp_deliveries;
     DELETE FROM atp_refused; DELETE FROM atp_erased; DELETE FROM effects";

impl Backend for SqliteDatabase {
    const NAME: &'static str = "SQLite";
    const HAS_TRANSACTIONS: bool = true;
    type Store = SqliteStore;

    async fn fresh(&self, clock: &Clock) -> SqliteStore {
        sqlx::raw_sql(EMPTY).execute(&self.pool).await.expect("empty tables");
        let clock = clock.clone();
        // Opened anew: whoever still writes counters for the last one has the clock of that.
        self.file.open().await.clock(move || clock.now())
    }

    async fn counters(&self) -> Option<i64> {
        let count = sqlx::query_scalar("SELECT count(*) FROM atp_deliveries").fetch_one(&self.pool).await;
        Some(count.expect("a number"))
    }

    async fn effects(&self) -> Vec<String> {
        crate::support::databases::Database::effects(self).await
    }

    async fn write(&self, request: &HttpRequest, id: &str) -> Result<(), ActixError> {
        let mut tx = SqliteTransaction::extract(request).await?;
        let insert = sqlx::query("INSERT INTO effects VALUES (?1, '')").bind(id);
        insert.execute(&mut *tx).await.map_err(Error::from)?;
        Ok(())
    }
}

/// The database's clock, by the model.
const CLOCK: &str = "CREATE TABLE model_clock (now BIGINT NOT NULL); INSERT INTO model_clock VALUES (0);
     CREATE OR REPLACE FUNCTION atp_now() RETURNS BIGINT LANGUAGE sql VOLATILE AS 'SELECT now FROM model_clock'";

impl Backend for PostgresDatabase {
    const NAME: &'static str = "PostgreSQL";
    const HAS_TRANSACTIONS: bool = true;
    type Store = PostgresStore;

    async fn fresh(&self, clock: &Clock) -> PostgresStore {
        sqlx::raw_sql(EMPTY).execute(&self.pool).await.expect("empty tables");
        self.set_time(clock.now()).await;
        self.store().clone()
    }

    async fn set_time(&self, now: Time) {
        // What only the test needs need not reach the disk.
        let now = now.timestamp_micros();
        let set = format!("SET synchronous_commit = off; UPDATE model_clock SET now = {now}");
        sqlx::raw_sql(AssertSqlSafe(set)).execute(&self.pool).await.expect("a clock");
    }

    async fn counters(&self) -> Option<i64> {
        let count = sqlx::query_scalar("SELECT count(*) FROM atp_deliveries").fetch_one(&self.pool).await;
        Some(count.expect("a number"))
    }

    async fn effects(&self) -> Vec<String> {
        crate::support::databases::Database::effects(self).await
    }

    async fn write(&self, request: &HttpRequest, id: &str) -> Result<(), ActixError> {
        let mut tx = PostgresTransaction::extract(request).await?;
        let insert = sqlx::query("INSERT INTO effects VALUES ($1, '')").bind(id);
        insert.execute(&mut *tx).await.map_err(Error::from)?;
        Ok(())
    }
}

/// What the handlers share.
struct Bench<B> {
    backend: Rc<B>,
    handler: Cell<Does>,
    /// Whether the next handler hangs.
    hangs: Cell<bool>,
    /// What lets go the one that hangs.
    hanging: RefCell<Option<Rc<Cell<Option<Does>>>>>,
}

impl<B: Backend> Bench<B> {
    async fn does(&self) -> Does {
        if !self.hangs.replace(false) {
            return self.handler.get();
        }
        let gate = Rc::new(Cell::new(None));
        self.hanging.replace(Some(Rc::clone(&gate)));
        loop {
            if let Some(does) = gate.get() {
                return does;
            }
            sleep(Duration::from_millis(1)).await;
        }
    }

    async fn handle(
        self: Rc<Self>,
        is_late: bool,
        request: HttpRequest,
        answer: AtpResponse,
    ) -> Result<String, ActixError> {
        let does = self.does().await;
        let refusal = || Err(ErrorReply::new(StatusCode::CONFLICT, "REFUSED", "no").into());
        if does == Does::Panics {
            // As a panic does, without its message.
            panic::resume_unwind(Box::new("on purpose"));
        }
        if does == Does::Declines {
            return refusal();
        }
        if does == Does::LeavesOpen {
            return Err(ErrorReply::new(StatusCode::CONFLICT, "NOT YOU", "no").leave_open().into());
        }
        if does == Does::Succeeds || (does != Does::Passes && B::HAS_TRANSACTIONS) {
            self.backend.write(&request, &answer.notification_id).await?;
        }
        match does {
            Does::Fails => Err(Error::from(fmt::Error).into()),
            Does::Refuses => refusal(),
            _ => Ok(format!("{} {}", if is_late { "late" } else { "timely" }, answer.action_id)),
        }
    }
}

/// A delivery whose handler hangs.
struct Hanging {
    gate: Rc<Cell<Option<Does>>>,
    /// None where the sender hung up.
    response: Option<JoinHandle<(u16, String)>>,
    answer: Answer,
    is_late: bool,
    holder: usize,
}

/// A claim of another process.
struct Elsewhere {
    claim: Claim,
    id: &'static str,
    answer: usize,
    holder: usize,
}

struct Run<B: Backend> {
    bench: Rc<Bench<B>>,
    clock: Clock,
    store: B::Store,
    strict: Mounted,
    /// With a handler for late answers.
    lenient: Mounted,
    hanging: Vec<Hanging>,
    elsewhere: Vec<Elsewhere>,
    model: Model,
    patience: Duration,
}

/// A step that went otherwise than the model says: which one, and the story until then.
struct Difference {
    at: usize,
    story: Vec<String>,
}

/// What comes of a step that has nothing to work on.
const NOTHING: &str = "nothing";

/// What was met, by name.
type Tally = BTreeMap<String, usize>;

fn same<T: PartialEq + fmt::Debug>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}\n      expected {expected:?}\n      found    {found:?}"))
}

/// The name of a variant.
fn first_word(value: &impl fmt::Debug) -> String {
    let text = format!("{value:?}");
    text.split(|char: char| !char.is_alphanumeric()).next().unwrap_or_default().to_owned()
}

/// What a store said: the value, or the error's name.
fn said<T: fmt::Debug>(result: Result<T, StoreError>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(StoreError::Backend(error)) => format!("the store failed: {error}"),
        Err(error) => first_word(&error),
    }
}

/// A response's status, and its code or what else it says.
fn told((status, body): (u16, String)) -> String {
    let json: Value = serde_json::from_str(&body).unwrap_or_default();
    let text = json["code"].as_str().or(json["error"].as_str()).unwrap_or(&body);
    format!("{status} {text}")
}

impl<B: Backend> Run<B> {
    async fn new(backend: &Rc<B>, patience: Duration) -> Self {
        let start = DateTime::from_timestamp(1_750_000_000, 0).expect("a time");
        let clock = Clock(Arc::new(AtomicI64::new(start.timestamp_micros())));
        let store = backend.fresh(&clock).await;
        let bench = Rc::new(Bench {
            backend: Rc::clone(backend),
            handler: Cell::new(Does::Succeeds),
            hangs: Cell::default(),
            hanging: RefCell::default(),
        });
        let handler = |is_late| {
            let bench = Rc::clone(&bench);
            move |request, answer| Rc::clone(&bench).handle(is_late, request, answer)
        };
        // What hangs is let go by a step, and not by a timer.
        let decisions = || {
            let decisions = Decisions::in_store(store.clone()).respond_within(Duration::from_hours(1));
            decisions.lease(LEASE.to_std().expect("a lease"))
        };
        let webhook = |decisions| {
            let webhook = Webhook::new(PATH, verifier_at(&clock));
            webhook.store(decisions).otherwise(handler(false))
        };
        Self {
            strict: Mounted::new(webhook(decisions())).await,
            lenient: Mounted::new(webhook(decisions().late(handler(true)))).await,
            model: Model::new(start, B::HAS_TRANSACTIONS, *store.get_fingerprint_key()),
            bench,
            clock,
            store,
            hanging: Vec::new(),
            elsewhere: Vec::new(),
            patience,
        }
    }

    fn app(&self, takes_late: bool) -> Mounted {
        if takes_late { self.lenient.clone() } else { self.strict.clone() }
    }

    /// Judges a delivery that is about to come: by the pure judgement alone, which knows of no claim.
    async fn judge(&self, signed: &SignedAnswer, answer: &Answer, takes_late: bool) -> Result<(), String> {
        let decisions = Decisions::in_store(self.store.clone());
        let decisions = if takes_late { decisions.late(|| async { "" }) } else { decisions };
        let found = judged(&verifier_at(&self.clock), &decisions, signed).await;
        let found = match found.map_err(|error| error.to_string())?.map_err(|refusal| refusal.to_string())? {
            Judged::Accepted { is_late } => Ok(is_late),
            Judged::Replayed(_) => Err(Verdict::Replayed),
            Judged::Refused { verdict, .. } => Err(verdict),
            other => return Err(format!("the model does not know {other:?}")),
        };
        match self.model.judge(answer, takes_late).map_err(|(verdict, _)| verdict) {
            Err(Verdict::Running) if found.is_ok() => Ok(()),
            expected => same("the judgement", &found, &expected),
        }
    }

    fn signed(&self, id: &'static str, which: usize, age: Seconds) -> (SignedAnswer, Answer) {
        let (action, data, _) = answers()[which].clone();
        let at = self.model.now - age.delta();
        let signed = Sender::new(SECRET).answer(id, action, data).at(at);
        let body = signed.to_parts().1;
        (signed, Answer { id, which, at, body, is_redriven: false })
    }

    /// Does it, and says what came of it if that is as it must be.
    async fn step(&mut self, step: &Step) -> Result<String, String> {
        match *step {
            Step::Record { key, deadline } => {
                let deadline = deadline.map(|deadline| self.model.now + deadline.delta());
                self.record(key, deadline).await
            }
            Step::RecordAgain { key } => match self.model.asked.get(key) {
                Some(asked) => self.record(key, asked.deadline).await,
                None => Ok(NOTHING.to_owned()),
            },
            Step::Bind { key, id } => {
                let found = said(self.store.bind("default", key, id).await);
                agreed(found, self.model.bind(key, id))
            }
            Step::Deliver { id, answer, age, takes_late, handler } => {
                let (signed, answer) = self.signed(id, answer, age);
                self.judge(&signed, &answer, takes_late).await?;
                self.bench.handler.set(handler);
                let found = told(self.app(takes_late).send(&signed).await);
                agreed(found, &self.delivered(&answer, takes_late, handler))
            }
            Step::Forge { id } => {
                let (signed, _) = self.signed(id, 0, SECOND.times(0));
                agreed(told(self.strict.send(&signed.forged()).await), INVALID)
            }
            Step::Redrive { nth, takes_late, handler } => self.redrive(nth, takes_late, handler).await,
            Step::Hang { id, answer, takes_late } => self.hang(id, answer, takes_late).await,
            Step::LetGo { handler } => self.let_go(handler).await,
            Step::HangUp => {
                let response = self.hanging.iter_mut().find_map(|hanging| hanging.response.take());
                response.as_ref().map(JoinHandle::abort);
                Ok(if response.is_some() { "hung up" } else { NOTHING }.to_owned())
            }
            Step::ClaimElsewhere { id, answer } => self.claim_elsewhere(id, answer).await,
            Step::GoOnElsewhere { end } => self.go_on_elsewhere(end).await,
            Step::Wait(time) => {
                // A counter has the time at which it is written.
                self.settle().await?;
                self.model.now += time.delta();
                self.clock.0.store(self.model.now.timestamp_micros(), Ordering::SeqCst);
                self.bench.backend.set_time(self.model.now).await;
                Ok("time passed".to_owned())
            }
            Step::Invalidate { id } => {
                let expected = self.model.invalidate(id);
                let found = self
                    .in_a_moment(expected, async || self.store.invalidate("default", id, "superseded").await);
                agreed(found.await, expected)
            }
            Step::Reopen { id } => {
                let found = said(self.store.reopen("default", id).await);
                agreed(found, self.model.reopen(id))
            }
            Step::Erase { id } => {
                self.settle().await?;
                let expected = self.model.erase(id);
                let found = self.in_a_moment(expected, async || self.store.erase("default", id).await);
                agreed(found.await, expected)
            }
            Step::Purge { before } => {
                self.settle().await?;
                let before = self.model.now - before.delta();
                agreed(said(self.store.purge(before).await), &self.model.purge(before))
            }
        }
    }

    /// What a verb says that refuses what is running, also where a transaction that was given up is still on its way out.
    async fn in_a_moment(&self, expected: &str, verb: impl AsyncFn() -> Result<(), StoreError>) -> String {
        for _ in 0..100 {
            match said(verb().await) {
                found if found == "Running" && expected != found => sleep(Duration::from_millis(10)).await,
                found => return found,
            }
        }
        "Running".to_owned()
    }

    async fn record(&mut self, key: &'static str, deadline: Option<Time>) -> Result<String, String> {
        let mut notification = asked(key);
        notification.id = IDS.contains(&key).then(|| key.to_owned());
        notification.deadline = deadline;
        // The user tells which question it was.
        let question = Question::new(notification).key(key).user_id(key);
        agreed(said(self.store.record(&question).await), self.model.record(key, deadline))
    }

    /// What a delivery whose handler does not hang is told.
    fn delivered(&mut self, answer: &Answer, takes_late: bool, handler: Does) -> String {
        match self.model.judge(answer, takes_late) {
            Ok(is_late) => {
                let holder = self.model.claim(answer);
                self.model.handled(answer, holder, is_late, handler)
            }
            Err((verdict, told)) => {
                self.model.stopped(answer, verdict);
                told
            }
        }
    }

    async fn redrive(&mut self, nth: usize, takes_late: bool, handler: Does) -> Result<String, String> {
        self.model.tell_abandoned();
        if self.model.kept.is_empty() {
            return Ok(NOTHING.to_owned());
        }
        self.model.refused();
        let nth = nth % self.model.kept.len();
        let kept = self.kept().await?;
        let redrive = Redrive::prepare(&self.store, &verifier_at(&self.clock), "default", kept[nth].id).await;
        let redrive = redrive.map_err(|error| error.to_string())?;
        let answer = Answer { is_redriven: true, ..self.model.kept[nth].answer.clone() };
        same("the body of a redrive", &redrive.body, &answer.body)?;
        self.bench.handler.set(handler);
        let found = told(self.app(takes_late).redrive(redrive).await);
        let expected = self.delivered(&answer, takes_late, handler);
        agreed(found, &expected)
    }

    async fn hang(&mut self, id: &'static str, which: usize, takes_late: bool) -> Result<String, String> {
        let (signed, answer) = self.signed(id, which, SECOND.times(0));
        self.bench.hangs.set(true);
        let app = self.app(takes_late);
        let response = rt::spawn(async move { app.send(&signed).await });
        let gate = loop {
            match self.bench.hanging.take() {
                None if response.is_finished() => break None,
                None => sleep(Duration::from_millis(1)).await,
                gate => break gate,
            }
        };
        self.bench.hangs.set(false);
        let judged = self.model.judge(&answer, takes_late);
        let Some(gate) = gate else {
            let found = told(response.await.expect("no panic"));
            let Err((verdict, told)) = judged else { return Err(format!("no handler ran: {found}")) };
            self.model.stopped(&answer, verdict);
            return agreed(found, &told);
        };
        let is_late = *judged.as_ref().unwrap_or(&false);
        let holder = self.model.claim(&answer);
        self.hanging.push(Hanging { gate, response: Some(response), answer, is_late, holder });
        match judged {
            Ok(_) => Ok("its handler hangs".to_owned()),
            Err((_, told)) => Err(format!("\n      expected {told}\n      found    a handler that runs")),
        }
    }

    async fn let_go(&mut self, handler: Does) -> Result<String, String> {
        if self.hanging.is_empty() {
            return Ok(NOTHING.to_owned());
        }
        let Hanging { gate, response, answer, is_late, holder } = self.hanging.remove(0);
        let is_ours = self.model.holds(answer.id, holder);
        let expected = self.model.handled(&answer, holder, is_late, handler);
        gate.set(Some(handler));
        let story = match response {
            Some(response) => agreed(told(response.await.expect("no panic")), &expected)?,
            None => format!("{expected}, had he waited"),
        };
        if !is_ours || story.ends_with("waited") {
            // It may be done after the answer, or without one.
            self.settle().await?;
        }
        Ok(if is_ours { story } else { format!("{story}, its claim lost") })
    }

    async fn claim_elsewhere(&mut self, id: &'static str, which: usize) -> Result<String, String> {
        let (_, answer) = self.signed(id, which, SECOND.times(0));
        // A process claims what it would handle.
        let judged = self.model.judge(&answer, true);
        let is_late = *judged.as_ref().unwrap_or(&false);
        let expected = match judged {
            Ok(_) => "Started",
            Err((Verdict::Running, _)) => "Running",
            Err((Verdict::Replayed | Verdict::Conflict, _)) => "Completed",
            Err(_) => return Ok(NOTHING.to_owned()),
        };
        let (action, data, _) = answers()[which].clone();
        let fingerprint = self.model.fingerprint(which);
        let claim = Claim::new("default", id, fingerprint, action, arrival(), answer.body.clone())
            .data(data.to_string())
            .late(is_late)
            .lease(LEASE.to_std().expect("a lease"));
        let found = self.store.claim(&claim).await.map(|claimed| match claimed {
            Claimed::Started(()) => "Started",
            Claimed::Running => "Running",
            Claimed::Completed(_) => "Completed",
            _ => "unknown to this test",
        });
        if expected == "Started" {
            let holder = self.model.claim(&answer);
            self.elsewhere.push(Elsewhere { claim, id, answer: which, holder });
        }
        agreed(found.map_or_else(|error| error.to_string(), str::to_owned), expected)
    }

    async fn go_on_elsewhere(&mut self, end: End) -> Result<String, String> {
        if self.elsewhere.is_empty() {
            return Ok(NOTHING.to_owned());
        }
        let Elsewhere { claim, id, answer, holder } = self.elsewhere.remove(0);
        let is_ours = self.model.holds(id, holder);
        let completion = Completion::expected(&claim);
        let (found, is_completed) = match end {
            End::Completes => (said(self.store.complete(&claim, &completion, None).await), true),
            End::CompletesInTransaction => match self.store.resume(&claim).await {
                Ok(open) => (said(self.store.complete(&claim, &completion, Some(open)).await), true),
                Err(error) => (said::<()>(Err(error)), true),
            },
            End::DropsTransaction => (said(self.store.resume(&claim).await.map(drop)), false),
            End::Releases => (said(self.store.release(&claim).await), false),
        };
        if is_ours && is_completed {
            self.model.complete(id, answer, claim.is_late, format!("200 {}", r#"{"status":"success"}"#));
        } else if is_ours && matches!(end, End::Releases) {
            self.model.decisions.remove(id);
        }
        let harmless = is_ours || matches!(end, End::Releases);
        agreed(found, if harmless { "()" } else { "Fenced" })
    }

    /// Whether the store remembers what the model does.
    async fn compare(&mut self) -> Result<(), String> {
        for id in IDS {
            let found = self.store.find("default", id, None).await.map_err(|error| error.to_string())?;
            let question = found.question.map(|asked| {
                let key = asked.user_id.unwrap_or_default();
                let deadline = asked.notification.deadline;
                (key, asked.recorded_at, deadline, asked.invalidated.is_some(), asked.state)
            });
            let decision = found.decision.map(|found| (found.fingerprint, found.outcome.status.to_string()));
            same(
                &format!("what is known of {id}"),
                &format!("{question:?} {decision:?}"),
                &self.model.found(id),
            )?;
        }
        let mut effects = self.bench.backend.effects().await;
        let mut expected = self.model.effects.clone();
        effects.sort_unstable();
        expected.sort_unstable();
        same("effects", &effects.iter().map(String::as_str).collect(), &expected)?;
        let kept: Vec<_> = self.kept().await?.iter().map(kept_line_of).collect();
        self.model.tell_abandoned();
        same("kept", &kept, &self.model.refused())
    }

    /// What is refused, in the order of time. What is refused in the same instant by a request and by what goes on after
    /// one stands in either order.
    async fn kept(&self) -> Result<Vec<StoredRefusal>, String> {
        let mut kept = self.store.refused("default", 0, 1000).await.map_err(|error| error.to_string())?;
        if !kept.is_sorted_by_key(|kept| kept.id) || !kept.is_sorted_by_key(|kept| kept.refused_at) {
            return Err("what is refused is not in its order".to_owned());
        }
        kept.sort_by_key(|kept| (kept.refused_at, kept_line_of(kept)));
        Ok(kept)
    }

    /// Waits for what is done after an answer.
    async fn settle(&mut self) -> Result<(), String> {
        let started = Instant::now();
        loop {
            let mut difference = self.compare().await;
            if difference.is_ok() {
                difference = self.compare_counters().await;
            }
            if difference.is_ok() || started.elapsed() > self.patience {
                return difference;
            }
            sleep(Duration::from_millis(2)).await;
        }
    }

    async fn compare_counters(&self) -> Result<(), String> {
        for id in IDS {
            let noted = self.store.deliveries("default", id).await.map_err(|error| error.to_string())?;
            let which = |of| (0..answers().len()).find(|which| self.model.fingerprint(*which) == of);
            let lines = noted.iter().map(|noted| {
                let which = which(noted.fingerprint).unwrap_or(usize::MAX);
                counted_line(which, noted.verdict, noted.count, noted.arrival.responder.is_some())
            });
            let mut lines: Vec<_> = lines.collect();
            lines.sort();
            same(&format!("deliveries of {id}"), &lines, &self.model.deliveries(id))?;
        }
        // A decision is told without its counter.
        same("counters that wait", &self.store.get_activity().counters_waiting(), &0)?;
        if let Some(counters) = self.bench.backend.counters().await {
            same("counters", &counters, &i64::try_from(self.model.counted.len()).expect("few"))?;
        }
        Ok(())
    }

    /// Lets everything end.
    async fn end(&mut self) -> Result<(), String> {
        while !self.hanging.is_empty() {
            self.let_go(Does::Succeeds)
                .await
                .map_err(|difference| format!("what hangs is let go: {difference}"))?;
        }
        self.settle().await
    }

    /// After a difference: nothing of it may reach the next run.
    async fn abandon(self) {
        for hanging in self.hanging {
            hanging.gate.set(Some(Does::Declines));
        }
        sleep(Duration::from_millis(300)).await;
    }
}

fn agreed(found: String, expected: &str) -> Result<String, String> {
    same("", &&*found, &expected)?;
    Ok(found)
}

async fn run<B: Backend>(
    backend: &Rc<B>,
    steps: &[Step],
    patience: Duration,
    tally: &mut Tally,
) -> Result<(), Difference> {
    let mut run = Run::new(backend, patience).await;
    let mut story = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        let mut came = run.step(step).await;
        let is_done = matches!(&came, Ok(told) if !matches!(step, Step::Wait(_)) && told != NOTHING);
        if is_done && let Err(difference) = run.compare().await {
            came = Err(difference);
        }
        let is_same = came.is_ok();
        if let Ok(came) = &came {
            *tally.entry(format!("{}: {came}", step.name())).or_default() += 1;
        }
        story.push(format!("{step:?}: {}", came.unwrap_or_else(|difference| difference)));
        if !is_same {
            run.abandon().await;
            return Err(Difference { at: at + 1, story });
        }
    }
    if let Err(difference) = run.end().await {
        story.push(format!("at the end: {difference}"));
        run.abandon().await;
        return Err(Difference { at: steps.len(), story });
    }
    Ok(())
}

/// Leaves out every step that the difference does not need.
async fn shortest<B: Backend>(
    backend: &Rc<B>,
    mut steps: Vec<Step>,
    mut difference: Difference,
) -> Difference {
    steps.truncate(difference.at);
    let mut at = steps.len();
    while at > 0 {
        at -= 1;
        let mut fewer = steps.clone();
        fewer.remove(at);
        if let Err(shorter) = run(backend, &fewer, Duration::from_secs(2), &mut Tally::new()).await {
            fewer.truncate(shorter.at);
            (steps, difference) = (fewer, shorter);
            // What was needed by the step that is gone may be needless now.
            at = steps.len();
        }
    }
    difference
}

async fn sequences<B: Backend>(backend: B) {
    let count: u64 = env::var("ATP_MODEL").map_or(40, |text| text.parse().expect("a number of sequences"));
    let seed = seed();
    let (backend, mut tally) = (Rc::new(backend), Tally::new());
    println!("{}: {count} sequences, ATP_SEED={seed}", B::NAME);
    for seed in (0..count).map(|nth| seed.wrapping_add(nth)) {
        let steps = Step::sequence(seed);
        if let Err(difference) = run(&backend, &steps, Duration::from_secs(20), &mut tally).await {
            println!(
                "{}, ATP_MODEL=1 ATP_SEED={seed} differs; the shortest way to it is looked for",
                B::NAME
            );
            let Difference { story, .. } = shortest(&backend, steps, difference).await;
            panic!("{}, ATP_MODEL=1 ATP_SEED={seed}:\n    {}", B::NAME, story.join("\n    "));
        }
    }
    println!("{}: {} steps: {tally:#?}", B::NAME, tally.values().sum::<usize>());
}
