"""Does the time of an answer tell whether a node exists at another tenant?

`python -m benchmarks.provenance_noninterference --json`. One log, two tenants. The reader of one asks, alternating at
random, for ids that exist only at the other and for ids that exist nowhere, both refused with 404; time is that of
the product's `graph_answer`. The two samples must look like draws of one distribution: Mann-Whitney's U with its normal
approximation, corrected for ties, gives p > 0.01, and the medians differ by less than 5 %. A control asks for ids of
the reader's own tenant against unknown ones and must be told apart, so that the test is seen to be able to fail.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._provenance_world import OTHER, TENANT, World, documents, make_world
from mc_pipelines.composition import open_database
from mc_pipelines.foundation import embedded
from mc_pipelines.foundation.clock import SystemClock
from mc_pipelines.foundation.errors import NotFoundError
from mc_pipelines.foundation.settings import Settings
from mc_pipelines.provenance.access import EVERYTHING
from mc_pipelines.provenance.cursor import CursorKey
from mc_pipelines.provenance.edge_log import ingest_stream
from mc_pipelines.provenance.generations import build_generation
from mc_pipelines.provenance.identity import NodeId
from mc_pipelines.provenance.model import PUBLIC
from mc_pipelines.provenance.query import graph_answer
from mc_pipelines.provenance.request import GraphQuery
from mc_pipelines.provenance.store import GraphStore

LEAST_P, LARGEST_GAP = 0.01, 0.05
CLOCK = SystemClock()
KEY = CursorKey(b"benchmark")


def mann_whitney(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the two-sided p of Mann and Whitney's U (normal approximation, corrected for ties)."""
    values = np.concatenate([first, second])
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks = ((ends - counts + 1 + ends) / 2)[inverse]
    n, m = len(first), len(second)
    u = ranks[:n].sum() - n * (n + 1) / 2
    total = n + m
    ties = float(np.sum(counts.astype(float) ** 3 - counts)) / (total * (total - 1))
    deviation = math.sqrt(n * m / 12 * (total + 1 - ties))
    return math.erfc(abs(u - n * m / 2) / deviation / math.sqrt(2))


def ids_of(world: World, count: int) -> dict[str, list[NodeId]]:
    """Return ids of the reader's own builds, of the other tenant's, and of nobody's, of the same kinds."""
    nowhere = make_world(world.edges, world.seed + 1_000)
    own, foreign = np.flatnonzero(~world.foreign), np.flatnonzero(world.foreign)
    draw = random.Random(world.seed)

    def some(of: World, builds: Any) -> list[NodeId]:
        return [of.id_of(int(of.first_node[draw.choice(builds)]) + draw.randrange(9)) for _ in range(count)]

    return {"own": some(world, own), "foreign": some(world, foreign), "unknown": some(nowhere, own)}


def times(store: GraphStore, ids: dict[str, list[NodeId]], pair: tuple[str, str], rounds: int) -> dict[str, Any]:
    """Ask for ids of two groups in random turn and compare the times."""
    draw = random.Random(11)
    taken: dict[str, list[float]] = {name: [] for name in pair}
    for number in range(rounds * 2 + 200):
        name = draw.choice(pair)
        query = GraphQuery(draw.choice(ids[name]), 2)
        begun = time.thread_time_ns()
        try:
            graph_answer(store, TENANT, query, EVERYTHING, KEY)
            assert name == "own"
        except NotFoundError:
            assert name != "own"
        spent = (time.thread_time_ns() - begun) / 1000
        if number >= 200 and len(taken[name]) < rounds:
            taken[name].append(spent)
    medians = {name: statistics.median(values) for name, values in taken.items()}
    return {
        "requests": {name: len(values) for name, values in taken.items()},
        "median_us": medians,
        "gap": abs(medians[pair[0]] - medians[pair[1]]) / min(medians.values()),
        "p": mann_whitney(taken[pair[0]], taken[pair[1]]),
    }


def run(edges: int, seed: int, rounds: int) -> dict[str, Any]:
    """Load the world, with a generation for most of it and segments for the rest, and measure."""
    world = make_world(edges, seed)
    with tempfile.TemporaryDirectory(prefix="mcg-") as folder:
        settings = Settings(home=Path(folder))
        database = open_database(settings)
        try:
            for tenant in (PUBLIC, OTHER, TENANT):
                batches = documents(world, tenant)
                for _ in ingest_stream(database, tenant, batches, clock=CLOCK, operator=tenant == PUBLIC):
                    build_generation(database, Path(folder) / "generations", tenant, clock=CLOCK)
            store = GraphStore(database, Path(folder) / "generations", CLOCK, refresh_seconds=3600)
            for tenant in (OTHER, TENANT):
                store.snapshot(tenant)
            ids = ids_of(world, 2000)
            found = times(store, ids, ("foreign", "unknown"), rounds)
            control = times(store, ids, ("own", "unknown"), rounds)
        finally:
            database.dispose()
            embedded.stop(settings)
    met = found["p"] > LEAST_P and found["gap"] < LARGEST_GAP
    told_apart = control["p"] < LEAST_P
    return {
        "benchmark": "provenance_noninterference",
        "edges": world.edges,
        "seed": seed,
        "foreign_against_unknown": found,
        "control_own_against_unknown": control,
        "control_told_apart": told_apart,
        "met": met and told_apart,
    }


def main() -> int:
    """Print the figures as text, or as JSON; 1 if the two can be told apart, or the control cannot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edges", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2000, help="requests of each kind")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = run(options.edges, options.seed, options.rounds)
    print(json.dumps(figures, indent=None if options.json else 2))
    return 0 if figures["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
