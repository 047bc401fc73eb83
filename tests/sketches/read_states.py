"""Reads DataSketches states with Apache's own package and compares estimates and registers."""
import json, pathlib, sys

import datasketches as ds

folder = pathlib.Path(sys.argv[1])


def cents(n):
    sign, n = ("-" if n < 0 else ""), abs(n)
    return f"{sign}{n // 100}.{n % 100:02d}"


VALUES = [
    lambda i, count: f"visitor {i * i % (count + 1)}",
    lambda i, count: i - 7,
    lambda i, count: i / 8.0 - 1.0,
    lambda i, count: cents(i - 150),
]

read = 0
for case in map(json.loads, (path.read_text() for path in folder.glob("*.json"))):
    count = case["count"]
    for index, value in enumerate(VALUES):
        ours = ds.hll_sketch.deserialize((folder / f"{count}-{index}").read_bytes())
        assert ours.lg_config_k == 12
        assert round(ours.get_estimate()) == case["estimates"][index], (count, index, ours.get_estimate(), case)
        # The same values hashed by Apache's package fall into the same registers: a union of both is ours again.
        theirs = ds.hll_sketch(12, ds.tgt_hll_type.HLL_8)
        for i in range(count):
            theirs.update(value(i, count))
        union = ds.hll_union(12)
        union.update(theirs)
        union.update(ours)
        assert round(union.get_estimate()) == case["estimates"][index], (count, index)
        assert theirs.is_empty() == ours.is_empty() == (count == 0)
        alone = ds.hll_union(12)
        alone.update(theirs)
        alone.update(theirs)
        assert abs(alone.get_estimate() - union.get_estimate()) < 1e-6, (count, index)
        read += 1
    top = ds.frequent_strings_sketch.deserialize((folder / f"{count}-4").read_bytes())
    for item, estimate in case["top"]:
        assert top.get_estimate(item) == estimate, (count, item)
    assert top.total_weight == count, (count, top.total_weight)
    read += 1
print(f"{read} states read, estimates and registers are the same")
