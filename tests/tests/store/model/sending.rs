//! What sends, step by step, on a store and in the model.

use atp_actix::store::{Event, Lag, Outbox as _, Outgoing, SendEnd, Settled};

use super::{
    backend::Backend,
    leaving::{Letter, SINKS, lag_line, line_of, parked_line, sent_line},
    running::{NOTHING, Run, agreed, said, same},
    steps::{Ending, Seconds, SendStep},
};

/// What was given to somebody who sends, and where it stands in the model.
pub(super) struct Given {
    outgoing: Outgoing,
    nth: usize,
    sink: &'static str,
}

const REASON: &str = "not now";

impl Ending {
    fn end(self) -> SendEnd {
        let again = |after: Seconds, is_own_fault| {
            let after = after.delta().to_std().expect("not before");
            SendEnd::Again { after, is_own_fault, reason: REASON.to_owned() }
        };
        match self {
            Self::Sent => SendEnd::Sent,
            Self::Again(after) => again(after, true),
            Self::Away(after) => again(after, false),
            Self::Parked => SendEnd::Parked { reason: REASON.to_owned() },
        }
    }
}

impl<B: Backend> Run<B> {
    pub(super) async fn send_step(&mut self, step: &SendStep) -> Result<String, String> {
        match *step {
            SendStep::Emit { nth, subject, sinks } => self.emit(nth, subject, sinks).await,
            SendStep::Lease { sink, most, lease } => self.lease(sink, most, lease).await,
            SendStep::Say { sink, of_all, end } => self.say(sink, of_all, end).await,
            SendStep::SayAgain { nth, end } => {
                let Some(Given { outgoing, sink, .. }) = self.spoken.get(nth % self.spoken.len().max(1))
                else {
                    return Ok(NOTHING.to_owned());
                };
                let settled = [Settled::new(outgoing, end.end())];
                agreed(said(self.store.settle(sink, &settled).await), "0")
            }
            SendStep::Release { sink, nth } | SendStep::Forget { sink, nth } => {
                let parked = self.store.parked(sink, 0, 1000).await.map_err(|error| error.to_string())?;
                let Some(nth) = nth.checked_rem(parked.len()) else {
                    return agreed(said(self.store.release(sink, 7).await), "NotParked");
                };
                let (seq, now) = (parked[nth].seq, self.model.now);
                let came = if let SendStep::Release { .. } = step {
                    self.model.leaving.release(sink, nth, now);
                    self.store.release(sink, seq).await
                } else {
                    self.model.leaving.forget(sink, nth, now);
                    self.store.forget(sink, seq).await
                };
                agreed(said(came), "()")
            }
            SendStep::Tidy { keep } => {
                let before = self.model.now - keep.delta();
                let expected = self.model.leaving.tidy(before, self.model.now);
                let found = self.store.tidy(keep.delta().to_std().expect("not before")).await;
                agreed(said(found), &expected.to_string())
            }
        }
    }

