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

-- One row for each event and sink until it is sent there, or given up. It is parked, or due, or behind
-- an older one of its subject (then it has no time at which it is due).
CREATE TABLE atp_sends (
    sink TEXT COLLATE "C" NOT NULL,         -- texts are compared by their bytes
    seq BIGINT NOT NULL,                    -- of the event
    service TEXT COLLATE "C" NOT NULL,      -- this and the next as in the event
    subject TEXT COLLATE "C",
    due_at BIGINT,
    leased_until BIGINT NOT NULL,           -- 0 while nobody sends it
    attempt BIGINT NOT NULL,                -- of the last lease: what came of an earlier one is not taken
    failures BIGINT NOT NULL,               -- of those how many were its own fault
    parked_at BIGINT,
    reason TEXT,                            -- why the last attempt failed
    PRIMARY KEY (seq, sink)
) WITH (fillfactor = 70);                   -- a lease finds room beside its row, and changes no index
CREATE INDEX atp_sends_due ON atp_sends (sink, due_at, seq) WHERE due_at IS NOT NULL;
-- What is behind what. By what differs most first: few comparisons find it.
CREATE INDEX atp_sends_by_subject ON atp_sends (subject, service, sink, seq);
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

-- Leases of so many that are due since a time (`batch`) those that are not behind an older one of their subject, at
-- most so many, and puts those aside that are. Without one to send, a row of nothing says that some
-- were put aside and that there may be more.
--
-- Nobody waits for anybody here: what another is at is passed over. What is behind an older one is
-- put aside, each once, until that is sent; the older one is locked meanwhile, so that it is not
-- sent unseen. Each is looked up by itself in an index, however many wait: the settings of these
-- functions hold a plan to that, which is made once for each connection.
CREATE FUNCTION atp_lease(sink TEXT, most BIGINT, batch BIGINT, lease BIGINT, longest BIGINT, since BIGINT)
    RETURNS TABLE (seq BIGINT, service TEXT, id TEXT, kind TEXT, subject TEXT, "time" BIGINT, data TEXT,
        traceparent TEXT, attempt BIGINT, failures BIGINT, parked_at BIGINT, reason TEXT, due_at BIGINT)
    LANGUAGE plpgsql VOLATILE
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off AS '
#variable_conflict use_column
DECLARE
    now BIGINT := atp_now();
    due BIGINT[];
    services TEXT[];
    subjects TEXT[];
    behind BIGINT[];
    put_aside BIGINT := 0;
BEGIN
    PERFORM atp_quick();
    SELECT array_agg(d.seq), array_agg(d.service), array_agg(d.subject) INTO due, services, subjects FROM (
        SELECT s.seq, s.service, s.subject FROM atp_sends AS s
        WHERE s.sink = $1 AND s.due_at IS NOT NULL AND s.due_at >= $6 AND s.due_at <= now
            AND (s.leased_until <= now OR s.leased_until > now + $5)
        ORDER BY s.due_at, s.seq LIMIT $3 FOR UPDATE SKIP LOCKED) AS d;
    IF due IS NULL THEN
        RETURN;
    END IF;
    SELECT array_agg(d.seq) INTO behind FROM unnest(due, services, subjects) AS d (seq, service, subject)
        CROSS JOIN LATERAL (
            SELECT 1 FROM atp_sends AS o WHERE o.sink = $1 AND o.service = d.service AND o.subject = d.subject
                AND o.seq < d.seq ORDER BY o.seq LIMIT 1) AS older;
    IF behind IS NOT NULL THEN
        UPDATE atp_sends AS s SET due_at = NULL, leased_until = 0 FROM (
            SELECT b.seq FROM atp_sends AS b CROSS JOIN LATERAL (
                SELECT 1 FROM atp_sends AS o WHERE o.sink = $1 AND o.service = b.service AND o.subject = b.subject
                    AND o.seq < b.seq ORDER BY o.seq LIMIT 1 FOR SHARE SKIP LOCKED) AS older
            WHERE b.sink = $1 AND b.seq = ANY (behind)) AS aside
        WHERE s.sink = $1 AND s.seq = aside.seq;
        GET DIAGNOSTICS put_aside = ROW_COUNT;
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
            l.parked_at, l.reason, l.due_at
        FROM leased AS l JOIN atp_events AS e ON e.seq = l.seq ORDER BY l.due_at, l.seq;
    IF NOT FOUND AND put_aside > 0 THEN
        RETURN NEXT;
    END IF;
END';

