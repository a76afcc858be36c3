"""Gaps and what-if over many live bundles: one walk for all of them against a walk for each.

`python -m benchmarks.provenance_gaps --edges 1000000 --live 1000 --json`. The world of provenance_graph enters by the
product's own ingest into an embedded PostgreSQL; bundles of the last builds, of which each stands on much that the
others stand on, are recorded as live. `gaps` and `what_if` are the product's whole answers: view, walk, counting,
ranking, JSON, questions to PostgreSQL included (CPU of this process; the median of several). The rivals do the same
apart for some of the bundles (`--apart`): a walk of its ancestors and sums in numpy, the gate's ruling; their results
must be equal, and ratios are of the cost of a bundle. Answers are asked with a limit of 100, as by default.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks._provenance_world import TENANT, World, make_world
from benchmarks.provenance_graph import CLOCK, House, house, load, rebuild, say
from mc_pipelines.provenance.access import EVERYTHING
from mc_pipelines.provenance.ancestry import ancestry
from mc_pipelines.provenance.considered import considered_bundles
from mc_pipelines.provenance.gaps import gaps_answer
from mc_pipelines.provenance.gate import rule
from mc_pipelines.provenance.location import Opened, open_view
from mc_pipelines.provenance.request import GapQuery, RevocationQuery
from mc_pipelines.provenance.revocation import revocation_answer
from mc_pipelines.provenance.roots import Reason, keep_root, live_nodes
from mc_pipelines.provenance.rulings import rule_all
from mc_pipelines.provenance.store import GraphStore
from mc_pipelines.provenance.trust_logic import GatePolicy


def cpu_of(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the CPU milliseconds of a piece of work, and what it gave."""
    begun = time.process_time()
    found = work()
    return (time.process_time() - begun) * 1000, found


def make_live(at: House, world: World, count: int) -> None:
    """Record the bundles of the tenant's last builds as live."""
    builds = np.flatnonzero(~world.foreign)[-count:]
    with at.database.begin(tenant=TENANT) as connection:
        for build in builds:
            node = world.id_of(int(world.first_node[build]) + 1)
            keep_root(connection, TENANT, node, Reason.LIVE, by="benchmark", now=CLOCK.now())


def counted_apart(opened: Opened, bundles: list[int]) -> Any:
    """Count who stands on what by a walk for each bundle."""
    affected = np.zeros(opened.snapshot.nodes, dtype=np.int64)
    for number in bundles:
        affected[ancestry(opened.snapshot, opened.view.visible, [number]).nodes] += 1
    return affected


def counted_together(opened: Opened, bundles: list[int]) -> Any:
    """Count it in one walk."""
    above = ancestry(opened.snapshot, opened.view.visible, bundles)
    affected = np.zeros(opened.snapshot.nodes, dtype=np.int64)
    affected[above.nodes] = above.count(above.place[bundles])
    return affected


def measure(at: House, options: argparse.Namespace) -> dict[str, Any]:
    """Ask the questions, and their rivals."""
    store = GraphStore(at.database, at.home / "generations", CLOCK)
    store.snapshot(TENANT)
    policy = GatePolicy(inputs=options.inputs)
    gaps = [cpu_of(lambda: gaps_answer(store, TENANT, GapQuery(), EVERYTHING)) for _ in range(options.repeats)]
    asked = RevocationQuery(key="nobody")
    what_if = [
        cpu_of(lambda: revocation_answer(store, TENANT, asked, EVERYTHING, policy)) for _ in range(options.repeats)
    ]
    opened = open_view(store, TENANT, GapQuery(), EVERYTHING)
    bundles, _ = considered_bundles(opened, live_nodes(store.database, TENANT, now=CLOCK.now()))
    above = ancestry(opened.snapshot, opened.view.visible, bundles)
    say("walking from each bundle apart")
    some = bundles[:: max(1, len(bundles) // options.apart)]
    apart_ms, apart = cpu_of(lambda: counted_apart(opened, some))
    together_ms, _ = cpu_of(lambda: counted_together(opened, bundles))
    together = counted_together(opened, some)
    ruled_ms, ruled = cpu_of(lambda: {each: rule(opened, each, policy).result for each in some})
    all_ms, rulings = cpu_of(lambda: rule_all(opened, bundles, policy).results)
    return {
        "live": len(bundles),
        "ancestors": {"nodes": len(above.nodes), "edges": len(above.code), "of_one": int(apart.sum() / len(some))},
        "gaps_cpu_ms": statistics.median(cost for cost, _ in gaps),
        "gaps": json.loads(gaps[-1][1].body)["counts"],
        "what_if_cpu_ms": statistics.median(cost for cost, _ in what_if),
        "count": {
            "together_cpu_ms_each": together_ms / len(bundles),
            "apart_cpu_ms_each": apart_ms / len(some),
            "ratio": apart_ms / len(some) / (together_ms / len(bundles)),
            "equal": bool(np.array_equal(apart, together)),
        },
        "rulings": {
            "together_cpu_ms_each": all_ms / len(bundles),
            "apart_cpu_ms_each": ruled_ms / len(some),
            "ratio": ruled_ms / len(some) / (all_ms / len(bundles)),
            "equal": all(rulings[opened.snapshot.id_of(each)] == result for each, result in ruled.items()),
            "compared": len(some),
        },
    }


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Make a world, load it, and measure."""
    world = make_world(options.edges, options.seed)
    with house() as at:
        load(at, world)
        rebuild(at)
        make_live(at, world, options.live)
        found = {"benchmark": "provenance_gaps", "edges": world.edges, "seed": options.seed} | measure(at, options)
    assert found["count"]["equal"]
    assert found["rulings"]["equal"]
    return found


def main() -> None:
    """Print the figures as text, or as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--edges", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--live", type=int, default=1000, help="live bundles")
    parser.add_argument("--apart", type=int, default=50, help="bundles that are looked at apart, too")
    parser.add_argument("--inputs", action="store_true", help="a policy under which built inputs must pass, too")
    parser.add_argument("--repeats", type=int, default=5)
    found = run(parser.parse_args())
    if parser.parse_args().json:
        print(json.dumps(found, indent=2))
        return
    print(f"{found['edges']:,} edges, {found['live']:,} live bundles: {found['ancestors']}")
    print(f"  gaps:    {found['gaps_cpu_ms']:,.0f} ms of CPU; what is counted: {found['gaps']}")
    print(f"  what-if: {found['what_if_cpu_ms']:,.0f} ms of CPU")
    print(f"  counting together against apart: {found['count']}")
    print(f"  ruling together against apart:   {found['rulings']}")


if __name__ == "__main__":
    main()
