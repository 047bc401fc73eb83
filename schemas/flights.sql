-- Flights as they become known. Their event time is the hour of scheduled departure, so a delayed flight is
-- a late event: it counts in the hour for which it was planned, whenever it comes.
CREATE TABLE flights (
  time_hour  TIMESTAMP NOT NULL,
  carrier    TEXT NOT NULL,
  flight     INTEGER,
  origin     TEXT NOT NULL,
  dest       TEXT NOT NULL,
  tailnum    TEXT,
  dep_delay  DOUBLE,           -- minutes; negative is early, NULL is cancelled
  arr_delay  DOUBLE,
  air_time   INTEGER,          -- minutes
  distance   DECIMAL(7,1)      -- miles
) WITH (topic = 'flights', format = 'json', event_time = 'time_hour');
