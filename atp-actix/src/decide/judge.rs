//! What is to become of an answer, as far as that can be said before its handler runs.
//!
//! It is a pure function of the rules, the delivery, what the store knows and the time: nothing
//! here waits, asks the store, or knows of requests. What is to be done about it is the caller's.

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
    let Known { question, decision, first_seen, answer_seen, other_service, .. } = known;
    // Whatever the rules say now: what was decided stands.
    if let Some(decision) = decision {
        return Err(decided(decision, delivery));
    }
    if let Some(signed_at) = delivery.signed_at() {
        check_age(rules, signed_at, now)?;
    }
    let Some(question) = question else {
        return Err(unknown(rules, first_seen.unwrap_or(now), now, other_service));
    };
    // It was not signed before it was asked for; what we ourselves send again was judged when it
    // came.
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

/// Whether a responder may decide this: an action that is for humans wants one that is known to be
/// human.
pub(crate) fn may_decide(humans_only: &HashSet<String>, answer: &Response) -> bool {
    let is_human = answer.responder.as_ref().is_some_and(Responder::is_human);
    is_human || !humans_only.contains(&answer.action_id)
}

fn check_age(rules: &Rules, since: DateTime<Utc>, now: DateTime<Utc>) -> Result<(), Declined> {
    let age = Age { now, window: rules.window, tolerance: rules.tolerance };
    age.check(since).map_err(|refusal| Declined::Refused(Verdict::Stale, refusal))
}

