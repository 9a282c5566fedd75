//! Where a question stands, and what may become of it: the states of the protocol, section 4.

use atp_core::Status;

use super::refusal::Refusal;

/// What happens to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A human's client has it.
    Shown,
    /// A human has looked at it.
    Seen,
    /// A human has answered.
    Answered,
    /// The service has handled the answer: it took the delivery, or says so itself.
    Handled,
    /// The service takes it back.
    Withdrawn,
    /// Its deadline has passed.
    DeadlinePassed,
}

/// What becomes of a question by a step; none if it stays what it is.
///
/// # Errors
/// [`Refusal`] with the protocol's code, if the step is not allowed from there.
pub(super) fn step(from: Status, step: Step) -> Result<Option<Status>, Refusal> {
    use Status::{Acknowledged, Completed, Created, Delivered, Expired, Invalidated, Responded};
    let is_open = matches!(from, Created | Delivered | Acknowledged);
    match (step, from) {
        (Step::Shown, Created) => Ok(Some(Delivered)),
        (Step::Seen, Created | Delivered) => Ok(Some(Acknowledged)),
        (Step::Answered, _) if is_open => Ok(Some(Responded)),
        (Step::Withdrawn, _) if is_open => Ok(Some(Invalidated)),
        (Step::DeadlinePassed, _) if is_open => Ok(Some(Expired)),
        (Step::Handled, Responded) => Ok(Some(Completed)),
        (Step::Handled, Completed) | (Step::Shown | Step::Seen | Step::DeadlinePassed, _) => Ok(None),
        (Step::Handled, _) if is_open => Err(Refusal::new(
            "INVALID_STATUS",
            "The question has no answer yet, so there is none that was processed.",
        )),
        (_, Expired) => Err(Refusal::new("NOTIFICATION_EXPIRED", "The deadline of the question has passed.")),
        (_, Invalidated) => {
            Err(Refusal::new("NOTIFICATION_INVALIDATED", "The service has taken the question back."))
        }
        _ => Err(Refusal::new("NOTIFICATION_ALREADY_RESPONDED", "The question has an answer already.")),
    }
}

/// Its name on the wire.
#[must_use]
pub(super) fn name(status: Status) -> &'static str {
    match status {
        Status::Created => "created",
        Status::Delivered => "delivered",
        Status::Acknowledged => "acknowledged",
        Status::Responded => "responded",
        Status::Completed => "completed",
        Status::Expired => "expired",
        Status::Invalidated => "invalidated",
        _ => "unknown",
    }
}

/// The state of this name.
#[must_use]
pub(super) fn of_name(name: &str) -> Option<Status> {
    ALL.into_iter().find(|status| self::name(*status) == name)
}

/// Every state.
pub(super) const ALL: [Status; 7] = [
    Status::Created,
    Status::Delivered,
    Status::Acknowledged,
    Status::Responded,
    Status::Completed,
    Status::Expired,
    Status::Invalidated,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_leads_where_the_protocol_says_or_is_refused_with_its_code() {
        use Status::*;
        let table = [
            (Step::Shown, Created, Ok(Some(Delivered))),
            (Step::Shown, Acknowledged, Ok(None)),
            (Step::Seen, Created, Ok(Some(Acknowledged))),
            (Step::Seen, Delivered, Ok(Some(Acknowledged))),
            (Step::Seen, Expired, Ok(None)),
            (Step::Answered, Created, Ok(Some(Responded))),
            (Step::Answered, Delivered, Ok(Some(Responded))),
            (Step::Answered, Acknowledged, Ok(Some(Responded))),
            (Step::Answered, Responded, Err("NOTIFICATION_ALREADY_RESPONDED")),
            (Step::Answered, Completed, Err("NOTIFICATION_ALREADY_RESPONDED")),
            (Step::Answered, Expired, Err("NOTIFICATION_EXPIRED")),
            (Step::Answered, Invalidated, Err("NOTIFICATION_INVALIDATED")),
            (Step::Handled, Responded, Ok(Some(Completed))),
            (Step::Handled, Completed, Ok(None)),
            (Step::Handled, Created, Err("INVALID_STATUS")),
            (Step::Handled, Expired, Err("NOTIFICATION_EXPIRED")),
            (Step::Handled, Invalidated, Err("NOTIFICATION_INVALIDATED")),
            (Step::Withdrawn, Created, Ok(Some(Invalidated))),
            (Step::Withdrawn, Acknowledged, Ok(Some(Invalidated))),
            (Step::Withdrawn, Responded, Err("NOTIFICATION_ALREADY_RESPONDED")),
            (Step::Withdrawn, Completed, Err("NOTIFICATION_ALREADY_RESPONDED")),
            (Step::Withdrawn, Expired, Err("NOTIFICATION_EXPIRED")),
            (Step::Withdrawn, Invalidated, Err("NOTIFICATION_INVALIDATED")),
            (Step::DeadlinePassed, Delivered, Ok(Some(Expired))),
            (Step::DeadlinePassed, Responded, Ok(None)),
        ];
        for (taken, from, expected) in table {
            let found = step(from, taken);
            assert_eq!(
                found.as_ref().map_err(Refusal::code),
                expected.as_ref().map_err(|code| *code),
                "{taken:?} {from:?}"
            );
        }
    }

    #[test]
    fn no_state_is_left_for_an_earlier_one() {
        let rank = |status| match status {
            Status::Created => 0,
            Status::Delivered => 1,
            Status::Acknowledged => 2,
            Status::Responded => 3,
            _ => 4,
        };
        let steps =
            [Step::Shown, Step::Seen, Step::Answered, Step::Handled, Step::Withdrawn, Step::DeadlinePassed];
        for from in ALL {
            assert_eq!(of_name(name(from)), Some(from));
            for taken in steps {
                if let Ok(Some(to)) = step(from, taken) {
                    assert!(rank(to) > rank(from), "{taken:?} {from:?} {to:?}");
                }
            }
        }
    }
}
