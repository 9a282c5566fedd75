PRAGMA application_id = 0x61747064;
-- What the desk keeps. Times are microseconds since 1970. Texts of others are JSON texts, in which
-- every character can be written.
CREATE TABLE IF NOT EXISTS services (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    callback_url TEXT NOT NULL,
    secret TEXT NOT NULL,
    previous_secret TEXT,                   -- before the last change
    api_key TEXT NOT NULL UNIQUE,
    scheme TEXT NOT NULL
) STRICT;
-- What is the same at each start.
CREATE TABLE IF NOT EXISTS tokens (
    name TEXT PRIMARY KEY,
    token TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS questions (
    nth INTEGER PRIMARY KEY AUTOINCREMENT,  -- the order in which they were asked
    id TEXT NOT NULL UNIQUE,
    service TEXT NOT NULL,
    notification TEXT NOT NULL,             -- as it was sent, with its id
    title TEXT NOT NULL,
    status TEXT NOT NULL,
    deadline INTEGER,
    action TEXT,                            -- what was answered
    data TEXT                               -- JSON, as it was answered
) STRICT;
CREATE INDEX IF NOT EXISTS questions_by_status ON questions (status, nth);
CREATE INDEX IF NOT EXISTS questions_due ON questions (deadline)
    WHERE deadline IS NOT NULL AND status IN ('created', 'delivered', 'acknowledged');
-- What became of a question, for humans.
CREATE TABLE IF NOT EXISTS happened (
    nth INTEGER PRIMARY KEY AUTOINCREMENT,
    question TEXT NOT NULL,
    at INTEGER NOT NULL,
    what TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS happened_to ON happened (question, nth);
-- An answer on its way to the service.
CREATE TABLE IF NOT EXISTS deliveries (
    nth INTEGER PRIMARY KEY AUTOINCREMENT,
    question TEXT NOT NULL,
    service TEXT NOT NULL,
    request_id TEXT NOT NULL,
    body TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    due_at INTEGER,                         -- none once it is over
    outcome TEXT                            -- taken, refused or given up; none while it is due
) STRICT;
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (due_at, nth) WHERE due_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS deliveries_of ON deliveries (question, nth);
CREATE TABLE IF NOT EXISTS attempts (
    nth INTEGER PRIMARY KEY AUTOINCREMENT,
    delivery INTEGER NOT NULL,
    at INTEGER NOT NULL,
    url TEXT NOT NULL,
    fault TEXT,
    headers TEXT NOT NULL,                  -- a JSON object
    body TEXT NOT NULL,
    status INTEGER,                         -- none if nobody answered
    answer TEXT NOT NULL,                   -- the start of the answer's body, or why there was none
    micros INTEGER NOT NULL                 -- how long it took
) STRICT;
CREATE INDEX IF NOT EXISTS attempts_of ON attempts (delivery, nth);
