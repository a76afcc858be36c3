"""Three machines, simulated: generations on an object store, each fetched and served by the process it hashes to.

`python -m benchmarks.provenance_shards --json`. Generations are built from one log and put into a store as they are.
Each of three processes fetches only what rendezvous hashing gives it, checks digests, and answers; a router asks the
process that a tenant hashes to. Shown: every answer is the one that a single machine gives; no process ever maps a file
of another's tenant, so no query crosses a shard; and when a process is killed, only its tenants move. It is a
simulation: one machine, pipes for a network, generations without deltas.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._provenance_world import TENANT, World, documents, make_world
from mc_pipelines.composition import open_database
from mc_pipelines.foundation import embedded
from mc_pipelines.foundation.clock import SystemClock
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.foundation.object_store_local import LocalObjectStore
from mc_pipelines.foundation.settings import Settings
from mc_pipelines.provenance.access import EVERYTHING, view_of
from mc_pipelines.provenance.edge_log import ingest_stream
from mc_pipelines.provenance.generation_file import check_generation, open_generation
from mc_pipelines.provenance.generations import build_generation
from mc_pipelines.provenance.kernel import walk_compiled
from mc_pipelines.provenance.model import PUBLIC
from mc_pipelines.provenance.partition import Partition, unread
from mc_pipelines.provenance.routing import ranked
from mc_pipelines.provenance.serialise import write_answer
from mc_pipelines.provenance.snapshot import Snapshot, take_snapshot
from mc_pipelines.provenance.walk import Walk

CLOCK = SystemClock()
NODES = ("one", "two", "three")
Question = tuple[TenantId, str, int]


def answer(snapshot: Snapshot, node: str, depth: int) -> bytes:
    """Return the JSON of a walk from a node, empty for an unknown one."""
    start = snapshot.find(node)
    if start < 0:
        return b""
    view = view_of(snapshot, EVERYTHING, valid_at=int(CLOCK.now().timestamp() * 1_000_000))
    return write_answer(snapshot, walk_compiled(snapshot, Walk(start, depth), view.visible), b"{}")


def fetch(store: Path, folder: Path, tenant: TenantId, name: str) -> Partition:
    """Fetch a generation into a machine's own folder, check its digest and open it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    if not path.exists():
        path.write_bytes(LocalObjectStore(store).get(f"generations/{tenant}/{name}"))
        check_generation(path)
    return unread(tenant, path.stem, open_generation(path))


def machine(store: Path, folder: Path, names: dict[TenantId, str], pipe: Connection) -> None:
    """Serve until the pipe closes: a question, or what this process has mapped."""
    shared = fetch(store, folder, PUBLIC, names[PUBLIC])
    held: dict[TenantId, Snapshot] = {}
    while True:
        try:
            asked: Question | None = pipe.recv()
        except EOFError:
            return
        if asked is None:
            lines = Path("/proc/self/maps").read_text().splitlines()
            pipe.send(sorted({Path(line.split()[-1]).name for line in lines if ".mcgraph" in line}))
            continue
        tenant, node, depth = asked
        if tenant not in held:
            held[tenant] = take_snapshot(fetch(store, folder, tenant, names[tenant]), shared)
        pipe.send(answer(held[tenant], node, depth))


def prepare(folder: Path, tenants: Sequence[TenantId], edges: int) -> tuple[dict[TenantId, str], list[Question]]:
    """Load every tenant, build and upload its generation; return the names of the files and what to ask."""
    settings = Settings(home=folder / "home")
    database = open_database(settings)
    store = LocalObjectStore(folder / "store")
    names: dict[TenantId, str] = {}
    questions: list[Question] = []
    try:
        for number, tenant in enumerate((PUBLIC, *tenants)):
            world = make_world(edges, number)
            source = PUBLIC if tenant == PUBLIC else TENANT
            stream = ingest_stream(database, tenant, documents(world, source), clock=CLOCK, operator=tenant == PUBLIC)
            assert all(one.status == "accepted" for results in stream for one in results)
            built = build_generation(database, folder / "built", tenant, clock=CLOCK)
            names[tenant] = Path(built.path).name
            store.put(f"generations/{tenant}/{names[tenant]}", (folder / "built" / built.path).read_bytes())
            if tenant != PUBLIC:
                questions += [(tenant, node, depth) for node in some(world) for depth in (1, 3, 5)]
    finally:
        database.dispose()
        embedded.stop(settings)
    return names, questions


