-- A delivery may be counted after its question was purged, whatever became of it but a decision. This
-- is made beside the index of version 1, since to drop that would wait for whoever reads the table.
CREATE INDEX IF NOT EXISTS atp_deliveries_left ON atp_deliveries (last_seen)
    WHERE verdict NOT IN ('handled', 'stale', 'unknown');

-- Lets the oldest of these services and subjects be due that is neither being sent nor parked. A statement
-- of its own, so that it sees who was put behind what is gone until then. The others are passed over, since
-- of two that are settled or given up at once each still sees the other: what is let go too early is put
-- aside by the next lease. All let go in one order, so that they do not wait for each other.
CREATE OR REPLACE FUNCTION atp_promote(sink TEXT, services TEXT[], subjects TEXT[]) RETURNS VOID LANGUAGE plpgsql VOLATILE
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

-- Undoes the statement, where that has taken longer than whoever asked waits for it.
CREATE FUNCTION atp_too_late() RETURNS BOOLEAN LANGUAGE plpgsql VOLATILE AS '
BEGIN
    RAISE EXCEPTION ''nobody waits for it any more'' USING ERRCODE = ''query_canceled'';
END';
