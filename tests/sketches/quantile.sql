-- The 90th percentile of all windows by label, from the states of the measure p90: bucket counts add up, a bucket's
-- number tells its value (1 % accurate), and the answer interpolates between the two ranks around 0.9 * (n - 1).
WITH buckets AS (
  SELECT label, unnest(p90__bucket) AS bucket, unnest(p90__count) AS events FROM states
), merged AS (
  SELECT label, bucket, sum(events) AS events FROM buckets GROUP BY label, bucket
), ranked AS (
  SELECT label,
         sign(bucket) * 1.01 * pow(1.01 / 0.99, abs(bucket) - 1038) AS value,
         sum(events) OVER (PARTITION BY label ORDER BY bucket) AS until_rank,
         0.9 * (sum(events) OVER (PARTITION BY label) - 1) AS rank
  FROM merged
), around AS (
  SELECT label, any_value(rank) - floor(any_value(rank)) AS share,
         min(value) FILTER (WHERE until_rank > floor(rank)) AS low,
         min(value) FILTER (WHERE until_rank > ceil(rank)) AS high
  FROM ranked GROUP BY label
)
SELECT label, low + (high - low) * share AS p90 FROM around ORDER BY label
