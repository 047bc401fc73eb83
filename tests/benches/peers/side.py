"""What the peers of the benchmark `peers` have in common: one process per peer, asked line by line.

The first line a peer writes says who it is and what it leaves out of the job. Then every line it reads is the path of a
file of events, which it aggregates from nothing, and every line it writes is what that took and what came of it.
"""

import contextlib
import json
import os
import sys
import time


def started():
    """All processes that this one has started, and those that they have."""
    known = [os.getpid()]
    for process in known:
        for task in os.listdir(f"/proc/{process}/task"):
            # A thread may end while its siblings are looked at.
            with contextlib.suppress(FileNotFoundError), open(f"/proc/{process}/task/{task}/children") as children:
                known.extend(int(child) for child in children.read().split())
    return known[1:]


def cpu_seconds():
    """User and system time of this process and those so far."""
    ticks = 0
    for process in started():
        with open(f"/proc/{process}/stat") as stat:
            # The name stands in parentheses and may hold anything.
            fields = stat.read().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def serve(name, leaves_out, aggregate, values):
    """Answers on the standard output that the process began with; what libraries print goes to standard error.

    `aggregate` is what is measured; `values` makes rows to be checked of what it gives.
    """
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(answer):
        out.write(json.dumps(answer) + "\n")
        out.flush()

    say({"name": name, "leaves_out": leaves_out})
    for line in sys.stdin:
        before = cpu_seconds()
        aggregated = aggregate(line.strip())
        took = cpu_seconds() - before
        say({"cpu_seconds": took, "rows": values(aggregated)})
