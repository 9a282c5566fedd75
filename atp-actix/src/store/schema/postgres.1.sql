-- Times are microseconds since 1970. In texts that a stranger may choose NUL is written `\0` and a
-- backslash `\\`.

-- The time by the database's clock.
CREATE FUNCTION atp_now() RETURNS BIGINT LANGUAGE sql VOLATILE AS
    'SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::BIGINT';

-- The 2000 ms here and below are `PATIENCE` of limits.rs, which a test compares.
-- True; and the transaction that asks waits for the disk when it commits, but not long for a lock.
CREATE FUNCTION atp_durable() RETURNS BOOLEAN LANGUAGE sql VOLATILE AS
    'SELECT CASE WHEN current_setting(''synchronous_commit'') IN (''on'', ''remote_apply'') THEN true
            ELSE set_config(''synchronous_commit'', ''on'', true) = ''on'' END
        AND set_config(''lock_timeout'', ''2000'', true) IS NOT NULL';

-- True; and the handler's transaction that asks is about to be committed by the store. It waits for
-- the disk, and for standbys without an end: a wait that a time-out cancels would count as a
-- commit. The session is as it was before.
CREATE FUNCTION atp_finish() RETURNS BOOLEAN LANGUAGE sql VOLATILE AS
    'SELECT atp_durable() AND set_config(''statement_timeout'', ''0'', true) IS NOT NULL
        AND set_config(''default_transaction_read_only'', NULL, false) IS NOT NULL';

-- True; and the transaction that asks does not wait for the disk when it commits, nor long for a
-- lock.
CREATE FUNCTION atp_quick() RETURNS BOOLEAN LANGUAGE sql VOLATILE AS
    'SELECT set_config(''synchronous_commit'', ''off'', true) = ''off''
        AND set_config(''lock_timeout'', ''2000'', true) IS NOT NULL';

-- Whether nobody else is about to decide this notification. It holds until the transaction ends.
CREATE FUNCTION atp_alone(service TEXT, notification_id TEXT) RETURNS BOOLEAN LANGUAGE sql VOLATILE AS
    'SELECT pg_try_advisory_xact_lock(hashtextextended(service || '' '' || notification_id, 4706431052178216241))';

CREATE TABLE atp_questions (
    service TEXT NOT NULL,
    key TEXT NOT NULL,                      -- our own; the notification's id unless we named it
    notification_id TEXT,                   -- the ATP server's; none until it is bound
    question TEXT NOT NULL,                 -- the notification as it was sent, JSON
    user_id TEXT,
    request_id TEXT,
    context TEXT NOT NULL,                  -- JSON
    recorded_at BIGINT NOT NULL,
    deadline BIGINT,
    invalidated_at BIGINT,
    invalidated_why TEXT,
    PRIMARY KEY (service, key)
);
CREATE UNIQUE INDEX atp_questions_by_id ON atp_questions (notification_id, service);
CREATE INDEX atp_questions_by_age ON atp_questions (recorded_at, service, key);

CREATE TABLE atp_decisions (
    service TEXT NOT NULL,
    notification_id TEXT NOT NULL,
    fingerprint BYTEA NOT NULL,
    action_id TEXT NOT NULL,
    data TEXT,                              -- what the human said, JSON
    is_late BOOLEAN NOT NULL, -- then the handler of late answers ran
    token BYTEA NOT NULL,                    -- of the claim
    leased_at BIGINT NOT NULL,
    lease_until BIGINT NOT NULL,
    completed_at BIGINT,                   -- none while it runs
    status BIGINT,
    content_type TEXT,
    body BYTEA,
    state TEXT,                             -- of the task, from then on
    request_id TEXT,                        -- this and the next three: how the answer came
    scheme TEXT NOT NULL,
    secret_index BIGINT NOT NULL,
    responder TEXT,
    signed BYTEA,                            -- a digest; this and the next while it runs under a lease
    delivery BYTEA,                          -- the body as it came
    PRIMARY KEY (service, notification_id)
) WITH (fillfactor = 70);                   -- a completion finds room beside its claim

-- Those whose process may have died.
CREATE INDEX atp_decisions_left ON atp_decisions (service, lease_until)
    WHERE completed_at IS NULL AND delivery IS NOT NULL;

