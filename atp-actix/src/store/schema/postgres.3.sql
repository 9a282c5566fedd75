-- A delivery may be counted after its question was purged, whatever became of it but a decision. This
-- is made beside the index of version 1, since to drop that would wait for whoever reads the table.
CREATE INDEX IF NOT EXISTS atp_deliveries_left ON atp_deliveries (last_seen)
    WHERE verdict NOT IN ('handled', 'stale', 'unknown');
