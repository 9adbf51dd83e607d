"""``python -m benchmarks``: ratios beside plain NumPy, median of alternating rounds."""

import argparse
import json
import statistics
import time

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.workloads import WORKLOADS


def per_second(call, units):
    """Units a second of one timed call."""
    started = time.process_time()
    call()
    return units / (time.process_time() - started)


def measure(workload, rounds):
    """One row: ours and the peer's medians, and the median of their ratios."""
    ours, peer = workload.make(np.random.default_rng(0))
    ours()
    peer()
    pairs = [
        (per_second(ours, workload.units), per_second(peer, workload.units)) for _ in range(rounds)
    ]
    return {
        "workload": workload.name,
        "params": workload.params,
        "peer": workload.peer,
        "per_second": statistics.median(mine for mine, _ in pairs),
        "peer_per_second": statistics.median(theirs for _, theirs in pairs),
        "ratio": statistics.median(mine / theirs for mine, theirs in pairs),
    }


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("workload", nargs="*", help="names; all when none is given")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    known = [workload.name for workload in WORKLOADS]
    unknown = set(given.workload) - set(known)
    if unknown:
        parser.error(f"unknown workloads {sorted(unknown)}; known are {known}")
    chosen = [w for w in WORKLOADS if not given.workload or w.name in given.workload]
    rows = [measure(workload, given.rounds) for workload in chosen]
    if given.json:
        print(json.dumps({"rows": rows}))
        return
    table = Table("workload", "parameters", "per second", "peer", "per second", "ratio")
    for row in rows:
        rates = [f"{row[key]:,.0f}" for key in ("per_second", "peer_per_second")]
        ratio = f"{row['ratio']:.1f} x"
        table.add_row(row["workload"], row["params"], rates[0], row["peer"], rates[1], ratio)
    Console().print(table)


if __name__ == "__main__":
    main()
