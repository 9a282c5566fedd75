-- What was approved took effect. No key is unique here, so that a second time would be seen.
CREATE TABLE effects (
    notification_id TEXT NOT NULL,
    decision_id TEXT NOT NULL,
    member TEXT NOT NULL
);
