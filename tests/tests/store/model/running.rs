//! A sequence that runs, step by step, on a store and in the model.

use std::{
    cell::{Cell, RefCell},
    fmt, panic,
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
    AtpResponse, Decisions, Error, ErrorReply, Events, Webhook,
    atp_core::RawJson,
    store::{
        Claim, Claimed, Completion, Event, Question, Redrive, Store, StoreError, StoredRefusal, Verdict,
    },
    test::{Judged, Sender, SignedAnswer, judged},
};
use atp_tests::{PATH, SECRET};
use chrono::DateTime;
use serde_json::Value;

use super::{
    backend::{Backend, Clock, verifier_at},
    expected::{Answer, INVALID, LEASE, Model, Time, counted_line, emitted, kept_line_of},
    leaving::{BUS, Letter},
    sending::Given,
    steps::{Does, End, IDS, SECOND, Seconds, Step, answers},
};
use crate::support::{
    asked::{arrival, asked},
    mounted::Mounted,
};

/// What the handlers share.
struct Bench<B> {
    pub(super) backend: Rc<B>,
    pub(super) handler: Cell<Does>,
    /// Whether the next handler hangs.
    pub(super) hangs: Cell<bool>,
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
        // Whatever it does: only what takes effect is told.
        let which = answers().iter().position(|(action, data, _)| {
            let (said, data) =
                (answer.response_data.as_ref().map_or("null", RawJson::as_str), data.to_string());
            *action == answer.action_id && said == data
        });
        let emitted = emitted(&answer.notification_id, which.unwrap_or(usize::MAX));
        let event = Event::new("emitted", &emitted).map_err(Error::from)?.id(emitted);
        Events::extract(&request).await?.emit(event).map_err(Error::from)?;
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
    pub(super) answer: Answer,
    pub(super) is_late: bool,
    pub(super) holder: usize,
}

/// A claim of another process.
struct Elsewhere {
    pub(super) claim: Claim,
    pub(super) id: &'static str,
    pub(super) answer: usize,
    pub(super) holder: usize,
}

pub(super) struct Run<B: Backend> {
    bench: Rc<Bench<B>>,
    pub(super) clock: Clock,
    pub(super) store: B::Store,
    strict: Mounted,
    /// With a handler for late answers.
    lenient: Mounted,
    hanging: Vec<Hanging>,
    elsewhere: Vec<Elsewhere>,
    /// What is leased by somebody who sends.
    pub(super) given: Vec<Given>,
    /// What was said to be sent, or not.
    pub(super) spoken: Vec<Given>,
    pub(super) model: Model,
    pub(super) patience: Duration,
}

/// What comes of a step that has nothing to work on.
pub(super) const NOTHING: &str = "nothing";

pub(super) fn same<T: PartialEq + fmt::Debug>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}\n      expected {expected:?}\n      found    {found:?}"))
}

/// The name of a variant.
pub(super) fn first_word(value: &impl fmt::Debug) -> String {
    let text = format!("{value:?}");
    text.split(|char: char| !char.is_alphanumeric()).next().unwrap_or_default().to_owned()
}

/// What a store said: the value, or the error's name.
pub(super) fn said<T: fmt::Debug>(result: Result<T, StoreError>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(StoreError::Backend(error)) => format!("the store failed: {error}"),
        Err(error) => first_word(&error),
    }
}

/// A response's status, and its code or what else it says.
pub(super) fn told((status, body): (u16, String)) -> String {
    let json: Value = serde_json::from_str(&body).unwrap_or_default();
    let text = json["code"].as_str().or(json["error"].as_str()).unwrap_or(&body);
    format!("{status} {text}")
}

impl<B: Backend> Run<B> {
    pub(super) async fn new(backend: &Rc<B>, patience: Duration) -> Self {
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
            given: Vec::new(),
            spoken: Vec::new(),
            patience,
        }
    }

    fn app(&self, takes_late: bool) -> Mounted {
        if takes_late { self.lenient.clone() } else { self.strict.clone() }
    }

    /// Judges a delivery that is about to come: by the pure judgement alone, which knows of no
    /// claim.
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
    pub(super) async fn step(&mut self, step: &Step) -> Result<String, String> {
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
                self.pass(time).await;
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
            Step::SetBack(time) => {
                self.pass(time.times(-1)).await;
                Ok("the clock was set back".to_owned())
            }
            Step::Send(ref step) => self.send_step(step).await,
            Step::Purge { before } => {
                self.settle().await?;
                let before = self.model.now - before.delta();
                agreed(said(self.store.purge(before).await), &self.model.purge(before))
            }
        }
    }

    pub(super) async fn pass(&mut self, time: Seconds) {
        self.model.now += time.delta();
        self.clock.0.store(self.model.now.timestamp_micros(), Ordering::SeqCst);
        self.bench.backend.set_time(self.model.now).await;
    }

    /// What a verb says that refuses what is running, also where a transaction that was given up is
    /// still on its way out.
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
            .events(vec![told_elsewhere(id, which)])
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
            End::Releases => (said(self.store.release_claim(&claim).await), false),
        };
        if is_ours && is_completed {
            let name = elsewhere(id, answer);
            self.model.tell(Letter::new(&name, "elsewhere", id, &name), BUS);
            self.model.complete(id, answer, claim.is_late, format!("200 {}", r#"{"status":"success"}"#));
        } else if is_ours && matches!(end, End::Releases) {
            self.model.decisions.remove(id);
        }
        let harmless = is_ours || matches!(end, End::Releases);
        agreed(found, if harmless { "()" } else { "Fenced" })
    }

    /// Whether the store remembers what the model does.
    pub(super) async fn compare(&mut self) -> Result<(), String> {
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
        same("kept", &kept, &self.model.refused())?;
        self.compare_sends().await
    }

    /// What is refused, in the order of time. What is refused in the same instant by a request and
    /// by what goes on after one stands in either order.
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
    pub(super) async fn end(&mut self) -> Result<(), String> {
        while !self.hanging.is_empty() {
            self.let_go(Does::Succeeds)
                .await
                .map_err(|difference| format!("what hangs is let go: {difference}"))?;
        }
        self.settle().await?;
        self.send_all().await.map_err(|difference| format!("all is sent: {difference}"))?;
        self.rest().await
    }

    /// What goes on after an answer is of this run: of what was erased meanwhile nothing shows it.
    async fn rest(&self) -> Result<(), String> {
        let started = Instant::now();
        while self.store.get_activity().under_way() > 0 {
            if started.elapsed() > self.patience {
                return Err("something is under way, and does not end".to_owned());
            }
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// After a difference: nothing of it may reach the next run.
    pub(super) async fn abandon(self) {
        for hanging in &self.hanging {
            hanging.gate.set(Some(Does::Declines));
        }
        sleep(Duration::from_millis(300)).await;
        if let Err(difference) = self.rest().await {
            println!("after a difference: {difference}");
        }
    }
}

pub(super) fn agreed(found: String, expected: &str) -> Result<String, String> {
    same("", &&*found, &expected)?;
    Ok(found)
}

/// What tells of a decision of another process.
fn told_elsewhere(id: &str, which: usize) -> Event {
    let name = elsewhere(id, which);
    Event::new("elsewhere", &name).expect("JSON").id(name).service("default").subject(id).to(BUS)
}

fn elsewhere(id: &str, which: usize) -> String {
    format!("decision of {id} by answer {which} elsewhere")
}
