//! The statements that are the same on every database: `$1` is a parameter on SQLite as on
//! PostgreSQL.

/// What was asked under a key.
pub(in crate::store) const ASKED_UNDER_KEY: &str =
    "SELECT question, user_id, request_id, context FROM atp_questions WHERE service = $1 AND key = $2";

/// The version of the schema, or 0 before the first.
pub(in crate::store) const SCHEMA_VERSION: &str = "SELECT coalesce(max(version), 0) FROM atp_schema";

/// Notes that a migration was done.
pub(in crate::store) const SET_SCHEMA_VERSION: &str = "INSERT INTO atp_schema VALUES ($1)";

/// Sets the key that fingerprints are hashed with, if there is none yet.
pub(in crate::store) const MAKE_KEY: &str =
    "INSERT INTO atp_key SELECT $1 WHERE NOT EXISTS (SELECT 1 FROM atp_key)";

/// The key that fingerprints are hashed with.
pub(in crate::store) const KEY: &str = "SELECT key FROM atp_key";

/// Changes nothing, and fails where nothing can be written.
pub(in crate::store) const TRY_TO_WRITE: &str = "UPDATE atp_schema SET version = version";

/// A batch of questions in the order in which they are looked through, with the time when each was
/// over.
pub(in crate::store) const AGED_QUESTIONS: &str =
    "SELECT q.recorded_at, q.service, q.key, q.notification_id, CASE
    WHEN d.service IS NULL OR d.completed_at IS NULL AND d.lease_until < $1
        THEN coalesce(q.invalidated_at, q.deadline) ELSE d.completed_at END AS over_at
    FROM atp_questions AS q
    LEFT JOIN atp_decisions AS d ON d.service = q.service AND d.notification_id = q.notification_id
    WHERE q.recorded_at < $1 AND (q.recorded_at, q.service, q.key) > ($2, $3, $4)
        AND NOT EXISTS (SELECT 1 FROM atp_deliveries AS a WHERE a.service = q.service
            AND a.notification_id = q.notification_id AND a.last_seen >= $1)
        AND NOT EXISTS (SELECT 1 FROM atp_refused AS r WHERE r.service = q.service
            AND r.notification_id = q.notification_id AND r.refused_at >= $1)
    ORDER BY q.recorded_at, q.service, q.key LIMIT $5";

/// Forgets the counters of a notification.
pub(in crate::store) const FORGET_DELIVERIES: &str =
    "DELETE FROM atp_deliveries WHERE service = $1 AND notification_id = $2";

/// Forgets the refused bodies of a notification.
pub(in crate::store) const FORGET_REFUSED: &str =
    "DELETE FROM atp_refused WHERE service = $1 AND notification_id = $2";

/// Forgets a batch of counters that are of no question. A decision's own is counted long before its
/// question may be purged; the others have an index for those that mostly are of none, and one.
pub(in crate::store) const PURGE_DELIVERIES: &str =
    "DELETE FROM atp_deliveries WHERE (service, notification_id, fingerprint, verdict) IN (
    SELECT a.service, a.notification_id, a.fingerprint, a.verdict FROM atp_deliveries AS a
    WHERE a.verdict IN ('stale', 'unknown') AND a.last_seen < $1 AND NOT EXISTS (
        SELECT 1 FROM atp_questions AS q
        WHERE q.service = a.service AND q.notification_id = a.notification_id)
    UNION ALL
    SELECT a.service, a.notification_id, a.fingerprint, a.verdict FROM atp_deliveries AS a
    WHERE a.verdict NOT IN ('handled', 'stale', 'unknown') AND a.last_seen < $1 AND NOT EXISTS (
        SELECT 1 FROM atp_questions AS q
        WHERE q.service = a.service AND q.notification_id = a.notification_id)
    LIMIT $2)";

/// Forgets a batch of refused bodies that are of no question.
pub(in crate::store) const PURGE_REFUSED: &str = "DELETE FROM atp_refused WHERE id IN (
    SELECT r.id FROM atp_refused AS r WHERE r.refused_at < $1 AND NOT EXISTS (
        SELECT 1 FROM atp_questions AS q
        WHERE q.service = r.service AND q.notification_id = r.notification_id)
    LIMIT $2)";

