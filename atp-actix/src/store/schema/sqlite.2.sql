-- What leaves the service. An event never changes after it was written.
CREATE TABLE atp_events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,  -- the order in which they were written
    service TEXT NOT NULL,
    id TEXT NOT NULL,                       -- what receivers know it by
    kind TEXT NOT NULL,
    subject TEXT,                           -- what it is about; none if it has no order
    time INTEGER NOT NULL,
    data TEXT NOT NULL,                     -- JSON, as it is sent
    traceparent TEXT,
    written_at INTEGER NOT NULL,
    UNIQUE (service, id)
) STRICT;
CREATE INDEX atp_events_by_subject ON atp_events (service, subject);

-- One row for each event and sink until it is sent there, or given up. It is parked, or due, or behind
-- an older one of its subject (then it has no time at which it is due).
CREATE TABLE atp_sends (
    sink TEXT NOT NULL,
    seq INTEGER NOT NULL,                   -- of the event
    service TEXT NOT NULL,                  -- this and the next as in the event
    subject TEXT,
    due_at INTEGER,
    leased_until INTEGER NOT NULL,          -- 0 while nobody sends it
    attempt INTEGER NOT NULL,               -- of the last lease: what came of an earlier one is not taken
    failures INTEGER NOT NULL,              -- of those how many were its own fault
    parked_at INTEGER,
    reason TEXT,                            -- why the last attempt failed
    PRIMARY KEY (seq, sink)
) STRICT, WITHOUT ROWID;
CREATE INDEX atp_sends_due ON atp_sends (sink, due_at, seq) WHERE due_at IS NOT NULL;
-- What is behind what.
CREATE INDEX atp_sends_by_subject ON atp_sends (sink, service, subject, seq);
CREATE INDEX atp_sends_parked ON atp_sends (sink, seq) WHERE parked_at IS NOT NULL;