    async fn emit(
        &mut self,
        nth: usize,
        subject: Option<&'static str>,
        sinks: &'static [&'static str],
    ) -> Result<String, String> {
        let name = format!("own {nth}");
        let mut event = Event::new("own", &name).expect("JSON").id(&name);
        event.subject = subject.map(str::to_owned);
        let event = sinks.iter().fold(event, |event, sink| event.to(*sink));
        let letter = Letter::new(&name, "own", subject, &name);
        let expected = self.model.leaving.write(letter, sinks, self.model.now);
        agreed(said(self.store.emit(&event).await), &expected.to_string())
    }

    /// Asks until it has so many, or has asked in vain as often as anything may have been put aside
    /// meanwhile.
    async fn lease(&mut self, sink: &'static str, most: u32, lease: Seconds) -> Result<String, String> {
        let [must, may] = self.model.leaving.due(sink, self.model.now);
        let time = lease.delta().to_std().expect("not before");
        let mut found: Vec<Outgoing> = Vec::new();
        for _ in 0..=self.model.leaving.count(sink) {
            let room = most - u32::try_from(found.len()).expect("few");
            if room > 0 {
                let leased = self.store.lease(sink, room, time).await.map_err(|error| error.to_string())?;
                same("asked for so many at most", &(leased.len() > room as usize), &false)?;
                found.extend(leased);
            }
        }
        let told =
            |outgoing: &Outgoing| sent_line(line_of(&outgoing.event), outgoing.attempt, outgoing.failures);
        let lines = |of: &[usize]| of.iter().map(|nth| self.model.leaving.told(*nth)).collect::<Vec<_>>();
        let (lines_must, lines_may) = (lines(&must), lines(&may));
        let mut given = Vec::new();
        for outgoing in &found {
            let line = told(outgoing);
            let nth = lines_may.iter().position(|other| *other == line).map(|place| may[place]);
            let Some(nth) = nth.filter(|nth| !given.contains(nth)) else {
                return Err(format!("\n      may be given {lines_may:#?}\n      found        {line}"));
            };
            given.push(nth);
        }
        let is_all = must.iter().all(|nth| given.contains(nth)) || found.len() == most as usize;
        let found_lines: Vec<_> = found.iter().map(told).collect();
        if !is_all {
            return Err(format!(
                "\n      must be given {lines_must:#?}\n      found         {found_lines:#?}"
            ));
        }
        let count = found.len();
        for (outgoing, nth) in found.into_iter().zip(given) {
            let is_its_place = self.model.leaving.lease(nth, outgoing.seq, self.model.now, lease.delta());
            same("an event keeps its place", &is_its_place, &true)?;
            self.given.push(Given { outgoing, nth, sink });
        }
        same("places are in the order of writing", &self.model.leaving.is_in_order(), &true)?;
        Ok(if count == 0 { "nothing was due" } else { "leased" }.to_owned())
    }

    async fn say(&mut self, sink: &'static str, of_all: bool, end: Ending) -> Result<String, String> {
        let most = if of_all { usize::MAX } else { 1 };
        let mut spoken = Vec::new();
        while let Some(place) = self.given.iter().position(|given| given.sink == sink) {
            spoken.push(self.given.remove(place));
            if spoken.len() == most {
                break;
            }
        }
        if spoken.is_empty() {
            return Ok(NOTHING.to_owned());
        }
        let settled: Vec<_> = spoken.iter().map(|given| Settled::new(&given.outgoing, end.end())).collect();
        let (leaving, now) = (&mut self.model.leaving, self.model.now);
        let mut stood = Vec::new();
        for given in &spoken {
            if leaving.settle(given.nth, given.outgoing.attempt, end, now) {
                stood.push(given.nth);
            }
        }
        leaving.promote(&stood, now);
        let is_late = stood.len() < spoken.len();
        self.spoken.extend(spoken);
        agreed(said(self.store.settle(sink, &settled).await), &stood.len().to_string())?;
        Ok(if is_late { "some of it too late" } else { "heard" }.to_owned())
    }

    /// Whether the store holds what is to be sent as the model does.
    pub(super) async fn compare_sends(&self) -> Result<(), String> {
        let lags = self.store.lag().await.map_err(|error| error.to_string())?;
        let lines = lags.iter().map(|lag| lag_line(&lag.sink, lag.waiting, lag.parked));
        same("what waits", &lines.collect(), &self.model.leaving.lag())?;
        for Lag { sink, oldest, .. } in &lags {
            let [surely, perhaps] = self.model.leaving.has_oldest(sink);
            if surely && oldest.is_none() || !perhaps && oldest.is_some() {
                return Err(format!("the oldest for {sink}: {oldest:?}, surely {surely}, perhaps {perhaps}"));
            }
        }
        for sink in SINKS {
            let parked = self.store.parked(sink, 0, 1000).await.map_err(|error| error.to_string())?;
            if parked.iter().any(|parked| parked.reason != REASON || parked.sink != sink) {
                return Err(format!("parked, and not with what was said of it: {parked:?}"));
            }
            let lines = parked.iter();
            let lines =
                lines.map(|parked| parked_line(line_of(&parked.event), parked.attempts, parked.parked_at));
            same(&format!("parked at {sink}"), &lines.collect(), &self.model.leaving.parked(sink))?;
        }
        Ok(())
    }

    /// Sends all that is left, once nobody else does.
    pub(super) async fn send_all(&mut self) -> Result<(), String> {
        self.given.clear();
        for sink in SINKS {
            while !self.model.leaving.parked(sink).is_empty() {
                self.send_step(&SendStep::Release { sink, nth: 0 }).await?;
            }
            let mut in_vain = 0;
            while self.model.leaving.count(sink) > 0 {
                // Leases end meanwhile, and what is to wait has waited.
                self.pass(Seconds(7 * 3600)).await;
                // As a relay does, now and then.
                self.send_step(&SendStep::Tidy { keep: Seconds(30 * 24 * 3600) }).await?;
                self.lease(sink, 100, Seconds(60)).await?;
                // What waits for a clock that was set back is pulled back where it is more than six
                // hours ahead, and comes by itself where it is not.
                in_vain += usize::from(self.given.is_empty());
                if in_vain > 3 {
                    return Err(format!(
                        "{} wait for {sink}, and none is due",
                        self.model.leaving.count(sink)
                    ));
                }
                self.say(sink, true, Ending::Sent).await?;
            }
        }
        self.compare_sends().await
    }
}
