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


def aggregate(path):
    """From a file of JSON lines to values: the windows close when the file ends."""
    environment.execute_sql("DROP TEMPORARY TABLE IF EXISTS events")
    environment.execute_sql(
        f"""CREATE TEMPORARY TABLE events (
              `at` BIGINT, device STRING, site STRING, part STRING, `value` DOUBLE, status INT,
              happened AS TO_TIMESTAMP_LTZ(`at`, 3), WATERMARK FOR happened AS happened
            ) WITH ('connector' = 'filesystem', 'path' = 'file://{path}', 'format' = 'json')"""
    )
    percentile = ", PERCENTILE(`value`, 0.95) AS p95" if PERCENTILE else ""
    result = environment.execute_sql(
        f"""SELECT site, window_start, COUNT(*) AS readings, AVG(`value`) AS mean,
                   COUNT(DISTINCT device) AS devices{percentile}
            FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(happened), INTERVAL '1' HOUR))
            GROUP BY site, window_start, window_end"""
    )
    with result.collect() as rows:
        return [list(row) for row in rows]


def values(rows):
    names = ["site", "hour_ms", "readings", "mean", "devices", "p95"]
    named = [dict(zip(names, row)) for row in rows]
    for row in named:
        # The start of a window is a time without a zone: the session's, which is UTC.
        row["hour_ms"] = int((row["hour_ms"] - EPOCH).total_seconds()) * 1000
    return named


if __name__ == "__main__":
    leaves_out = ["top 3 parts"] + ([] if PERCENTILE else ["95th percentile"])
    side.serve(f"Apache Flink {pyflink.version.__version__} (SQL)", leaves_out, aggregate, values)
