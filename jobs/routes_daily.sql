-- Every route, day by day: how many flights, how many of them never left, how even their delays are.
CREATE MATERIALIZED VIEW routes_daily WITH (schedule = '*/15 * * * *') AS
SELECT origin, dest,
       CASE WHEN distance < 700 THEN 'short' WHEN distance < 1800 THEN 'medium' ELSE 'long' END AS haul,
       date_trunc('day', time_hour)                  AS day,
       count(*)                                      AS flights,
       count(*) FILTER (WHERE dep_delay IS NULL)     AS cancelled,
       sum(distance)                                 AS miles,
       median(arr_delay)                             AS median_arrival_delay,
       stddev_samp(arr_delay)                        AS spread,
       max(arr_delay)                                AS worst
FROM flights
GROUP BY origin, dest, haul, day;