CREATE TABLE atp_deliveries (
    service TEXT NOT NULL,
    notification_id TEXT NOT NULL,
    fingerprint BYTEA NOT NULL,
    verdict TEXT NOT NULL,
    first_seen BIGINT NOT NULL,
    last_seen BIGINT NOT NULL,
    count BIGINT NOT NULL,
    request_id TEXT,                        -- this and what follows: of the last
    scheme TEXT NOT NULL,
    secret_index BIGINT NOT NULL,
    responder TEXT,
    status BIGINT NOT NULL,
    duration_us BIGINT NOT NULL,
    PRIMARY KEY (service, notification_id, fingerprint, verdict)
);
-- Those that may be of no question.
CREATE INDEX atp_deliveries_by_end ON atp_deliveries (last_seen) WHERE verdict IN ('stale', 'unknown');

CREATE TABLE atp_refused (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    service TEXT NOT NULL,
    digest BYTEA NOT NULL,                  -- of what was signed
    notification_id TEXT,                   -- none if it is no answer
    verdict TEXT NOT NULL,
    scheme TEXT NOT NULL,
    secret_index BIGINT NOT NULL,
    refused_at BIGINT NOT NULL,
    body BYTEA NOT NULL,
    token BYTEA,                             -- hashed, of a redrive that was not used yet
    UNIQUE (service, digest)
);
CREATE INDEX atp_refused_by_id ON atp_refused (service, notification_id);
CREATE INDEX atp_refused_by_end ON atp_refused (refused_at);

-- Notifications of which nothing that a human said may be kept any more.
CREATE TABLE atp_erased (
    service TEXT NOT NULL,
    notification_id TEXT NOT NULL,
    erased_at BIGINT NOT NULL,
    PRIMARY KEY (service, notification_id)
);

-- A table that was counted while it had a few rows is read from end to end, by every connection that
-- planned then, until it is counted anew, however fast it has grown. One that was never counted is
-- taken for larger and read by its index. So none is counted before an index is better in any case.
ALTER TABLE atp_questions SET (autovacuum_analyze_threshold = 1000, autovacuum_vacuum_threshold = 1000);
ALTER TABLE atp_decisions SET (autovacuum_analyze_threshold = 1000, autovacuum_vacuum_threshold = 1000);
ALTER TABLE atp_deliveries SET (autovacuum_analyze_threshold = 1000, autovacuum_vacuum_threshold = 1000);
ALTER TABLE atp_refused SET (autovacuum_analyze_threshold = 1000, autovacuum_vacuum_threshold = 1000);
ALTER TABLE atp_erased SET (autovacuum_analyze_threshold = 1000, autovacuum_vacuum_threshold = 1000);

-- What fingerprints are hashed with: one row.
CREATE TABLE atp_key (key BYTEA NOT NULL);

-- Whether nothing of it may be kept. It sees what has been committed until it is asked, whatever
-- the statement sees that asks: ask it after `atp_alone`, which who erases has until it is done. In
-- PL/pgSQL, since the plan of a query in a function of SQL is made anew for each call.
CREATE FUNCTION atp_is_erased(service TEXT, notification_id TEXT) RETURNS BOOLEAN LANGUAGE plpgsql VOLATILE AS '
BEGIN
    RETURN EXISTS (SELECT 1 FROM atp_erased AS e WHERE e.service = $1 AND e.notification_id = $2);
END';

-- What died under its lease is not lost where another answer takes its place.
CREATE FUNCTION atp_abandon() RETURNS TRIGGER LANGUAGE plpgsql AS '
BEGIN
    INSERT INTO atp_refused (service, digest, notification_id, verdict, scheme, secret_index, refused_at, body)
    VALUES (old.service, old.signed, old.notification_id, ''abandoned'', old.scheme, old.secret_index, new.leased_at, old.delivery)
    ON CONFLICT (service, digest) DO UPDATE SET verdict = excluded.verdict;
    RETURN new;
END';
CREATE TRIGGER atp_decisions_taken_over BEFORE UPDATE ON atp_decisions FOR EACH ROW
    WHEN (old.completed_at IS NULL AND old.delivery IS NOT NULL AND old.fingerprint <> new.fingerprint)
    EXECUTE FUNCTION atp_abandon();
