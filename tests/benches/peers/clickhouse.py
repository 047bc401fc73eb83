"""ClickHouse, as chdb has it: an incremental materialised view over a table that keeps nothing."""

import json

import chdb
from chdb.session import Session

import side

EVENTS = "at Int64, device String, site String, part Nullable(String), value Nullable(Float64), status Nullable(Int32)"
STATES = """
    countState() AS readings, avgState(value) AS mean, quantileDDState(0.01, 0.95)(value) AS p95,
    uniqHLL12State(device) AS devices, topKState(3)(part) AS parts
"""

session = Session()


def run(statement, form="CSV"):
    return session.query(statement, form)


def aggregate(path):
    """From a file of JSON lines to states, and only then, to be checked, from states to values."""
    for statement in [
        "DROP DATABASE IF EXISTS peer",
        "CREATE DATABASE peer",
        # All fields of the stream are parsed, as everywhere.
        f"CREATE TABLE peer.events ({EVENTS}) ENGINE = Null",
        f"""CREATE MATERIALIZED VIEW peer.by_site ENGINE = AggregatingMergeTree ORDER BY (site, hour) AS
            SELECT site, toStartOfHour(fromUnixTimestamp64Milli(at, 'UTC')) AS hour, {STATES}
            FROM peer.events GROUP BY site, hour""",
        f"INSERT INTO peer.events SELECT * FROM file('{path}', 'JSONEachRow', '{EVENTS}')",
    ]:
        run(statement)
    return path


def values(_):
    answer = run(
        """SELECT site, toUnixTimestamp(hour) * 1000 AS hour_ms, countMerge(readings) AS readings, avgMerge(mean) AS mean,
                  quantileDDMerge(0.01, 0.95)(p95) AS p95, uniqHLL12Merge(devices) AS devices
           FROM peer.by_site GROUP BY site, hour SETTINGS output_format_json_quote_64bit_integers = 0""",
        "JSONEachRow",
    )
    return [json.loads(line) for line in str(answer).splitlines()]


if __name__ == "__main__":
    version = str(run("SELECT version()")).strip().strip('"')
    side.serve(f"ClickHouse {version} (chdb {chdb.__version__})", [], aggregate, values)
