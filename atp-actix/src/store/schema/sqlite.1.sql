-- Times are microseconds since 1970. In texts that a stranger may choose NUL is written `\0` and a
-- backslash `\\`.

CREATE TABLE atp_questions (
    service TEXT NOT NULL,
    key TEXT NOT NULL,                      -- our own; the notification's id unless we named it
    notification_id TEXT,                   -- the ATP server's; none until it is bound
    question TEXT NOT NULL,                 -- the notification as it was sent, JSON
    user_id TEXT,
    request_id TEXT,
    context TEXT NOT NULL,                  -- JSON
    recorded_at INTEGER NOT NULL,
    deadline INTEGER,
    invalidated_at INTEGER,
    invalidated_why TEXT,
    PRIMARY KEY (service, key)
) STRICT;
CREATE UNIQUE INDEX atp_questions_by_id ON atp_questions (notification_id, service);
CREATE INDEX atp_questions_by_age ON atp_questions (recorded_at, service, key);

CREATE TABLE atp_decisions (
    service TEXT NOT NULL,
    notification_id TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    action_id TEXT NOT NULL,
    data TEXT,                              -- what the human said, JSON
    is_late INTEGER NOT NULL, -- then the handler of late answers ran
    token BLOB NOT NULL,                    -- of the claim
    leased_at INTEGER NOT NULL,
    lease_until INTEGER NOT NULL,
    completed_at INTEGER,                   -- none while it runs
    status INTEGER,
    content_type TEXT,
    body BLOB,
    state TEXT,                             -- of the task, from then on
    request_id TEXT,                        -- this and the next three: how the answer came
    scheme TEXT NOT NULL,
    secret_index INTEGER NOT NULL,
    responder TEXT,
    signed BLOB,                            -- a digest; this and the next while it runs under a lease
    delivery BLOB,                          -- the body as it came
    PRIMARY KEY (service, notification_id)
) STRICT, WITHOUT ROWID;

-- Those whose process may have died.
CREATE INDEX atp_decisions_left ON atp_decisions (service, lease_until)
    WHERE completed_at IS NULL AND delivery IS NOT NULL;

CREATE TABLE atp_deliveries (
    service TEXT NOT NULL,
    notification_id TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    verdict TEXT NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    count INTEGER NOT NULL,
    request_id TEXT,                        -- this and what follows: of the last
    scheme TEXT NOT NULL,
    secret_index INTEGER NOT NULL,
    responder TEXT,
    status INTEGER NOT NULL,
    duration_us INTEGER NOT NULL,
    PRIMARY KEY (service, notification_id, fingerprint, verdict)
) STRICT, WITHOUT ROWID;
-- Those that may be of no question.
CREATE INDEX atp_deliveries_by_end ON atp_deliveries (last_seen) WHERE verdict IN ('stale', 'unknown');

CREATE TABLE atp_refused (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    service TEXT NOT NULL,
    digest BLOB NOT NULL,                   -- of what was signed
    notification_id TEXT,                   -- none if it is no answer
    verdict TEXT NOT NULL,
    scheme TEXT NOT NULL,
    secret_index INTEGER NOT NULL,
    refused_at INTEGER NOT NULL,
    body BLOB NOT NULL,
    token BLOB,                             -- hashed, of a redrive that was not used yet
    UNIQUE (service, digest)
) STRICT;
CREATE INDEX atp_refused_by_id ON atp_refused (service, notification_id);
CREATE INDEX atp_refused_by_end ON atp_refused (refused_at);

-- Notifications of which nothing that a human said may be kept any more.
CREATE TABLE atp_erased (
    service TEXT NOT NULL,
    notification_id TEXT NOT NULL,
    erased_at INTEGER NOT NULL,
    PRIMARY KEY (service, notification_id)
) STRICT, WITHOUT ROWID;

-- What fingerprints are hashed with: one row.
CREATE TABLE atp_key (key BLOB NOT NULL) STRICT;

-- What died under its lease is not lost where another answer takes its place.
CREATE TRIGGER atp_decisions_taken_over BEFORE UPDATE ON atp_decisions
WHEN old.completed_at IS NULL AND old.delivery IS NOT NULL AND old.fingerprint <> new.fingerprint BEGIN
    INSERT INTO atp_refused (service, digest, notification_id, verdict, scheme, secret_index, refused_at, body)
    SELECT old.service, old.signed, old.notification_id, 'abandoned', old.scheme, old.secret_index, new.leased_at, old.delivery
    WHERE true
    ON CONFLICT (service, digest) DO UPDATE SET verdict = excluded.verdict;
END;
