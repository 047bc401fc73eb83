-- A view: a standing aggregate over one stream, by window and dimensions. It is asked by its name:
--   watershed query events_by_minute --grain '1 hour'
--
-- The schedule says when its exact version is made (minute hour day month weekday; add time_zone = '…' for local
-- time). Between two versions answers are live all the same.
CREATE MATERIALIZED VIEW events_by_minute WITH (schedule = '*/15 * * * *') AS
SELECT kind, tumble(at, INTERVAL '1 minute') AS minute,
       count(*)                  AS events,
       count(DISTINCT user_id)   AS users,
       sum(amount)               AS total,
       median(amount)            AS median_amount
FROM events
GROUP BY kind, minute;
