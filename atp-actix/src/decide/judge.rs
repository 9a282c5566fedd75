//! What is to become of an answer, as far as that can be said before its handler runs.
//!
//! It is a pure function of the rules, the delivery, what the store knows and the time: nothing here waits, asks the
//! store, or knows of requests. What is to be done about it is the caller's.

use std::{collections::HashSet, time::Duration};

use atp_core::{Action, Responder, Response, Timestamp};
use chrono::{DateTime, Utc};

use crate::{
    age::Age,
    delivery::Delivery,
    refusal::Refusal,
    store::{CompletedDecision, Known, Outcome, RecordedQuestion, Verdict},
};

/// What a webhook's answers are judged by.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// How long an answer to a question that is not recorded is asked to come again.
    pub(crate) unknown_grace: Duration,
    /// How long ago an answer may have been signed.
    pub(crate) window: Duration,
    /// How far in the future an answer may have been signed.
    pub(crate) tolerance: Duration,
    /// The actions that are for humans.
    pub(crate) humans_only: HashSet<String>,
    /// The actions that have a handler.
    pub(crate) actions: HashSet<String>,
    /// Whether all other actions have a handler.
    pub(crate) has_otherwise: bool,
    /// Whether late answers have a handler.
    pub(crate) has_late: bool,
}

/// A delivery that goes on to its handler.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) question: RecordedQuestion,
    /// It is for the handler of late answers.
    pub(crate) is_late: bool,
}

/// A delivery that goes no further.
#[derive(Debug)]
pub(crate) enum Declined {
    Refused(Verdict, Refusal),
    /// It was handled before.
    Replayed(Outcome),
}

/// Judges a delivery.
pub(crate) fn judge(
    rules: &Rules,
    delivery: &Delivery,
    known: Known,
    now: DateTime<Utc>,
) -> Result<Accepted, Declined> {
    let Known { question, decision, first_seen, answer_seen, .. } = known;
    // Whatever the rules say now: what was decided stands.
    if let Some(decision) = decision {
        return Err(decided(decision, delivery));
    }
    if let Some(signed_at) = delivery.signed_at() {
        check_age(rules, signed_at, now)?;
    }
    let Some(question) = question else { return Err(unknown(rules, first_seen.unwrap_or(now), now)) };
    // It was not signed before it was asked for; what we ourselves send again was judged when it came.
    if delivery.signed_at().is_none() && !delivery.is_redriven() {
        check_age(rules, question.recorded_at.min(now), now)?;
    }
    let answer = delivery.answer();
    let action = chosen(answer, &question)?;
    if !may_decide(&rules.humans_only, answer) {
        return Err(Declined::Refused(Verdict::Forbidden, Refusal::Forbidden));
    }
    let is_late = check_time(rules, &question, answer, answer_seen.unwrap_or(now))?;
    let has_handler = is_late || rules.has_otherwise || rules.actions.contains(&action.id);
    if !has_handler {
        let action = action.id.clone();
        return Err(Declined::Refused(Verdict::Failed, Refusal::NoHandler { action }));
    }
    Ok(Accepted { question, is_late })
}

/// The decision is completed: by this answer, or by another.
pub(crate) fn decided(decision: CompletedDecision, delivery: &Delivery) -> Declined {
    if decision.fingerprint == delivery.fingerprint() {
        return Declined::Replayed(decision.outcome);
    }
    let refusal = if decision.outcome.is_success() { Refusal::Conflict } else { Refusal::AlreadyRefused };
    Declined::Refused(Verdict::Conflict, refusal)
}

/// Whether a responder may decide this: an action that is for humans wants one that is known to be human.
pub(crate) fn may_decide(humans_only: &HashSet<String>, answer: &Response) -> bool {
    let is_human = answer.responder.as_ref().is_some_and(Responder::is_human);
    is_human || !humans_only.contains(&answer.action_id)
}

fn check_age(rules: &Rules, since: DateTime<Utc>, now: DateTime<Utc>) -> Result<(), Declined> {
    let age = Age { now, window: rules.window, tolerance: rules.tolerance };
    age.check(since).map_err(|refusal| Declined::Refused(Verdict::Stale, refusal))
}

/// An answer may be faster than our own `record`.
fn unknown(rules: &Rules, first_seen: DateTime<Utc>, now: DateTime<Utc>) -> Declined {
    // The store's clock may be ahead of ours.
    let within = (now - first_seen).to_std().map_or(true, |waited| waited < rules.unknown_grace);
    let refusal = if within { Refusal::NotYetRecorded } else { Refusal::NotRecorded };
    Declined::Refused(Verdict::Unknown, refusal)
}

/// The action of the question that was chosen, if the data fits it.
fn chosen<'a>(answer: &Response, question: &'a RecordedQuestion) -> Result<&'a Action, Declined> {
    let unfit = |refusal| Declined::Refused(Verdict::Unfit, refusal);
    let action = question.notification.find_action(&answer.action_id);
    let action = action.ok_or_else(|| unfit(Refusal::UnknownAction))?;
    answer.fits(action).map_err(|violations| unfit(Refusal::Unfit(violations)))?;
    Ok(action)
}

/// Whether an answer is late, and there is a handler for that. It is judged by when the human answered, not by when
/// that came through; where the answer does not say, by when it first came itself.
fn check_time(
    rules: &Rules,
    question: &RecordedQuestion,
    answer: &Response,
    came: DateTime<Utc>,
) -> Result<bool, Declined> {
    let signed = answer.responded_at.as_ref().or(answer.timestamp.as_ref());
    let answered = signed.and_then(Timestamp::time).unwrap_or(came);
    let is_expired = question.notification.deadline.is_some_and(|deadline| answered > deadline);
    let is_invalidated = question.invalidated.is_some();
    match (is_invalidated, is_expired) {
        (false, false) => Ok(false),
        _ if rules.has_late => Ok(true),
        (true, _) => Err(Declined::Refused(Verdict::Late, Refusal::Invalidated)),
        (false, true) => Err(Declined::Refused(Verdict::Late, Refusal::Expired)),
    }
}
