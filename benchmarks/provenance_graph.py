"""The provenance graph at scale: load, rebuild, bytes, CPU of walks, rivals on the same starts, HTTP, swaps under load.

`python -m benchmarks.provenance_graph --edges 2000000 --seed 1 --json`. Documents enter by the product's own ingest
into an embedded PostgreSQL, generations are built by the product, and every query is the product's `graph_answer`: id
look-up, view, walk, JSON bytes and ETag, at most 5,000 nodes and 20,000 edges, fan-out 1,000, depths 1 to 5, three
directions, three classes of starts. CPU is thread time, so other work on the machine disturbs it little; HTTP and
visibility are wall time. Every answer is compared with brute force over plain arrays, and with DuckDB and PostgreSQL
on a part of the starts (benchmarks/_provenance_rivals.py). `ratio_*` divide the p95 of CPU per query of the same
service over the rival, JSON included, by ours; `ratio_engine` counts its queries alone, and still our JSON.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from benchmarks import _provenance_http as web
from benchmarks import _provenance_rivals as rivals
from benchmarks._provenance_direct import build_directly
from benchmarks._provenance_world import OTHER, TENANT, World, documents, make_world
from mc_pipelines.composition import open_database
from mc_pipelines.foundation import embedded
from mc_pipelines.foundation.clock import SystemClock
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.ids import Digest
from mc_pipelines.foundation.settings import Settings
from mc_pipelines.provenance.access import EVERYTHING, Filter
from mc_pipelines.provenance.answer import Answer
from mc_pipelines.provenance.cursor import CursorKey
from mc_pipelines.provenance.edge_log import ingest_stream
from mc_pipelines.provenance.generation_file import open_generation
from mc_pipelines.provenance.generations import build_generation
from mc_pipelines.provenance.identity import NodeId
from mc_pipelines.provenance.impact import impact_answer
from mc_pipelines.provenance.kernel import walk_compiled
from mc_pipelines.provenance.model import PUBLIC, Claims
from mc_pipelines.provenance.paths import paths_answer
from mc_pipelines.provenance.pointer import Generation
from mc_pipelines.provenance.query import graph_answer
from mc_pipelines.provenance.reach import reach, steps_between
from mc_pipelines.provenance.request import MAXIMUM_PAGED, GraphQuery, ImpactQuery, PathQuery
from mc_pipelines.provenance.seen import seen_kinds
from mc_pipelines.provenance.serialise import write_answer
from mc_pipelines.provenance.store import GraphStore
from mc_pipelines.provenance.walk import ANCESTORS, DESCENDANTS, Reached, Walk

CLASSES = ("ordinary", "hub", "deep")
DEPTHS = (1, 2, 3, 4, 5)
ADJACENCY_AND_IDS = (
    *("up_start", "down_start", "id_start"),
    *("up", "down", "kind", "ids", "prefix", "prefix_start", "bucket", "by_key", "check"),
)
CLOCK = SystemClock()
SERIALISED = 5000
"""Nodes of the answers that are written as JSON; edges are twice as many."""
LEAST = 60
"""Queries that a rival answers however long it takes."""
KEY = CursorKey(b"benchmark")


def say(message: str) -> None:
    """Tell a person what is going on."""
    print(f"{time.strftime('%H:%M:%S')} {message}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class House:
    """An embedded server with room for the load, and a folder for everything else."""

    home: Path
    database: Database
    superuser: str
    postmaster: int


@contextmanager
def house(kept: Path | None = None) -> Iterator[House]:
    """Open the embedded server, with memory for both the log and the rival; in ``kept``, or where nothing is kept."""
    with ExitStack() as stack:
        folder = kept or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mcg-", dir="/tmp")))
        settings = Settings(home=folder)
        open_database(settings).dispose()
        superuser = embedded.urls_in(settings.home_path / "pg").owner.replace("mc_owner", "postgres")
        superuser = superuser.replace("postgresql+psycopg", "postgresql")
        with psycopg.connect(superuser, autocommit=True) as connection:
            for name, value in (("shared_buffers", "6GB"), ("max_wal_size", "8GB"), ("checkpoint_timeout", "30min")):
                connection.execute(f"alter system set {name} = '{value}'")
        embedded.stop(settings)
        database = open_database(settings)
        pid = int((settings.home_path / "pg" / "postmaster.pid").read_text().split("\n")[0])
        try:
            yield House(settings.home_path, database, superuser, pid)
        finally:
            database.dispose()
            embedded.stop(settings)


def server_cpu(at: House) -> float:
    """Return CPU seconds of the server's ended children and of those that run."""
    ticks = 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == at.postmaster:
            ticks += int(fields[11]) + int(fields[12])
        elif int(stat.parent.name) == at.postmaster:
            ticks += sum(int(fields[place]) for place in (11, 12, 13, 14))
    return ticks / 100


