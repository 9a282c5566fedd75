CREATE TABLE IF NOT EXISTS settings (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS tasks (
    notification_id TEXT PRIMARY KEY,
    question TEXT NOT NULL,                 -- the notification that was sent, as JSON
    user_id TEXT NOT NULL,
    request_id TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending',
    outcome TEXT,                           -- in words, for humans
    action_id TEXT,                         -- the answer that stands
    response_data TEXT                      -- its data, as canonical JSON
) STRICT;

CREATE TABLE IF NOT EXISTS events (
    notification_id TEXT PRIMARY KEY REFERENCES tasks,
    event TEXT NOT NULL                     -- the user decision, as JSON
) STRICT;
