-- How late flights leave, by airline, airport and hour.
CREATE MATERIALIZED VIEW flight_delays WITH (schedule = '*/15 * * * *') AS
SELECT carrier, origin, tumble(time_hour, INTERVAL '1 hour') AS hour,
       count(*)                                   AS flights,
       count(*) FILTER (WHERE dep_delay > 15)     AS late,
       avg(dep_delay)                             AS mean_delay,
       quantile_cont(dep_delay, 0.95)             AS p95_delay,
       count(DISTINCT tailnum)                    AS aircraft,
       approx_top_k(dest, 3)                      AS busiest
FROM flights
GROUP BY carrier, origin, hour;