/// An answer may be faster than our own `record`.
fn unknown(
    rules: &Rules,
    first_seen: DateTime<Utc>,
    now: DateTime<Utc>,
    other_service: Option<String>,
) -> Declined {
    // The store's clock may be ahead of ours.
    let within = (now - first_seen).to_std().map_or(true, |waited| waited < rules.unknown_grace);
    let refusal = if within {
        Refusal::NotYetRecorded { other_service }
    } else {
        Refusal::NotRecorded { other_service }
    };
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

/// Whether an answer is late, and there is a handler for that. It is judged by when the human
/// answered, not by when that came through; where the answer does not say, by when it first came
/// itself.
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

#[cfg(test)]
mod tests {
    use atp_core::{Notification, Secret, TextRules, Verifier};
    use chrono::TimeDelta;
    use serde_json::Value;

    use super::*;
    use crate::store::{Claim, Question};
    use crate::test::{Sender, SignedAnswer};

    const SECRET: &str = "whsec_0123456789abcdef0123456789abcdef";
    const MINUTE: TimeDelta = TimeDelta::minutes(1);
    const HOUR: TimeDelta = TimeDelta::hours(1);

    fn now() -> DateTime<Utc> {
        "2026-01-02T03:05:06Z".parse().expect("a time")
    }

    fn rules() -> Rules {
        Rules {
            unknown_grace: Duration::from_mins(10),
            window: Duration::from_hours(72),
            tolerance: Duration::from_mins(5),
            humans_only: HashSet::from(["approve".to_owned()]),
            actions: ["approve", "comment"].map(str::to_owned).into(),
            has_otherwise: false,
            has_late: false,
        }
    }

    fn answer(action: &str, data: impl Into<Value>) -> SignedAnswer {
        Sender::new(SECRET).answer("n-1", action, data.into()).at(now() - MINUTE)
    }

    fn delivered(answer: &SignedAnswer, is_redriven: bool) -> Delivery {
        let verifier = Verifier::new(Secret::new(SECRET).expect("a secret")).any_age();
        let (headers, body) = answer.to_parts();
        let proof = verifier.verify_at(headers, body.clone(), now()).expect("a good signature");
        Delivery::new(proof, body, None, &"default".into(), None, is_redriven).expect("an answer")
    }

    fn asked(deadline: Option<DateTime<Utc>>) -> RecordedQuestion {
        let comment = TextRules::new().max_length(5);
        let notification = Notification::new("Deploy?", "Version 2.1.0 is ready.").id("n-1");
        let notification = notification
            .action(Action::simple("approve", "Approve"))
            .action(Action::text("comment", "Comment", comment))
            .action(Action::simple("wait", "Wait"));
        let notification = match deadline {
            Some(deadline) => notification.deadline(deadline),
            None => notification,
        };
        RecordedQuestion::new("n-1", &Question::new(notification), now() - HOUR)
    }

    fn known() -> Known {
        Known { question: Some(asked(None)), ..Known::default() }
    }

    /// What was decided by this answer, with this status.
    fn decided_by(answer: &SignedAnswer, status: u16) -> Known {
        let outcome = Outcome { status, ..Outcome::success() };
        let (delivery, body) = (delivered(answer, false), answer.to_parts().1);
        let (fingerprint, arrival) = (delivery.fingerprint(), delivery.arrival());
        let claim = Claim::new("default", "n-1", fingerprint, "approve", arrival, body);
        Known { decision: Some(CompletedDecision::new(&claim, outcome, now())), ..known() }
    }

    fn told(judged: &Result<Accepted, Declined>) -> String {
        match judged {
            Ok(accepted) => format!("handled, late: {}", accepted.is_late),
            Err(Declined::Replayed(outcome)) => format!("replayed {}", outcome.status),
            Err(Declined::Refused(verdict, refusal)) => {
                let reply = refusal.reply();
                format!("{} {} {}", verdict.name(), reply.status.as_u16(), reply.code.unwrap_or("-"))
            }
        }
    }

    /// The table of `Webhook::store`, line by line, and which line goes before which.
    #[test]
    fn the_first_line_that_fits_decides() {
        let (yes, no) = (answer("approve", ()), answer("comment", "no"));
        let unknown = |since| Known { first_seen: Some(now() - since), ..Known::default() };
        let taken_back = RecordedQuestion { invalidated: Some("moot".to_owned()), ..asked(None) };
        let taken_back = Known { question: Some(taken_back), ..Known::default() };
        let expired = |ago| Known { question: Some(asked(Some(now() - ago))), ..Known::default() };
        let with_late = Rules { has_late: true, ..rules() };
        let with_otherwise = Rules { has_otherwise: true, ..rules() };
        let bare = |answer: SignedAnswer| answer.scheme(atp_core::Scheme::Raw);
        let undated = bare(yes.clone())
            .body(r#"{"notification_id":"n-1","action_id":"approve","responder":{"id":"u","type":"human"}}"#);
        let recorded_long_ago = RecordedQuestion { recorded_at: now() - HOUR * 73, ..asked(None) };
        let recorded_long_ago = Known { question: Some(recorded_long_ago), ..Known::default() };
        let stale = yes.clone().at(now() - HOUR * 73);
        for (case, answer, known, rules, expected) in vec![
            ("first", &yes, known(), rules(), "handled, late: false"),
            ("again", &yes, decided_by(&yes, 200), rules(), "replayed 200"),
            ("again after a refusal", &yes, decided_by(&yes, 409), rules(), "replayed 409"),
            ("again, long ago", &stale, decided_by(&yes, 200), rules(), "replayed 200"),
            ("another", &no, decided_by(&yes, 200), rules(), "conflict 409 NOTIFICATION_ALREADY_RESPONDED"),
            ("another after a refusal", &no, decided_by(&yes, 409), rules(), "conflict 409 ALREADY_REFUSED"),
            ("long ago", &stale, known(), rules(), "stale 401 -"),
            ("just in time", &yes.clone().at(now() - HOUR * 72), known(), rules(), "handled, late: false"),
            ("ahead", &yes.clone().at(now() + MINUTE * 6), known(), rules(), "stale 401 -"),
            ("a little ahead", &yes.clone().at(now() + MINUTE * 5), known(), rules(), "handled, late: false"),
            ("no time, recorded long ago", &undated, recorded_long_ago, rules(), "stale 401 -"),
            ("no time, recorded since", &undated, self::known(), rules(), "handled, late: false"),
            ("never asked", &yes, Known::default(), rules(), "unknown 503 -"),
            ("never asked, for a while", &yes, unknown(MINUTE * 9), rules(), "unknown 503 -"),
            (
                "never asked, for long",
                &yes,
                unknown(MINUTE * 10),
                rules(),
                "unknown 404 NOTIFICATION_NOT_FOUND",
            ),
            ("no such action", &answer("delete", ()), self::known(), rules(), "unfit 400 INVALID_ACTION_ID"),
            ("no text", &answer("comment", 7), self::known(), rules(), "unfit 400 INVALID_RESPONSE_DATA"),
            (
                "too long",
                &answer("comment", "too long"),
                self::known(),
                rules(),
                "unfit 400 INVALID_RESPONSE_DATA",
            ),
            (
                "an agent",
                &yes.clone().by_agent(),
                self::known(),
                rules(),
                "forbidden 403 NOTIFICATION_ACCESS_DENIED",
            ),
            (
                "nobody",
                &yes.clone().by_nobody(),
                self::known(),
                rules(),
                "forbidden 403 NOTIFICATION_ACCESS_DENIED",
            ),
            (
                "an agent, late",
                &yes.clone().by_agent(),
                expired(HOUR),
                rules(),
                "forbidden 403 NOTIFICATION_ACCESS_DENIED",
            ),
            ("an agent elsewhere", &no.clone().by_agent(), self::known(), rules(), "handled, late: false"),
            ("after the deadline", &yes, expired(MINUTE * 2), rules(), "late 409 NOTIFICATION_EXPIRED"),
            ("at the deadline", &yes, expired(MINUTE), rules(), "handled, late: false"),
            (
                "after the deadline, welcome",
                &yes,
                expired(MINUTE * 2),
                with_late.clone(),
                "handled, late: true",
            ),
            ("taken back", &yes, taken_back.clone(), rules(), "late 409 NOTIFICATION_INVALIDATED"),
            ("taken back, welcome", &yes, taken_back, with_late, "handled, late: true"),
            ("no handler", &answer("wait", ()), self::known(), rules(), "failed 500 -"),
            ("another's handler", &answer("wait", ()), self::known(), with_otherwise, "handled, late: false"),
        ] {
            assert_eq!(told(&judge(&rules, &delivered(answer, false), known, now())), expected, "{case}");
        }
    }

    /// An answer that came in time and was kept is not too old when we send it in again.
    #[test]
    fn what_is_redriven_was_judged_when_it_came() {
        let undated = answer("approve", ())
            .scheme(atp_core::Scheme::Raw)
            .body(r#"{"notification_id":"n-1","action_id":"approve","responder":{"id":"u","type":"human"}}"#);
        let question = RecordedQuestion { recorded_at: now() - HOUR * 100, ..asked(None) };
        for (is_redriven, expected) in [(false, "stale 401 -"), (true, "handled, late: false")] {
            let known = Known { question: Some(question.clone()), ..Known::default() };
            let judged = judge(&rules(), &delivered(&undated, is_redriven), known, now());
            assert_eq!(told(&judged), expected, "redriven: {is_redriven}");
        }
    }
}
