"""Reads a page of metrics in both text forms with Prometheus' own client and says what it found."""
import json, pathlib, sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

folder = pathlib.Path(sys.argv[1])


def read(name, parse):
    text = (folder / name).read_text()
    families = list(parse(text))
    # A counter's family has its name without the ending of its samples.
    names = sorted(f.name + ("_total" if f.type == "counter" else "") for f in families)
    samples = [s for f in families for s in f.samples]
    series = sorted([s.name, sorted(s.labels.items())] for s in samples)
    node = next(s.labels["node"] for s in samples if "node" in s.labels)
    return {"names": names, "series": series, "node": node}


found = {"prometheus": read("prometheus", prometheus), "openmetrics": read("openmetrics", open_metrics)}
# Requests between the two pages may have met a new route: those are not compared.
for form in found.values():
    form["series"] = [s for s in form["series"] if not s[0].startswith("watershed_http_")]
print(json.dumps(found))