def some(world: World) -> list[str]:
    """Return some nodes of the tenant's builds, and one that is nobody's."""
    own = np.flatnonzero(~world.foreign)[-10:]
    return [*(str(world.id_of(int(world.first_node[build]) + 1)) for build in own), "sha256:" + "0" * 64]


def run(tenants: int, edges: int) -> dict[str, Any]:
    """Run the three machines and return what was seen."""
    names_of_tenants = [TenantId(f"tenant-{number:02}") for number in range(tenants)]
    with tempfile.TemporaryDirectory(prefix="mcg-") as text:
        folder = Path(text)
        names, questions = prepare(folder, names_of_tenants, edges)
        shared = fetch(folder / "store", folder / "single", PUBLIC, names[PUBLIC])
        single = {
            tenant: take_snapshot(fetch(folder / "store", folder / "single", tenant, names[tenant]), shared)
            for tenant in names_of_tenants
        }
        expected = [answer(single[tenant], node, depth) for tenant, node, depth in questions]
        return simulate(folder, names, questions, expected)


def simulate(
    folder: Path, names: dict[TenantId, str], questions: list[Question], expected: list[bytes]
) -> dict[str, Any]:
    """Start three machines, ask everything, kill one, ask everything again."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, {}
    for node in NODES:
        pipes[node], theirs = context.Pipe()
        processes[node] = context.Process(target=machine, args=(folder / "store", folder / node, names, theirs))
        processes[node].start()
        theirs.close()

    def ask(question: Question, alive: Sequence[str]) -> bytes:
        pipe = pipes[ranked(question[0], alive)[0]]
        pipe.send(question)
        found: bytes = pipe.recv()
        return found

    def mapped(node: str) -> set[str]:
        pipes[node].send(None)
        return set(pipes[node].recv())

    def crossing(alive: Sequence[str]) -> int:
        mine = {node: {names[t] for t in names if t != PUBLIC and ranked(t, alive)[0] == node} for node in alive}
        return sum(len(mapped(node) - mine[node] - {names[PUBLIC]}) for node in alive)

    equal = sum(ask(question, NODES) == right for question, right in zip(questions, expected, strict=True))
    crossed = crossing(NODES)
    processes["two"].kill()
    processes["two"].join()
    left = [node for node in NODES if node != "two"]
    again = sum(ask(question, left) == right for question, right in zip(questions, expected, strict=True))
    tenants = [tenant for tenant in names if tenant != PUBLIC]
    lost = [tenant for tenant in tenants if ranked(tenant, NODES)[0] == "two"]
    moved = [tenant for tenant in tenants if ranked(tenant, NODES)[0] != ranked(tenant, left)[0]]
    figures = {
        "benchmark": "provenance_shards",
        "machines": len(NODES),
        "tenants": len(tenants),
        "served_by": {node: sum(ranked(tenant, NODES)[0] == node for tenant in tenants) for node in NODES},
        "answers": len(questions),
        "equal": equal,
        "equal_after_kill": again,
        "foreign_files_mapped": crossed + crossing(left),
        "moved_by_kill": len(moved),
        "of_the_killed": len(lost),
        "met": equal == again == len(questions) and crossed == 0 and moved == lost,
    }
    for node in left:
        pipes[node].close()
        processes[node].join(20)
    return figures


def main() -> int:
    """Print what was seen; 1 where an answer differed or a query crossed a shard."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenants", type=int, default=12)
    parser.add_argument("--edges", type=int, default=5000, help="of each tenant")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = run(options.tenants, options.edges)
    print(json.dumps(figures, indent=None if options.json else 2))
    return 0 if figures["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