def spent(at: House) -> float:
    """Return CPU seconds of this process and of the server."""
    return time.process_time() + server_cpu(at)


def load(at: House, world: World) -> dict[str, Any]:
    """Ingest the world's documents; wall time includes the making of the documents.

    A home that was kept holds them already: its figures are those of the run that loaded it.
    """
    record = at.home / "loaded.json"
    if record.exists():
        before: dict[str, Any] = json.loads(record.read_text())
        return before
    begun, cpu = time.perf_counter(), spent(at)
    claims = 0
    for tenant in (PUBLIC, OTHER, TENANT):
        stream = ingest_stream(at.database, tenant, documents(world, tenant), clock=CLOCK, operator=tenant == PUBLIC)
        for number, results in enumerate(stream):
            assert all(one.status == "accepted" for one in results)
            claims += sum(one.edges for one in results)
            if number % 20 == 0:
                say(f"{claims:,} edges in the log")
    figures = {"load_s": time.perf_counter() - begun, "load_cpu_s": spent(at) - cpu, "claims": claims}
    record.write_text(json.dumps(figures))
    return figures


def rebuild(at: House, times: int) -> dict[str, Any]:
    """Build every generation from the whole log; a figure is the sum over all tenants, and the last time counts.

    After a load in the same run the server has the log in memory; a home that was kept comes from the disk at first.
    """
    walls, cpus = [], []
    built: list[Generation] = []
    for _ in range(times):
        begun, cpu = time.perf_counter(), spent(at)
        built = [
            build_generation(at.database, at.home / "generations", tenant, clock=CLOCK, whole=True)
            for tenant in (PUBLIC, OTHER, TENANT)
        ]
        walls.append(time.perf_counter() - begun)
        cpus.append(spent(at) - cpu)
    return {"rebuild_s": walls[-1], "rebuild_cpu_s": cpus[-1], "rebuilds_s": walls, **sizes(at, built)}


def past_the_log(at: House, world: World) -> dict[str, Any]:
    """Make the generations from the world itself, for scales whose load would take an hour."""
    return {"past_the_log": True, **sizes(at, build_directly(at.database, at.home / "generations", world))}


def sizes(at: House, built: Sequence[Generation]) -> dict[str, Any]:
    """Return what generations hold, and bytes an edge."""
    total, nodes = (sum(getattr(one, name) for one in built) for name in ("edges", "nodes"))
    adjacency = everything = ids = 0
    for one in built:
        file = open_generation(at.home / "generations" / one.path)
        adjacency += sum(file[name].nbytes for name in ADJACENCY_AND_IDS)
        everything += one.bytes
        ids += file["ids"].nbytes
    return {
        "nodes": nodes,
        "id_bytes_per_node": ids / nodes,
        "bytes_per_edge": adjacency / total,
        "bytes_per_edge_all": everything / total,
    }


