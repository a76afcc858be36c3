"""What it costs to commit to a generation, to prove an answer of it, and to check the proof.

`python -m benchmarks.provenance_commitment --edges 1000000 --json`. The world of provenance_graph is laid out as
generations past the log (as `provenance_graph --past-the-log` has it), beside an embedded PostgreSQL. `commit` is the
whole tree of the benchmark tenant's generation, computed anew (CPU of this process and wall; two threads); the peer in
the same run hashes the same leaves one by one with hashlib, over `--plain` nodes, which must be the same. Then
`--proofs` answers are proven and checked, of depth 1 to 3 from any node and of depth 3 both ways from bundles: median
and 95th percentile of CPU, and bytes.
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
from benchmarks.provenance_graph import CLOCK, House, house, past_the_log, say
from mc_pipelines.provenance import leaf_hash
from mc_pipelines.provenance.access import EVERYTHING
from mc_pipelines.provenance.answer_check import check_answer
from mc_pipelines.provenance.commitment import CHUNK, Leaves, grow_tree
from mc_pipelines.provenance.committing import commit_all, tree_of
from mc_pipelines.provenance.cursor import CursorKey
from mc_pipelines.provenance.proving import TooLargeError, proven_answer
from mc_pipelines.provenance.request import ProofQuery
from mc_pipelines.provenance.store import GraphStore

KEY = CursorKey(b"benchmark")


def timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Return CPU and wall seconds of a piece of work, and what it gave."""
    cpu, wall = time.process_time(), time.perf_counter()
    found = work()
    return time.process_time() - cpu, time.perf_counter() - wall, found


def plainly(leaves: Leaves, nodes: int) -> tuple[float, bool]:
    """Return CPU seconds of the first ``nodes`` leaves by hashlib, and whether they are the compiled ones."""
    places = np.arange(nodes)
    compiled = leaves.hashes(places)[0]
    leaf_hash.COMPILES = False
    try:
        cpu, _, found = timed(lambda: leaves.hashes(places)[0])
    finally:
        leaf_hash.COMPILES = True
    return cpu, bool(np.array_equal(found, compiled))


def any_node(world: World, build: int, number: int) -> ProofQuery:
    """Ask one way from any node of a build."""
    node = world.id_of(int(world.first_node[build]) + number % 9)
    return ProofQuery(node=node, depth=1 + number % 3, direction=("ancestors", "descendants")[number // 3 % 2])


def bundle(world: World, build: int, _: int) -> ProofQuery:
    """Ask three steps both ways from the bundle of a build."""
    return ProofQuery(node=world.id_of(int(world.first_node[build]) + 1), depth=3, direction="both")


def prove(
    store: GraphStore, world: World, ask: Callable[[World, int, int], ProofQuery], count: int, seed: int
) -> dict[str, Any]:
    """Prove and check answers of the tenant's builds; those that would be cut are counted."""
    builds = np.random.default_rng(seed).choice(np.flatnonzero(~world.foreign), count)
    cost: dict[str, list[float]] = {"prove_cpu_ms": [], "check_cpu_ms": [], "bytes": [], "nodes": []}
    refused = 0
    for number, build in enumerate(builds):
        query = ask(world, int(build), number)
        try:
            cpu, _, answer = timed(lambda query=query: proven_answer(store, TENANT, query, EVERYTHING, KEY))  # type: ignore[misc]
        except TooLargeError:
            refused += 1
            continue
        document = json.loads(answer.body)
        checked, _, found = timed(lambda document=document: check_answer(document))  # type: ignore[misc]
        if not found.ok:
            raise AssertionError(found.problems)
        for name, value in zip(
            cost, (cpu * 1000, checked * 1000, len(answer.body), answer_size(document)), strict=True
        ):
            cost[name].append(value)
    return {"proofs": len(cost["bytes"]), "refused_as_too_large": refused} | {
        name: {"p50": round(statistics.median(values), 2), "p95": round(float(np.percentile(values, 95)), 2)}
        for name, values in cost.items()
    }


def answer_size(document: dict[str, Any]) -> int:
    """Return how many nodes an answer has."""
    return len(document["answer"]["nodes"])


def measure(at: House, world: World, arguments: argparse.Namespace) -> dict[str, Any]:
    """Commit, prove, check."""
    store = GraphStore(at.database, at.home / "generations", CLOCK)
    partition = store.snapshot(TENANT).own
    assert partition.base is not None
    leaves = Leaves(partition.base, partition.closures)
    grow_tree(leaves)  # what is mapped is in memory from here on, for both
    cpu, wall, tree = timed(lambda: grow_tree(leaves))
    nodes, edges = leaves.nodes, len(partition.base["up"])
    some = min(arguments.plain, nodes) // CHUNK * CHUNK
    plain, equal = plainly(leaves, some)
    say(f"tree of {nodes} nodes and {edges} edges in {cpu:.2f} s of CPU")
    commit_all(at.database, at.home / "generations", clock=CLOCK)
    kept = len(tree.rows[0]) * 32
    read, _, _ = timed(lambda: tree_of(leaves))
    return {
        "edges": edges,
        "nodes": nodes,
        "commit": {
            "cpu_s": round(cpu, 2),
            "wall_s": round(wall, 2),
            "us_an_edge": round(cpu / edges * 1e6, 3),
            "kept_bytes": kept,
            "kept_bytes_an_edge": round(kept / edges, 3),
            "file_bytes": partition.base.size,
            "from_kept_rows_ms": round(read * 1000, 2),
        },
        "plain": {"leaves": some, "equal": equal, "ratio": round(plain / some / (cpu / nodes), 1)},
        "any_node": prove(store, world, any_node, arguments.proofs, arguments.seed),
        "bundles": prove(store, world, bundle, arguments.proofs, arguments.seed),
    }


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edges", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--plain", type=int, default=20_000, help="leaves that the peer hashes")
    parser.add_argument("--proofs", type=int, default=60)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    world = make_world(arguments.edges, arguments.seed)
    with house() as at:
        past_the_log(at, world)
        found = measure(at, world, arguments)
    print(json.dumps(found, indent=None if arguments.json else 2))


if __name__ == "__main__":
    main()
