-- A stream: a Kafka topic whose records are JSON objects with these fields.
--
-- Types: BOOLEAN, INTEGER, BIGINT, DOUBLE, DECIMAL(p,s), TEXT, DATE, TIMESTAMP. A record that does not fit
-- becomes a dead letter with its reason; keys that no field has are ignored.
CREATE TABLE events (
  at       TIMESTAMP NOT NULL,   -- the event time: '2026-01-31T08:30:00Z'
  kind     TEXT NOT NULL,
  user_id  BIGINT,
  amount   DECIMAL(12,2)
) WITH (topic = 'events', format = 'json', event_time = 'at');
