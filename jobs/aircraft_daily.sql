-- Every aircraft's day: where it began, where it went last, how long it flew.
CREATE MATERIALIZED VIEW aircraft_daily WITH (schedule = '5 * * * *', time_zone = 'America/New_York') AS
SELECT tailnum, tumble(time_hour, INTERVAL '1 day') AS day,
       count(*)                                     AS legs,
       first(origin)                                AS first_origin,
       last(dest)                                   AS last_dest,
       sum(air_time)                                AS minutes_in_air,
       sum(CAST(distance * 1.609 AS DECIMAL(10,2))) AS kilometres
FROM flights
WHERE tailnum IS NOT NULL
GROUP BY tailnum, day;