-- Undoes the statement, where that has taken longer than whoever asked waits for it.
CREATE FUNCTION atp_too_late() RETURNS BOOLEAN LANGUAGE plpgsql VOLATILE AS '
BEGIN
    RAISE EXCEPTION ''nobody waits for it any more'' USING ERRCODE = ''query_canceled'';
END';

-- Lets the oldest of these services and subjects be due that is neither being sent nor parked. A statement
-- of its own, so that it sees who was put behind what is gone until then. The others are passed over, since
-- of two that are settled or given up at once each still sees the other: what is let go too early is put
-- aside by the next lease. All let go in one order, so that they do not wait for each other.
CREATE FUNCTION atp_promote(sink TEXT, services TEXT[], subjects TEXT[]) RETURNS VOID LANGUAGE plpgsql VOLATILE
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off AS '
BEGIN
    UPDATE atp_sends AS s SET due_at = atp_now() FROM (
        SELECT DISTINCT n.service COLLATE "C" AS service, n.subject COLLATE "C" AS subject
        FROM unnest($2, $3) AS n (service, subject) ORDER BY 1, 2) AS gone
        CROSS JOIN LATERAL (
            SELECT o.seq FROM atp_sends AS o
            WHERE o.sink = $1 AND o.service = gone.service AND o.subject = gone.subject
                AND o.leased_until = 0 AND o.parked_at IS NULL
            ORDER BY o.seq LIMIT 1) AS next
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
    sent BIGINT;
    services TEXT[];
    subjects TEXT[];
    others BIGINT := 0;
BEGIN
    PERFORM atp_quick();
    WITH gone AS (
        DELETE FROM atp_sends AS s USING unnest($2, $3, $6) AS n (seq, attempt, reason)
        WHERE n.reason IS NULL AND s.sink = $1 AND s.seq = n.seq AND s.attempt = n.attempt AND s.leased_until > 0
        RETURNING s.service, s.subject)
    SELECT count(*), array_agg(gone.service), array_agg(gone.subject) INTO sent, services, subjects FROM gone;
    IF sent < cardinality($2) THEN
        UPDATE atp_sends AS s SET leased_until = 0, failures = s.failures + n.fault, reason = n.reason,
            due_at = CASE WHEN n.wait IS NOT NULL THEN now + n.wait END,
            parked_at = CASE WHEN n.wait IS NULL THEN now END
        FROM unnest($2, $3, $4, $5, $6) AS n (seq, attempt, wait, fault, reason)
        WHERE n.reason IS NOT NULL AND s.sink = $1 AND s.seq = n.seq AND s.attempt = n.attempt
            AND s.leased_until > 0;
        GET DIAGNOSTICS others = ROW_COUNT;
    END IF;
    IF sent > 0 THEN
        PERFORM atp_promote($1, services, subjects);
    END IF;
    RETURN sent + others;
END';

-- Looks through so many events behind a place (`look`), and deletes those that were written before a
-- time and that nothing waits to be sent of, so many at most (`batch`): how many, and the place from
-- which on to look for more, if there may be any that are so old.
CREATE FUNCTION atp_tidy(behind BIGINT, before BIGINT, look BIGINT, batch BIGINT, OUT last BIGINT, OUT events BIGINT)
    LANGUAGE plpgsql VOLATILE
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off AS '
BEGIN
    events := 0;
    IF NOT atp_quick() THEN
        RETURN;
    END IF;
    WITH old AS MATERIALIZED (
        SELECT o.seq FROM (
            SELECT e.seq, e.written_at FROM atp_events AS e WHERE e.seq > $1 ORDER BY e.seq LIMIT $3) AS o
        WHERE o.written_at < $2),
    sent AS MATERIALIZED (
        SELECT old.seq FROM old WHERE NOT EXISTS (SELECT 1 FROM atp_sends AS s WHERE s.seq = old.seq)
        ORDER BY old.seq LIMIT $4),
    gone AS (
        DELETE FROM atp_events AS e USING (
            SELECT o.seq FROM atp_events AS o WHERE o.seq IN (SELECT sent.seq FROM sent)
            FOR UPDATE SKIP LOCKED) AS n
        WHERE e.seq = n.seq RETURNING 1)
    SELECT CASE WHEN (SELECT count(*) FROM sent) < $4 THEN (SELECT max(old.seq) FROM old)
            ELSE (SELECT max(sent.seq) FROM sent) END,
        (SELECT count(*) FROM gone) INTO last, events;
END';
