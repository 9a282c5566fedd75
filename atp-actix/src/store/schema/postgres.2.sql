-- What leaves the service. An event never changes after it was written.
CREATE TABLE atp_events (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- the order in which they were written
    service TEXT NOT NULL,
    id TEXT NOT NULL,                       -- what receivers know it by
    kind TEXT NOT NULL,
    subject TEXT,                           -- what it is about; none if it has no order
    time BIGINT NOT NULL,
    data TEXT NOT NULL,                     -- JSON, as it is sent
    traceparent TEXT,
    written_at BIGINT NOT NULL,
    UNIQUE (service, id)
);
CREATE INDEX atp_events_by_subject ON atp_events (service, subject);

-- One row for each event and sink: what came of it there. It is sent, or parked, or due, or behind
-- an older one of its subject (then it has no time at which it is due, nor any of the others).
CREATE TABLE atp_sends (
    sink TEXT COLLATE "C" NOT NULL,         -- texts are compared by their bytes
    seq BIGINT NOT NULL,                    -- of the event
    service TEXT COLLATE "C" NOT NULL,      -- this and the next as in the event
    subject TEXT COLLATE "C",
    due_at BIGINT,
    leased_until BIGINT NOT NULL,           -- 0 while nobody sends it
    attempt BIGINT NOT NULL,                -- of the last lease: what came of an earlier one is not taken
    failures BIGINT NOT NULL,               -- of those how many were its own fault
    sent_at BIGINT,
    parked_at BIGINT,
    reason TEXT,                            -- why the last attempt failed
    PRIMARY KEY (seq, sink)
) WITH (fillfactor = 70);                   -- a lease finds room beside its row, and changes no index
CREATE INDEX atp_sends_due ON atp_sends (sink, due_at, seq) WHERE due_at IS NOT NULL;
-- What is behind what. By what differs most first: few comparisons find it.
CREATE INDEX atp_sends_unsent ON atp_sends (subject, service, sink, seq) WHERE sent_at IS NULL;
CREATE INDEX atp_sends_sent ON atp_sends (sent_at) WHERE sent_at IS NOT NULL;
CREATE INDEX atp_sends_parked ON atp_sends (sink, seq) WHERE parked_at IS NOT NULL;
ALTER TABLE atp_events SET (autovacuum_analyze_threshold = 1000, autovacuum_vacuum_threshold = 1000);
ALTER TABLE atp_sends SET (autovacuum_analyze_threshold = 1000, autovacuum_vacuum_threshold = 1000);

-- Writes events, each with a row for each of its sinks; how many were not there yet. Who listens is
-- told once for each transaction, unless nobody is to be told.
CREATE FUNCTION atp_emit(events JSON, is_told BOOLEAN) RETURNS BIGINT LANGUAGE plpgsql VOLATILE AS '
DECLARE
    new BIGINT;
