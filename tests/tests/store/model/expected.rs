//! What the model expects of each step.

use std::collections::{BTreeMap, BTreeSet};

use atp_actix::{
    atp_core::{Fingerprint, RawJson},
    store::{Event, STATE_LATE, STATE_REFUSED, StoredRefusal, Verdict},
};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::{
    leaving::{BUS, Leaving, Letter, SERVER},
    steps::{Does, IDS, answers},
};

pub(super) const LEASE: TimeDelta = TimeDelta::minutes(5);
const GRACE: TimeDelta = TimeDelta::minutes(10);
const WINDOW: TimeDelta = TimeDelta::hours(72);
const TOLERANCE: TimeDelta = TimeDelta::minutes(5);
pub(super) type Time = DateTime<Utc>;

pub(super) struct Asked {
    pub(super) id: Option<&'static str>,
    pub(super) recorded_at: Time,
    pub(super) deadline: Option<Time>,
    invalidated_at: Option<Time>,
    pub(super) state: Option<&'static str>,
}

pub(super) enum Decision {
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

pub(super) struct Counted {
    pub(super) count: u64,
    pub(super) first: Time,
    pub(super) last: Time,
    /// Whether it is still known who answered.
    names_responder: bool,
}

#[derive(Clone)]
pub(super) struct Body {
    pub(super) id: &'static str,
    pub(super) verdict: Verdict,
    pub(super) refused_at: Time,
    pub(super) answer: Answer,
}

/// An answer as it was signed.
#[derive(Clone)]
pub(super) struct Answer {
    pub(super) id: &'static str,
    pub(super) which: usize,
    pub(super) at: Time,
    pub(super) body: Bytes,
    /// Its age counts no more.
    pub(super) is_redriven: bool,
}

pub(super) struct Model {
    pub(super) now: Time,
    has_transactions: bool,
    pub(super) asked: BTreeMap<&'static str, Asked>,
    pub(super) decisions: BTreeMap<&'static str, Decision>,
    pub(super) counted: BTreeMap<(&'static str, usize, Verdict), Counted>,
    pub(super) kept: Vec<Body>,
    /// For good: also where the question is forgotten.
    erased: BTreeSet<&'static str>,
    pub(super) effects: Vec<&'static str>,
    pub(super) leaving: Leaving,
    holders: usize,
    /// How many questions were.
    recorded: usize,
    fingerprint_key: [u8; 32],
}

pub(super) const INVALID: &str = "401 Invalid signature";
const AWAY: &str = "503 Service temporarily unavailable";
const FAULT: &str = "500 Internal server error";

impl Model {
    pub(super) fn new(now: Time, has_transactions: bool, fingerprint_key: [u8; 32]) -> Self {
        Self {
            now,
            has_transactions,
            asked: BTreeMap::new(),
            decisions: BTreeMap::new(),
            counted: BTreeMap::new(),
            kept: Vec::new(),
            erased: BTreeSet::new(),
            effects: Vec::new(),
            leaving: Leaving::default(),
            holders: 0,
            recorded: 0,
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

    pub(super) fn record(&mut self, key: &'static str, deadline: Option<Time>) -> &'static str {
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
        self.recorded += 1;
        let name = format!("question {}", self.recorded);
        self.tell(Letter::new(name, Event::QUESTION, key, "Deploy?"), SERVER);
        "()"
    }

    pub(super) fn bind(&mut self, key: &'static str, id: &'static str) -> &'static str {
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

    pub(super) fn invalidate(&mut self, id: &'static str) -> &'static str {
        if self.completed(id).is_some() {
            return "Decided";
        }
        if matches!(self.decisions.get(id), Some(Decision::Running { until, .. }) if self.now < *until) {
            return "Running";
        }
        let now = self.now;
        let Some(asked) = self.question_mut(id) else { return "NotRecorded" };
        asked.invalidated_at.get_or_insert(now);
        let name = format!("invalidated {id} of {}", asked.recorded_at);
        self.tell(Letter::new(name, Event::STATUS, id, "invalidated"), SERVER);
        "()"
    }

    pub(super) fn reopen(&mut self, id: &str) -> &'static str {
        if !self.is_refusal(id) {
            return "NotRefused";
        }
        self.decisions.remove(id);
        if let Some(asked) = self.question_mut(id) {
            asked.state = None;
        }
        "()"
    }

    pub(super) fn erase(&mut self, id: &'static str) -> &'static str {
        match self.decisions.get_mut(id) {
            Some(Decision::Running { until, .. }) if self.now < *until => return "Running",
            Some(Decision::Running { left, .. }) => *left = None,
            _ => {}
        }
        self.erased.insert(id);
        self.leaving.erase(id);
        self.kept.retain(|body| body.id != id);
        for ((of, ..), counted) in &mut self.counted {
            counted.names_responder &= *of != id;
        }
        "()"
    }

    pub(super) fn purge(&mut self, before: Time) -> String {
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
    pub(super) fn tell_abandoned(&mut self) {
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

    /// What comes of an answer before its handler runs: whether it is for the handler of late ones,
    /// or what it is told.
    pub(super) fn judge(&self, answer: &Answer, takes_late: bool) -> Result<bool, (Verdict, String)> {
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

    pub(super) fn claim(&mut self, answer: &Answer) -> usize {
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

    /// Whether a claim is still its holder's. That its lease ended changes nothing until another
    /// takes it.
    pub(super) fn holds(&self, id: &str, of: usize) -> bool {
        matches!(self.decisions.get(id), Some(Decision::Running { holder, .. }) if *holder == of)
    }

    pub(super) fn complete(&mut self, id: &'static str, answer: usize, is_late: bool, told: String) {
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

    /// Tells a sink, unless the store has told it already.
    pub(super) fn tell(&mut self, letter: Letter, sink: &'static str) {
        self.leaving.write(letter, &[sink], self.now);
    }

    /// Tells of a decision that took effect: of the decision, of what its handler emitted, and the
    /// ATP server.
    fn tell_of_decision(&mut self, answer: &Answer, is_late: bool) {
        let (id, which) = (answer.id, answer.which);
        let (action, data, _) = answers()[which].clone();
        let name = format!("decision of {id} by answer {which}");
        let kind = if is_late { Event::LATE_DECISION } else { Event::DECISION };
        let human = if self.erased.contains(id) { Value::Null } else { data };
        self.tell(Letter::new(&name, kind, id, action).human(human), BUS);
        self.tell(Letter::new(emitted(id, which), "emitted", id, emitted(id, which)), BUS);
        if !is_late {
            self.tell(Letter::new(format!("{name}, processed"), Event::STATUS, id, "processed"), SERVER);
        }
    }

    /// A delivery that is told why it goes no further.
    pub(super) fn stopped(&mut self, answer: &Answer, verdict: Verdict) {
        self.count(answer, verdict);
        match verdict {
            Verdict::Replayed if self.is_refusal(answer.id) => self.keep(answer, Verdict::Refused),
            Verdict::Replayed | Verdict::Running => {}
            _ => self.keep(answer, verdict),
        }
    }

    /// What a delivery is told whose handler ran under this claim.
    pub(super) fn handled(&mut self, answer: &Answer, holder: usize, is_late: bool, handler: Does) -> String {
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
        // Outside of a transaction it happens at least once: whoever lost his claim had done it
        // already.
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
                self.tell_of_decision(answer, is_late);
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

    /// What a store is to say of a notification: the question's key and deadline, whether it was
    /// taken back, and its state; the answer that stands, and its status.
    pub(super) fn found(&self, id: &str) -> String {
        let question = self.asked.iter().find(|(_, asked)| asked.id == Some(id)).map(|(key, asked)| {
            (*key, asked.recorded_at, asked.deadline, asked.invalidated_at.is_some(), asked.state)
        });
        let decision =
            self.completed(id).map(|(answer, told)| (self.fingerprint(answer), told[..3].to_owned()));
        format!("{question:?} {decision:?}")
    }

    pub(super) fn fingerprint(&self, answer: usize) -> Fingerprint {
        fingerprint(answer).keyed(&self.fingerprint_key)
    }

    /// In the order of [`Run::kept`].
    pub(super) fn refused(&mut self) -> Vec<String> {
        let line = |body: &Body| kept_line(Some(body.id), body.verdict, body.refused_at, &body.answer.body);
        self.kept.sort_by_key(|body| (body.refused_at, line(body)));
        self.kept.iter().map(line).collect()
    }

    pub(super) fn deliveries(&self, id: &'static str) -> Vec<String> {
        let of_it = self.counted.iter().filter(|((of, ..), _)| *of == id);
        let line = |((_, answer, verdict), counted): (&(_, usize, Verdict), &Counted)| {
            counted_line(*answer, *verdict, counted.count, counted.names_responder)
        };
        let mut lines: Vec<_> = of_it.map(line).collect();
        // One that was completed by another process, which counts by itself, is told by the
        // decision.
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

/// What a handler of this answer emits.
pub(super) fn emitted(id: &str, which: usize) -> String {
    format!("emitted of {id} by answer {which}")
}

pub(super) fn kept_line_of(kept: &StoredRefusal) -> String {
    kept_line(kept.notification_id.as_deref(), kept.verdict, kept.refused_at, &kept.body)
}

fn kept_line(id: Option<&str>, verdict: Verdict, refused_at: Time, body: &Bytes) -> String {
    format!("{id:?} {verdict:?} {refused_at} {}", String::from_utf8_lossy(body))
}

pub(super) fn counted_line(which: usize, verdict: Verdict, count: u64, names_responder: bool) -> String {
    format!("answer {which}: {verdict:?} {count} times, responder known: {names_responder}")
}

pub(super) fn fingerprint(answer: usize) -> Fingerprint {
    let (action, data, _) = &answers()[answer];
    Fingerprint::new(action, Some(&RawJson::new(data.to_string()).expect("JSON")))
}
