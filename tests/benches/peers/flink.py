"""Apache Flink, as PyFlink starts it: SQL over a tumbling window by watermark, in one task."""

import datetime
import sys

import pyflink.version
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.table import EnvironmentSettings, StreamTableEnvironment

import side

# Flink's own PERCENTILE is exact, so it keeps every value.
PERCENTILE = "--without-percentile" not in sys.argv
EPOCH = datetime.datetime(1970, 1, 1)

settings = EnvironmentSettings.in_streaming_mode()
environment = StreamTableEnvironment.create(
    StreamExecutionEnvironment.get_execution_environment(), environment_settings=settings
)
for name, value in {
    "parallelism.default": "1",
    "pipeline.object-reuse": "true",
    "table.local-time-zone": "UTC",
}.items():
    environment.get_config().set(name, value)

percentile = ", PERCENTILE(`value`, 0.95) AS p95" if PERCENTILE else ""
hours = "TABLE(TUMBLE(TABLE events, DESCRIPTOR(happened), INTERVAL '1' HOUR))"
# The most frequent parts are a window's Top-N over their counts, as Flink's manual has it; the file is read once for both.
QUERY = f"""
    SELECT a.site, a.window_start, readings, mean, devices, part, n{percentile and ', p95'}
    FROM (
      SELECT site, window_start, window_end, COUNT(*) AS readings, AVG(`value`) AS mean,
             COUNT(DISTINCT device) AS devices{percentile}
      FROM {hours} GROUP BY site, window_start, window_end
    ) a LEFT JOIN (
      SELECT * FROM (
        SELECT *, ROW_NUMBER() OVER (
          PARTITION BY site, window_start, window_end ORDER BY n DESC, part
        ) AS place
        FROM (
          SELECT site, window_start, window_end, part, COUNT(*) AS n
          FROM {hours} WHERE part IS NOT NULL GROUP BY site, window_start, window_end, part
        )
      ) WHERE place <= 3
    ) t ON a.site = t.site AND a.window_start = t.window_start AND a.window_end = t.window_end"""


def aggregate(path):
    """From a file of JSON lines to values: the windows close when the file ends."""
    environment.execute_sql("DROP TEMPORARY TABLE IF EXISTS events")
    environment.execute_sql(
        f"""CREATE TEMPORARY TABLE events (
              `at` BIGINT, device STRING, site STRING, part STRING, `value` DOUBLE, status INT,
              happened AS TO_TIMESTAMP_LTZ(`at`, 3), WATERMARK FOR happened AS happened
            ) WITH ('connector' = 'filesystem', 'path' = 'file://{path}', 'format' = 'json')"""
    )
    with environment.execute_sql(QUERY).collect() as rows:
        return [list(row) for row in rows]


def values(rows):
    """One row for each group, with its parts in the order of their places."""
    groups = {}
    for site, start, readings, mean, devices, part, count, *p95 in rows:
        # The start of a window is a time without a zone: the session's, which is UTC.
        hour_ms = int((start - EPOCH).total_seconds()) * 1000
        group = {"site": site, "hour_ms": hour_ms, "readings": readings, "mean": mean, "devices": devices, "parts": []}
        group.update(zip(["p95"], p95))
        groups.setdefault((site, hour_ms), group)["parts"].append([part, count])
    for group in groups.values():
        group["parts"].sort(key=lambda part: (-part[1], part[0]))
    return list(groups.values())


if __name__ == "__main__":
    leaves_out = [] if PERCENTILE else ["95th percentile"]
    side.serve(f"Apache Flink {pyflink.version.__version__} (SQL)", leaves_out, aggregate, values)