/// The completed decision of a notification.
pub(in crate::store) const DECIDED: &str =
    "SELECT fingerprint, action_id, data, responder, completed_at, is_late, status, content_type, body
    FROM atp_decisions
    WHERE service = $1 AND notification_id = $2 AND completed_at IS NOT NULL";

/// Whether a question is recorded under a key.
pub(in crate::store) const IS_RECORDED: &str = "SELECT 1 FROM atp_questions WHERE service = $1 AND key = $2";

/// The columns of a question and of its decision.
macro_rules! found {
    ($rest:literal) => {
        concat!(
            "SELECT q.key, q.notification_id, q.question, q.user_id, q.request_id, q.context, q.recorded_at,
                q.invalidated_why, d.state, d.fingerprint, d.action_id, d.data, d.responder, d.completed_at,
                d.is_late, d.status, d.content_type, d.body, ",
            $rest
        )
    };
}

/// What is known of a notification, and of one answer to it.
pub(in crate::store) const FIND: &str = found!(
    "seen.first_seen, seen.answer_seen,
        CASE WHEN q.service IS NULL THEN
            (SELECT min(o.service) FROM atp_questions AS o WHERE o.notification_id = $2) END AS other_service
    FROM (
        SELECT min(first_seen) AS first_seen,
            min(CASE WHEN fingerprint = $3 AND verdict NOT IN ('forbidden', 'stale') THEN first_seen END)
                AS answer_seen
        FROM atp_deliveries WHERE service = $1 AND notification_id = $2) AS seen
    LEFT JOIN atp_questions AS q ON q.service = $1 AND q.notification_id = $2
    LEFT JOIN atp_decisions AS d
        ON d.service = $1 AND d.notification_id = $2 AND d.completed_at IS NOT NULL"
);

/// What is known of the question that is recorded under a key.
pub(in crate::store) const FIND_BY_KEY: &str = found!(
    "(SELECT min(a.first_seen) FROM atp_deliveries AS a
            WHERE a.service = q.service AND a.notification_id = q.notification_id) AS first_seen,
        CAST(NULL AS BIGINT) AS answer_seen, CAST(NULL AS TEXT) AS other_service
    FROM atp_questions AS q
    LEFT JOIN atp_decisions AS d ON d.service = q.service AND d.notification_id = q.notification_id
        AND d.completed_at IS NOT NULL
    WHERE q.service = $1 AND q.key = $2"
);

/// What is known of a body that is to be kept.
pub(in crate::store) const KEPT: &str =
    "SELECT (SELECT verdict FROM atp_refused WHERE service = $1 AND digest = $2) AS verdict,
    EXISTS (SELECT 1 FROM atp_erased WHERE service = $1 AND notification_id = $3) AS is_erased,
    (SELECT count(*) FROM atp_refused WHERE service = $1 AND notification_id = $3) AS kept_of_it";

/// The refused bodies of a service behind an id.
pub(in crate::store) const REFUSED: &str =
    "SELECT id, notification_id, verdict, scheme, secret_index, refused_at, body FROM atp_refused
    WHERE service = $1 AND id > $2 ORDER BY id LIMIT $3";

/// Notes the token that a refused body may be sent in with.
pub(in crate::store) const REDRIVE: &str = "UPDATE atp_refused SET token = $3 WHERE service = $1 AND id = $2
    RETURNING id, notification_id, verdict, scheme, secret_index, refused_at, body";

/// Whether a token is there to be used.
pub(in crate::store) const IS_REDEEMABLE: &str =
    "SELECT 1 FROM atp_refused WHERE service = $1 AND id = $2 AND token = $3";

/// Uses a token up.
pub(in crate::store) const REDEEM: &str =
    "UPDATE atp_refused SET token = NULL WHERE service = $1 AND id = $2 AND token = $3";