BEGIN
    -- Of two with one id the first is written.
    WITH n AS MATERIALIZED (
        SELECT DISTINCT ON (n.service, n.id) * FROM ROWS FROM (
            json_to_recordset($1) AS (service TEXT, id TEXT, kind TEXT, subject TEXT, time BIGINT, data TEXT,
                erased TEXT, traceparent TEXT, sinks JSON)) WITH ORDINALITY AS n (service, id, kind, subject, time,
                data, erased, traceparent, sinks, nth)
        ORDER BY n.service, n.id, n.nth),
    written AS (
        INSERT INTO atp_events AS e (service, id, kind, subject, time, data, traceparent, written_at)
        SELECT n.service, n.id, n.kind, n.subject, n.time,
            CASE WHEN n.erased IS NOT NULL AND atp_is_erased(n.service, n.subject) THEN n.erased ELSE n.data END,
            n.traceparent, atp_now() FROM n ORDER BY n.nth
        ON CONFLICT DO NOTHING RETURNING e.seq, e.service, e.id, e.subject),
    sends AS (
        INSERT INTO atp_sends AS s (sink, seq, service, subject, due_at, leased_until, attempt, failures)
        SELECT k.sink, w.seq, w.service, w.subject, atp_now(), 0, 0, 0
        FROM written AS w JOIN n ON n.service = w.service AND n.id = w.id
            CROSS JOIN LATERAL json_array_elements_text(n.sinks) AS k (sink))
    SELECT count(*) INTO new FROM written;
    IF $2 AND new > 0 THEN
        PERFORM pg_notify(''atp_outbox'', '''');
    END IF;
    RETURN new;
END';

-- Leases of so many that are due (`batch`) those that are not behind an older one of their subject, at
-- most so many, and puts those aside that are. Without one to send, a row of nothing says that some
-- were put aside and that there may be more.
--
-- Nobody waits for anybody here: what another is at is passed over. What is behind an older one is
-- put aside, each once, until that is sent; the older one is locked meanwhile, so that it is not
-- sent unseen. Each is looked up by itself in an index, however many wait: the settings of these
-- functions hold a plan to that, which is made once for each connection.
CREATE FUNCTION atp_lease(sink TEXT, most BIGINT, batch BIGINT, lease BIGINT, longest BIGINT)
    RETURNS TABLE (seq BIGINT, service TEXT, id TEXT, kind TEXT, subject TEXT, "time" BIGINT, data TEXT,
        traceparent TEXT, attempt BIGINT, failures BIGINT, parked_at BIGINT, reason TEXT)
    LANGUAGE plpgsql VOLATILE
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off AS '
#variable_conflict use_column
DECLARE
    now BIGINT := atp_now();
    due BIGINT[];
    behind BIGINT[];
BEGIN
    PERFORM atp_quick();
    SELECT array_agg(d.seq) INTO due FROM (
        SELECT s.seq FROM atp_sends AS s
        WHERE s.sink = $1 AND s.due_at IS NOT NULL AND s.due_at <= now
            AND (s.leased_until <= now OR s.leased_until > now + $5)
        ORDER BY s.due_at, s.seq LIMIT $3 FOR UPDATE SKIP LOCKED) AS d;
    IF due IS NULL THEN
        RETURN;
    END IF;
    SELECT array_agg(s.seq) INTO behind FROM atp_sends AS s CROSS JOIN LATERAL (
        SELECT 1 FROM atp_sends AS o WHERE o.sink = $1 AND o.service = s.service AND o.subject = s.subject
            AND o.sent_at IS NULL AND o.seq < s.seq ORDER BY o.seq LIMIT 1) AS older
    WHERE s.sink = $1 AND s.seq = ANY (due);
    IF behind IS NOT NULL THEN
        UPDATE atp_sends AS s SET due_at = NULL, leased_until = 0 FROM (
            SELECT b.seq FROM atp_sends AS b CROSS JOIN LATERAL (
                SELECT 1 FROM atp_sends AS o WHERE o.sink = $1 AND o.service = b.service AND o.subject = b.subject
                    AND o.sent_at IS NULL AND o.seq < b.seq ORDER BY o.seq LIMIT 1 FOR SHARE SKIP LOCKED) AS older
            WHERE b.sink = $1 AND b.seq = ANY (behind)) AS aside
        WHERE s.sink = $1 AND s.seq = aside.seq;
    END IF;
    RETURN QUERY
        WITH leased AS (
            UPDATE atp_sends AS s SET leased_until = now + $4, attempt = s.attempt + 1,
                failures = s.failures + (s.leased_until > 0)::INT
            FROM (
                SELECT d.seq FROM unnest(due) WITH ORDINALITY AS d (seq, nth)
                WHERE behind IS NULL OR d.seq <> ALL (behind) ORDER BY d.nth LIMIT $2) AS first
            WHERE s.sink = $1 AND s.seq = first.seq
            RETURNING s.seq, s.due_at, s.attempt, s.failures, s.parked_at, s.reason)
        SELECT e.seq, e.service, e.id, e.kind, e.subject, e.time, e.data, e.traceparent, l.attempt, l.failures,
            l.parked_at, l.reason
        FROM leased AS l JOIN atp_events AS e ON e.seq = l.seq ORDER BY l.due_at, l.seq;
    IF NOT FOUND AND behind IS NOT NULL THEN
        RETURN NEXT;
    END IF;
END';

-- Lets what was behind a sent one be due. A statement of its own, so that it sees who was put
-- behind it until then.
CREATE FUNCTION atp_promote(sink TEXT, seqs BIGINT[]) RETURNS VOID LANGUAGE plpgsql VOLATILE
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off AS '
BEGIN
    UPDATE atp_sends AS s SET due_at = atp_now() FROM (
        SELECT DISTINCT n.seq FROM atp_sends AS d CROSS JOIN LATERAL (
            SELECT o.seq FROM atp_sends AS o WHERE o.sink = d.sink AND o.service = d.service AND o.subject = d.subject
                AND o.sent_at IS NULL ORDER BY o.seq LIMIT 1) AS n
        WHERE d.sink = $1 AND d.seq = ANY ($2)) AS next
    WHERE s.sink = $1 AND s.seq = next.seq AND s.due_at IS NULL AND s.parked_at IS NULL;
END';

-- Says what came of attempts, in rows of the arrays: how many still stood. What is sent has neither
-- a time to wait nor a reason; what is parked has no time to wait.
CREATE FUNCTION atp_settle(sink TEXT, seqs BIGINT[], attempts BIGINT[], waits BIGINT[], faults BIGINT[],
    reasons TEXT[]) RETURNS BIGINT LANGUAGE plpgsql VOLATILE
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off AS '
DECLARE
    now BIGINT := atp_now();
    stood BIGINT[];
BEGIN
    PERFORM atp_quick();
    WITH n AS (
        SELECT * FROM unnest($2, $3, $4, $5, $6) AS n (seq, attempt, wait, fault, reason)),
    settled AS (
        UPDATE atp_sends AS s SET leased_until = 0, failures = s.failures + n.fault,
            due_at = CASE WHEN n.wait IS NOT NULL THEN now + n.wait END,
            sent_at = CASE WHEN n.reason IS NULL THEN now END,
            parked_at = CASE WHEN n.reason IS NOT NULL AND n.wait IS NULL THEN now END,
            reason = n.reason
        FROM n WHERE s.sink = $1 AND s.seq = n.seq AND s.attempt = n.attempt AND s.leased_until > 0
        RETURNING s.seq)
    SELECT coalesce(array_agg(settled.seq), ''{}'') INTO stood FROM settled;
    PERFORM atp_promote($1, stood);
    RETURN cardinality(stood);
END';

-- Deletes some of what was sent before a time: how many rows those were, and how many events. One at
-- a time: of two that delete the rows of one event neither would see that it deletes the last.
CREATE FUNCTION atp_tidy(before BIGINT, batch BIGINT, OUT rows BIGINT, OUT events BIGINT) LANGUAGE plpgsql
    VOLATILE
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_mergejoin = off AS '
BEGIN
    rows := 0;
    events := 0;
    IF NOT pg_try_advisory_xact_lock(4706431052178216242) OR NOT atp_quick() THEN
        RETURN;
    END IF;
    WITH sent AS MATERIALIZED (
        SELECT s.sink, s.seq FROM atp_sends AS s WHERE s.sent_at IS NOT NULL AND s.sent_at < $1 LIMIT $2
        FOR UPDATE SKIP LOCKED),
    sends AS (DELETE FROM atp_sends AS s USING sent WHERE s.sink = sent.sink AND s.seq = sent.seq),
    gone AS (
        DELETE FROM atp_events AS e USING (SELECT DISTINCT sent.seq FROM sent) AS n
        WHERE e.seq = n.seq AND NOT EXISTS (
            SELECT 1 FROM atp_sends AS s WHERE s.seq = e.seq AND NOT EXISTS (
                SELECT 1 FROM sent WHERE sent.sink = s.sink AND sent.seq = s.seq))
        RETURNING 1)
    SELECT (SELECT count(*) FROM sent), (SELECT count(*) FROM gone) INTO rows, events;
END';