def choose_starts(world: World, lists: rivals.Neighbours, count: int) -> dict[str, list[int]]:
    """Choose starts: any visible node; those with the most neighbours; products of the last tenth of the builds."""
    draw = np.random.default_rng(world.seed + 1)
    degree = sum(np.diff(start) for start in lists.start)
    seen = np.flatnonzero(degree > 0)
    hubs = np.argsort(degree, kind="stable")[::-1][: max(10, count)]
    late = np.flatnonzero(~world.foreign)[-max(1, len(world.foreign) // 10) :]
    return {
        "ordinary": draw.choice(seen, count, replace=False).tolist(),
        "hub": draw.choice(hubs, max(1, count // 3), replace=False).tolist(),
        "deep": (world.first_node[draw.choice(late, max(1, count // 3), replace=False)] + 1).tolist(),
    }


@dataclass(frozen=True)
class Asked:
    """One query and what it cost."""

    group: str
    start: int
    depth: int
    direction: str
    cpu_ms: float
    body: bytes


def queries(starts: dict[str, list[int]]) -> Iterator[tuple[str, int, int, str]]:
    """Yield every query: class, start, depth, direction."""
    for group, numbers in starts.items():
        for number in numbers:
            for depth in DEPTHS:
                for direction in rivals.DIRECTIONS:
                    yield group, number, depth, direction


def query_of(world: World, start: int, depth: int, direction: str) -> GraphQuery:
    """Return the product's query at the largest caps."""
    return GraphQuery(
        world.id_of(start), depth, direction, limit=rivals.NODES, edge_limit=rivals.EDGES, fan_out=rivals.FAN_OUT
    )


def walk_all(store: GraphStore, world: World, starts: dict[str, list[int]]) -> list[Asked]:
    """Answer every query once to warm up and once for the figure."""
    asked = []
    everything = list(queries(starts))
    order = np.random.default_rng(7).permutation(len(everything))
    for measured in (False, True):
        for at in order.tolist():
            group, start, depth, direction = everything[at]
            query = query_of(world, start, depth, direction)
            begun = time.thread_time()
            answer = graph_answer(store, TENANT, query, EVERYTHING, KEY)
            cpu = (time.thread_time() - begun) * 1000
            if measured:
                asked.append(Asked(group, start, depth, direction, cpu, answer.body))
    return asked


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return p50, p95, p99 and the maximum."""
    if not values:
        return {}
    found = np.percentile(np.array(values), [50, 95, 99, 100])
    return dict(zip(("p50", "p95", "p99", "max"), found.tolist(), strict=True))


def costs(asked: Sequence[Asked]) -> dict[str, Any]:
    """Return percentiles over all queries, by class, depth and direction."""
    whole: dict[str, Any] = percentiles([one.cpu_ms for one in asked])
    whole["by_class"] = {name: percentiles([o.cpu_ms for o in asked if o.group == name]) for name in CLASSES}
    whole["by_depth"] = {str(depth): percentiles([o.cpu_ms for o in asked if o.depth == depth]) for depth in DEPTHS}
    whole["by_direction"] = {
        name: percentiles([o.cpu_ms for o in asked if o.direction == name]) for name in rivals.DIRECTIONS
    }
    return whole


def parsed(body: bytes) -> tuple[list[str], set[tuple[str, str, str]]]:
    """Return an answer's nodes in order and its edges."""
    answer = json.loads(body)
    edges = [(edge["from"], edge["to"], edge["type"]) for edge in answer["edges"]]
    assert len(edges) == len(set(edges)), "an edge came twice"
    return [node["id"] for node in answer["nodes"]], set(edges)


def judge(world: World, lists: rivals.Neighbours, asked: Iterable[Asked]) -> tuple[int, int]:
    """Compare answers with brute force; return how many were equal and how many there were."""
    equal = count = 0
    for one in asked:
        expected = rivals.walk_by(lists.rows, one.start, one.depth, one.direction)
        count += 1
        if parsed(one.body) == rivals.names_of(world, expected):
            equal += 1
        else:
            say(f"DIFFERENT: {one.group} {world.id_of(one.start)} depth {one.depth} {one.direction}")
    return equal, count


def compare(rival: Any, asked: Sequence[Asked], seconds: float) -> dict[str, Any]:
    """Let a rival answer the same queries, as many as it can in some seconds; compare answers and cost."""
    engine, whole, ours, equal = [], [], [], 0
    until = time.monotonic() + seconds
    for one in np.random.default_rng(3).permutation(len(asked)).tolist():
        query = asked[one]
        _found, body, engine_s, whole_s = rivals.serve(rival, query.start, query.depth, query.direction)
        engine.append(engine_s * 1000)
        whole.append(whole_s * 1000)
        ours.append(query.cpu_ms)
        equal += parsed(query.body) == parsed(body)
        if time.monotonic() > until and len(ours) >= LEAST:
            break
    mine, other, all_of_it = percentiles(ours), percentiles(engine), percentiles(whole)
    return {
        "queries": len(ours),
        "equal": equal,
        "engine_cpu_ms": other,
        "whole_cpu_ms": all_of_it,
        "ours_cpu_ms": mine,
        "ratio": all_of_it["p95"] / mine["p95"],
        "ratio_engine": other["p95"] / mine["p95"],
        "load_s": rival.load_s,
    }


def recursive(rival: rivals.PostgreSQL, world: World, asked: Sequence[Asked]) -> dict[str, Any]:
    """Compare answers that nothing was left out of with one recursive query each."""
    theirs, ours, equal = [], [], 0
    for one in asked:
        if one.direction == "both" or not json.loads(one.body)["complete"] or len(theirs) >= 150:
            continue
        rival.cpu = 0.0
        nodes, edges = rival.recursive(one.start, one.depth, rivals.DIRECTIONS[one.direction][0])
        theirs.append(rival.cpu * 1000)
        ours.append(one.cpu_ms)
        names = rivals.names_of(world, rivals.Found(sorted(nodes), edges, stopped=False))
        got = parsed(one.body)
        equal += (set(got[0]), got[1]) == (set(names[0]), names[1])
    return {"queries": len(theirs), "equal": equal, "cpu_ms": percentiles(theirs), "ours_cpu_ms": percentiles(ours)}


def hub(store: GraphStore, world: World, lists: rivals.Neighbours) -> dict[str, Any]:
    """Ask the dependents of the node whose direct dependents are nearest to 48,000: the first 500, then all pages."""
    degree = np.diff(lists.start[1])
    start = int(np.argmin(np.abs(degree - 48_000)))
    first = GraphQuery(world.id_of(start), 1, "descendants", limit=500, fan_out=100_000)
    everything = GraphQuery(world.id_of(start), 1, "descendants", limit=5000, fan_out=100_000)
    begun = time.thread_time()
    graph_answer(store, TENANT, first, EVERYTHING, KEY)
    head = (time.thread_time() - begun) * 1000
    begun, found, cursor = time.thread_time(), 0, None
    while True:
        answer = graph_answer(store, TENANT, replace(everything, cursor=cursor), EVERYTHING, KEY)
        found += answer.nodes
        cursor = answer.cursor
        if cursor is None:
            break
    whole = (time.thread_time() - begun) * 1000
    return {
        "dependents": int(degree[start]),
        "found": found - 1,
        "first_500_ms": head,
        "all_ms": whole,
        "impact": impact(store, world.id_of(start)),
        "impact_of_48k": impact(store, with_dependents(store, world, 48_000)),
        "paths": paths(store, world, start),
    }


def unasked(store: GraphStore, node: NodeId, number: int) -> Filter:
    """Return a filter that shows everything and whose view nothing was derived from yet."""
    allowed = replace(EVERYTHING, policy=Digest(f"sha256:{number:064x}"))
    graph_answer(store, TENANT, GraphQuery(node, 1, limit=1), allowed, KEY)
    return allowed


def cpu_ms(work: Callable[[], Any]) -> float:
    """Return the CPU milliseconds of some work in this thread."""
    begun = time.thread_time()
    work()
    return (time.thread_time() - begun) * 1000


def with_dependents(store: GraphStore, world: World, count: int) -> NodeId:
    """Return a product on which, over all steps, about so many nodes stand: later builds use those before them."""
    snapshot = store.snapshot(TENANT)
    visible = store.view(TENANT, snapshot, EVERYTHING).visible
    own = np.flatnonzero(~world.foreign)
    tried: dict[int, NodeId] = {}
    for back in np.linspace(count // 36, count, 150).astype(int):
        node = world.id_of(int(world.first_node[own[max(0, len(own) - back)]]) + 1)
        walk = Walk(
            snapshot.find(node), 255, DESCENDANTS, maximum_nodes=2 * count, fan_out=100_000, maximum_edges=1 << 22
        )
        tried.setdefault(len(reach(snapshot, walk, visible).nodes) - 1, node)
    return tried[min(tried, key=lambda found: abs(found - count))]


def impact(store: GraphStore, node: NodeId) -> dict[str, Any]:
    """Ask all that stands on a node: counts and the first 500, new and again; then all pages of 5,000, new."""
    first, all_of_it = ImpactQuery(node, limit=500), ImpactQuery(node, limit=5000)
    cold, warm, whole, found, edges, size, pages = [], [], [], 0, 0, 0, 0

    def page(query: ImpactQuery, allowed: Filter) -> Answer:
        return impact_answer(store, TENANT, query, allowed, KEY)

    def every_page(allowed: Filter) -> None:
        nonlocal found, edges, size, pages
        found, edges, size, pages, cursor = 0, 0, 0, 0, None
        while pages * all_of_it.limit < MAXIMUM_PAGED:
            answer = page(replace(all_of_it, cursor=cursor), allowed)
            found, edges, size = found + answer.nodes, edges + answer.edges, size + len(answer.body)
            pages, cursor = pages + 1, answer.cursor
            if cursor is None:
                break

    for round_ in range(5):
        allowed = unasked(store, node, 2 * round_)
        cold.append(cpu_ms(lambda allowed=allowed: page(first, allowed)))
        warm.append(cpu_ms(lambda allowed=allowed: page(first, allowed)))
        allowed = unasked(store, node, 2 * round_ + 1)
        whole.append(cpu_ms(lambda allowed=allowed: every_page(allowed)))
    return {
        "found": found - 1,
        "edges": edges,
        "bytes": size,
        "pages": pages,
        "first_500_cold_ms": statistics.median(cold),
        "first_500_warm_ms": statistics.median(warm),
        "all_ms": statistics.median(whole),
    }


def paths(store: GraphStore, world: World, start: int) -> dict[str, Any]:
    """Ask how late products come to stand on a hub, from either end, and how it stands on them (it does not)."""
    late = np.flatnonzero(~world.foreign)[-max(20, len(world.foreign) // 10) :]
    ends = (world.first_node[np.random.default_rng(11).choice(late, 20, replace=False)] + 1).tolist()
    costs_ms: dict[str, list[float]] = {}
    for end in ends:
        for name, source, target, direction in (
            ("to_hub", end, start, "ancestors"),
            ("from_hub", start, end, "descendants"),
            ("either_way", start, end, "both"),
            ("no_path", end, start, "descendants"),
        ):
            query = PathQuery(world.id_of(source), world.id_of(target), direction)
            cost = cpu_ms(lambda query=query: paths_answer(store, TENANT, query, EVERYTHING))
            costs_ms.setdefault(name, []).append(cost)
    return {name: percentiles(values) for name, values in costs_ms.items()}


def neighbourhood(store: GraphStore, world: World, first: int) -> Reached | None:
    """Return 5,000 nodes and 10,000 edges between them, of consecutive builds and all that they name; None for fewer.

    A walk under caps is nearly a tree, so no answer of this world has twice as many edges as nodes; this one is made.
    """
    snapshot = store.snapshot(TENANT)
    visible = store.view(TENANT, snapshot, EVERYTHING).visible
    edges = np.flatnonzero(world.mine() & (world.build >= first))[: 8 * SERIALISED]
    ends = np.stack([world.source[edges], world.target[edges]], axis=1).reshape(-1)
    chosen = np.array(list(dict.fromkeys(ends.tolist()))[:SERIALISED])
    numbers = snapshot.find_all([world.id_of(each) for each in chosen.tolist()]).astype(np.int32)
    rows = steps_between(snapshot, visible, numbers, numbers, Walk(0, 1, ANCESTORS, fan_out=100_000))[: 2 * SERIALISED]
    if len(numbers) < SERIALISED or len(rows) < 2 * SERIALISED:
        return None
    order = np.argsort(numbers)
    upper = order[np.searchsorted(numbers[order], rows[:, 1])]
    whole = walk_compiled(snapshot, Walk(int(numbers[0]), 1, maximum_nodes=SERIALISED), visible)
    return replace(
        whole,
        nodes=numbers,
        levels=np.zeros(SERIALISED, dtype=np.uint8),
        lower=rows[:, 0].astype(np.int32),
        upper=upper.astype(np.int32),
        code=rows[:, 2].astype(np.int32),
        kind=seen_kinds(snapshot, numbers, visible),
    )


def serialised(store: GraphStore, world: World) -> dict[str, Any]:
    """Write answers of 5,000 nodes and 10,000 edges as JSON: no look-up, no walk, no ETag."""
    snapshot = store.snapshot(TENANT)
    draw = np.random.default_rng(world.seed + 2)
    begins = draw.integers(0, max(1, len(world.foreign) - SERIALISED // 9), 20)
    answers = [each for each in (neighbourhood(store, world, int(first)) for first in begins) if each is not None]
    costs_ms, sizes = [], []
    for reached in answers * 10:
        begun = time.thread_time()
        body = write_answer(snapshot, reached, b"{}")
        costs_ms.append((time.thread_time() - begun) * 1000)
        sizes.append(len(body))
    return {
        "answers": len(answers),
        "nodes": sorted({len(each.nodes) for each in answers}),
        "edges": sorted({len(each.lower) for each in answers}),
        "bytes": float(np.mean(sizes)) if sizes else None,
        "ms": percentiles(costs_ms),
    }


def fresh_documents(number: int, edges: int) -> list[Claims]:
    """Return a batch of documents that no other batch has: builds of another seed, as the tenant would send them."""
    world = make_world(int(edges * 1.25) + 2000, 100_000 + number)
    found: list[Claims] = []
    for batch in documents(world, TENANT):
        found += batch
    kept, total = [], 0
    for claims in found:
        if total >= edges:
            break
        kept.append(claims)
        total += len(claims.edges) + len(claims.earned)
    return kept


def visibility(at: House, store: GraphStore) -> dict[str, Any]:
    """Commit 100,000 edges beside a watching store; how long until a reader sees them, and what sending twice does."""
    batch = fresh_documents(0, 100_000)
    store.watch()
    store.snapshot(TENANT)
    begun = time.perf_counter()
    results = next(ingest_stream(at.database, TENANT, [batch], clock=CLOCK))
    committed = time.perf_counter()
    seq = max(one.seq or 0 for one in results)
    while store.snapshot(TENANT).own.seq < seq:
        time.sleep(0.002)
    visible = time.perf_counter() - committed
    again = next(ingest_stream(at.database, TENANT, [batch], clock=CLOCK))
    with at.database.begin(tenant=TENANT) as connection:
        doubled = connection.exec_driver_sql(
            "select count(*) - count(distinct (seq, source, target, type)) from provenance_claims"
            f" where tenant = '{TENANT}' and seq > {seq - len(batch)}"
        ).scalar_one()
    store.close()
    return {
        "edges": sum(one.edges for one in results),
        "ingest_s": committed - begun,
        "visible_s": visible,
        "again_known": sum(one.status == "known" for one in again) / len(again),
        "duplicates": int(doubled),
    }


def merge(at: House) -> dict[str, Any]:
    """Make the next generation of the one before and the news: what the asset does at every tick but the first."""
    begun, cpu = time.perf_counter(), spent(at)
    built = build_generation(at.database, at.home / "generations", TENANT, clock=CLOCK)
    return {"edges": built.edges, "merge_s": time.perf_counter() - begun, "merge_cpu_s": spent(at) - cpu}


def swaps(at: House, server: web.Server, token: str, asked: list[dict[str, str]], seconds: float) -> dict[str, Any]:
    """Eight clients while batches of 100,000 edges arrive and three generations are swapped in."""
    done: dict[str, Any] = {"batches": 0, "swaps": 0}
    stop = threading.Event()

    def work() -> None:
        for number in range(1, 11):
            if stop.is_set():
                return
            batch = fresh_documents(number, 100_000)
            next(ingest_stream(at.database, TENANT, [batch], clock=CLOCK))
            done["batches"] += 1
            if number in {3, 6, 9}:
                build_generation(at.database, at.home / "generations", TENANT, clock=CLOCK)
                done["swaps"] += 1

    worker = threading.Thread(target=work)
    worker.start()
    seen = web.load(server, token, asked, clients=8, seconds=seconds, check=_is_whole)
    while worker.is_alive() and done["swaps"] < 3:
        more = web.load(server, token, asked, clients=8, seconds=5, check=_is_whole)
        seen.milliseconds += more.milliseconds
        seen.failed += more.failed
        seen.failures += more.failures
    stop.set()
    worker.join()
    return {
        **done,
        "reads": len(seen.milliseconds),
        "failed": seen.failed,
        "failures": seen.failures,
        "ms": percentiles(seen.milliseconds),
    }


def over_http(at: House, world: World, asked: Sequence[Asked], seconds: float, soak: float) -> dict[str, Any]:
    """Ask the same queries over HTTP: one client, eight, and eight during ingest and swaps."""
    token = web.register_reader(at.database, at.home, [TENANT, OTHER])
    some = [
        {
            "node": world.id_of(one.start),
            "depth": str(one.depth),
            "direction": one.direction,
            "limit": str(rivals.NODES),
            "edgeLimit": str(rivals.EDGES),
        }
        for one in asked
    ]
    figures: dict[str, Any] = {"request_cpu_ms": web.request_parts(at.database, at.home, token)}
    with web.serving(at.home) as server:
        web.load(server, token, some, clients=1, seconds=min(5.0, seconds), check=_is_whole)
        for clients in (1, 8):
            database = server_cpu(at)
            seen = web.load(server, token, some, clients=clients, seconds=seconds, check=_is_whole)
            found, reads = percentiles(seen.milliseconds), max(1, len(seen.milliseconds))
            # What the same answers cost without HTTP, in the mix in which they were asked.
            answers = sum(asked[place].cpu_ms * times for place, times in seen.asked.items()) / reads
            figures |= {
                f"p95_{clients}": found.get("p95"),
                f"all_{clients}": found,
                f"reads_{clients}": len(seen.milliseconds),
                f"failed_{clients}": seen.failed,
                f"failures_{clients}": seen.failures,
                f"cpu_ms_{clients}": {
                    "server": seen.server_cpu_s * 1000 / reads,
                    "answer": answers,
                    "over_answer": seen.server_cpu_s * 1000 / reads - answers,
                    "database": (server_cpu(at) - database) * 1000 / reads,
                },
            }
        if soak:
            figures["swaps"] = swaps(at, server, token, some, soak)
    return figures


def _is_whole(body: memoryview) -> bool:
    return len(body) > 0 and body[-1] == ord("}")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run all parts; see the module's docstring."""
    world = make_world(options.edges, options.seed)
    figures: dict[str, Any] = {"benchmark": "provenance_graph", "edges": world.edges, "seed": options.seed}
    with house(options.home) as at:
        say(f"loading {world.edges:,} edges")
        if options.past_the_log:
            figures |= past_the_log(at, world)
        else:
            figures |= load(at, world)
            say("building")
            figures |= rebuild(at, options.rebuilds)
            figures["end_to_end_s"] = figures["load_s"] + figures["rebuild_s"]
        say(json.dumps(figures))
        lists = rivals.neighbours(world)
        starts = choose_starts(world, lists, options.starts)
        store = GraphStore(at.database, at.home / "generations", CLOCK, refresh_seconds=3600)
        gc.collect()
        begun = time.perf_counter()
        store.snapshot(TENANT)
        figures["open_s"] = time.perf_counter() - begun
        asked = walk_all(store, world, starts)
        figures["queries"] = len(asked)
        figures["cpu_ms"] = costs(asked)
        figures["answer_bytes"] = percentiles([float(len(one.body)) for one in asked])
        figures["hub"] = hub(store, world, lists)
        figures["serialise"] = serialised(store, world)
        say(json.dumps({name: figures[name] for name in ("open_s", "cpu_ms", "hub", "serialise")}))
        sample = (
            asked
            if options.judge_all
            else [asked[at_] for at_ in np.random.default_rng(5).permutation(len(asked))[:400].tolist()]
        )
        equal, judged = judge(world, lists, sample)
        figures |= {"judged": judged, "answers_equal": equal == judged}
        if "http" not in options.skip and not options.past_the_log:
            figures["visible"] = visibility(at, store)
            figures["merge"] = merge(at)
            figures["http_ms"] = over_http(at, world, asked, options.http_seconds, options.soak)
            say(json.dumps({name: figures[name] for name in ("visible", "merge", "http_ms")}))
        figures |= against(at, world, lists, asked, options)
        figures["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return figures


def against(
    at: House, world: World, lists: rivals.Neighbours, asked: list[Asked], options: argparse.Namespace
) -> dict[str, Any]:
    """Return the figures of the rivals."""
    figures: dict[str, Any] = {}
    equal = True
    makers = {
        "duckdb": lambda: rivals.DuckDB(lists, world, at.home),
        "postgresql": lambda: rivals.PostgreSQL(lists, world, at.superuser),
    }
    for name, make in makers.items():
        if name in options.skip:
            continue
        say(f"loading {name}")
        rival = make()
        found = compare(rival, asked, options.rival_seconds)
        equal = equal and found["equal"] == found["queries"]
        if isinstance(rival, rivals.PostgreSQL):
            found["recursive"] = recursive(rival, world, asked)
            equal = equal and found["recursive"]["equal"] == found["recursive"]["queries"]
        rival.close()
        figures |= {name: found, f"ratio_{name}": found["ratio"]}
        say(json.dumps({name: found}))
    return figures | {"rivals_equal": equal}


def main() -> int:
    """Print the figures as text, or as JSON; 1 if an answer differed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edges", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--home", type=Path, help="keep everything here; what a run before loaded is not loaded again")
    parser.add_argument(
        "--past-the-log", action="store_true", help="make generations from the world: no load, no HTTP, no swaps"
    )
    parser.add_argument("--rebuilds", type=int, default=1, help="how often the generations are built from the log")
    parser.add_argument("--starts", type=int, default=60, help="ordinary starts; a third as many hubs and deep ones")
    parser.add_argument("--judge-all", action="store_true", help="compare every answer with brute force, not 400")
    parser.add_argument("--rival-seconds", type=float, default=60)
    parser.add_argument("--http-seconds", type=float, default=10)
    parser.add_argument("--soak", type=float, default=15, help="seconds of eight clients during ingest and swaps")
    parser.add_argument("--skip", nargs="*", default=[], choices=["http", "duckdb", "postgresql"])
    options = parser.parse_args()
    figures = run(options)
    print(json.dumps(figures, indent=None if options.json else 2))
    return 0 if figures["answers_equal"] and figures["rivals_equal"] else 1


if __name__ == "__main__":
    sys.exit(main())