/// Voids a recorded refusal.
pub(in crate::store) const REOPEN: &str =
    "DELETE FROM atp_decisions WHERE service = $1 AND notification_id = $2 AND completed_at IS NOT NULL
    AND status BETWEEN 400 AND 499";

/// Blanks what a human said in a decision.
pub(in crate::store) const ERASE_DECISION: &str =
    "UPDATE atp_decisions SET data = NULL, responder = NULL, signed = NULL, delivery = NULL
    WHERE service = $1 AND notification_id = $2";

/// Blanks who sent the counted deliveries of a notification.
pub(in crate::store) const ERASE_DELIVERIES: &str =
    "UPDATE atp_deliveries SET responder = NULL WHERE service = $1 AND notification_id = $2";

/// The counted deliveries of a notification, and its decision where that was not counted.
pub(in crate::store) const DELIVERIES: &str = "WITH counted AS (
        SELECT fingerprint, verdict, first_seen, last_seen, count, request_id, scheme, secret_index, responder,
            status, duration_us
        FROM atp_deliveries WHERE service = $1 AND notification_id = $2),
    decided AS (
        SELECT fingerprint, CASE WHEN status < 400 THEN 'handled' ELSE 'refused' END AS verdict,
            completed_at AS first_seen, completed_at AS last_seen, CAST(1 AS BIGINT) AS count, request_id, scheme,
            secret_index, responder, status, completed_at - leased_at AS duration_us
        FROM atp_decisions
        WHERE service = $1 AND notification_id = $2 AND completed_at IS NOT NULL)
    SELECT * FROM counted UNION ALL SELECT * FROM decided AS d WHERE NOT EXISTS (
        SELECT 1 FROM counted AS c WHERE c.fingerprint = d.fingerprint AND c.verdict = d.verdict)
    ORDER BY first_seen, verdict";

/// Says which id the ATP server gave to a question.
pub(in crate::store) const BIND: &str = "UPDATE atp_questions SET notification_id = $3
    WHERE service = $1 AND key = $2 AND (notification_id IS NULL OR notification_id = $3)";

/// What a sink is sent: the columns of an event and of what came of it there.
macro_rules! sends {
    ($rest:literal) => {
        concat!(
            "SELECT e.seq, e.service, e.id, e.kind, e.subject, e.time, e.data, e.traceparent, s.attempt, s.failures,
                s.parked_at, s.reason ",
            $rest
        )
    };
}
#[cfg(feature = "sqlite")]
pub(in crate::store) use sends;

/// What is parked at a sink behind a place.
pub(in crate::store) const PARKED: &str = sends!(
    "FROM atp_sends AS s JOIN atp_events AS e ON e.seq = s.seq
    WHERE s.sink = $1 AND s.seq > $2 AND s.parked_at IS NOT NULL ORDER BY s.seq LIMIT $3"
);

/// Lets a parked event be due.
pub(in crate::store) const RELEASE: &str = "UPDATE atp_sends SET parked_at = NULL, due_at = $3, failures = 0
    WHERE sink = $1 AND seq = $2 AND parked_at IS NOT NULL";

/// Gives a parked event up: what is known of it, so that what is behind it can be due.
pub(in crate::store) const FORGET: &str = "DELETE FROM atp_sends
    WHERE sink = $1 AND seq = $2 AND parked_at IS NOT NULL RETURNING service, subject";

/// What waits for each sink.
pub(in crate::store) const LAG: &str = "SELECT w.sink, w.waiting, w.parked, e.written_at AS oldest
    FROM (
        SELECT sink, count(*) - count(parked_at) AS waiting, count(parked_at) AS parked,
            min(CASE WHEN due_at IS NOT NULL THEN seq END) AS oldest
        FROM atp_sends GROUP BY sink) AS w
    LEFT JOIN atp_events AS e ON e.seq = w.oldest
    ORDER BY w.sink";

/// What the events about a notification say that a human said.
pub(in crate::store) const SAID: &str =
    "SELECT seq, kind, data FROM atp_events WHERE service = $1 AND subject = $2";

/// Sets what an event says.
pub(in crate::store) const UNSAY: &str = "UPDATE atp_events SET data = $2 WHERE seq = $1";
