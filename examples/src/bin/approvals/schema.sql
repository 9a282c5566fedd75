CREATE TABLE IF NOT EXISTS settings (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS tasks (
    notification_id TEXT PRIMARY KEY        -- the store has the question, the decision and the state
) STRICT;

-- Nothing here is unique: a decision that took effect twice would show.
CREATE TABLE IF NOT EXISTS effects (
    notification_id TEXT NOT NULL REFERENCES tasks,
    outcome TEXT NOT NULL                   -- in words, for humans
) STRICT;
