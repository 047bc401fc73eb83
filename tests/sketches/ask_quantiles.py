"""Merges and asks DDSketch states in plain SQL, and compares with the answers given."""
import json, pathlib, sys

import duckdb

folder = pathlib.Path(sys.argv[1])
duckdb.sql(f"CREATE VIEW states AS SELECT * FROM read_parquet('{folder}/*.parquet')")
found = dict(duckdb.sql((folder / "quantile.sql").read_text()).fetchall())
expected = json.loads((folder / "answers.json").read_text())
assert found.keys() == expected.keys(), (found, expected)
for label, p90 in expected.items():
    assert abs(found[label] - p90) <= 1e-9 * abs(p90), (label, found[label], p90)
print(f"{len(expected)} quantiles from SQL are those of the merged states")
