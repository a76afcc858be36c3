"""Generations made from a world's arrays, past the log: for scales whose load takes longer than anybody waits.

The product assembles, writes and publishes them; only that rows of the log are read is left out. What the log would
say is the same but for which of a document's claims comes first.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import text

from benchmarks._provenance_world import OTHER, TENANT, World
from mc_pipelines.foundation.clock import SystemClock
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance import log_reader
from mc_pipelines.provenance.generation_file import LAYOUT, write_generation
from mc_pipelines.provenance.generations import assemble
from mc_pipelines.provenance.identity import node_key
from mc_pipelines.provenance.model import PUBLIC
from mc_pipelines.provenance.pointer import Generation, publish_generation

Array = NDArray[Any]
_AT_ONCE = 200_000
_CLOCK = SystemClock()
_CATALOGUE_EDGES = 50_000
"""Edges in one document of the catalogue."""
_SBOM = 17
"""Edges of a build's bill of materials; the others are its receipt's."""
_world: World
"""What child processes inherit."""


def build_directly(database: Database, folder: Path, world: World) -> list[Generation]:
    """Make the generation of every partition of a world and publish it, with a log of as many events and no rows."""
    keys, names = _named(world)
    return [_build(database, folder, world, tenant, keys, names) for tenant in (PUBLIC, OTHER, TENANT)]


def _named(world: World) -> tuple[Array, tuple[Array, Array, Array]]:
    """Return the key of every node, and the ids as text with where each begins and how long it is."""
    global _world  # noqa: PLW0603 - a world is inherited by children, not sent to them
    _world = world
    begins = range(0, len(world.kind), _AT_ONCE)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        parts = pool.map(_names, begins, chunksize=1)
    keys = np.frombuffer(b"".join(part[0] for part in parts), dtype=">u8").astype(np.uint64).reshape(-1, 2)
    lengths = np.concatenate([np.frombuffer(part[2], dtype=np.int64) for part in parts])
    raw = np.frombuffer(b"".join(part[1] for part in parts), dtype=np.uint8)
    return keys, (raw, np.cumsum(lengths) - lengths, lengths)


def _names(begin: int) -> tuple[bytes, bytes, bytes]:
    ids = [str(_world.id_of(number)) for number in range(begin, min(begin + _AT_ONCE, len(_world.kind)))]
    encoded = [each.encode() for each in ids]
    lengths = np.array([len(each) for each in encoded], dtype=np.int64)
    return b"".join(map(node_key, ids)), b"".join(encoded), lengths.tobytes()


def _build(
    database: Database, folder: Path, world: World, tenant: TenantId, keys: Array, names: tuple[Array, Array, Array]
) -> Generation:
    shared = int(np.searchsorted(world.build, 0))
    per_build = (len(world.build) - shared) // len(world.foreign)
    builds = np.flatnonzero(world.foreign == (tenant == OTHER))
    seq = -(-shared // _CATALOGUE_EDGES) if tenant == PUBLIC else 2 * len(builds)
    named = np.zeros(len(world.kind), dtype=np.bool_)

    def claims() -> Iterator[log_reader.Claims]:
        for edges, events in _events(shared, builds, per_build, catalogue=tenant == PUBLIC):
            ends = np.concatenate([keys[world.source[edges]], keys[world.target[edges]]], axis=1)
            yield log_reader.Claims(events, ends, world.type[edges].astype(np.int8))

    for edges, _ in _events(shared, builds, per_build, catalogue=tenant == PUBLIC):
        named[world.source[edges]] = True
        named[world.target[edges]] = True
    some = np.flatnonzero(named)
    raw, begin, length = names
    nodes = log_reader.Nodes(
        keys[some, 0],
        keys[some, 1],
        np.ones(len(some), dtype=np.int64),
        world.kind[some],
        begin[some],
        length[some],
        raw,
    )
    moment = np.full(seq, log_reader.microseconds(_CLOCK.now()), dtype=np.int64)
    yes, forever = np.ones(seq, dtype=np.bool_), np.full(seq, log_reader.FOREVER)
    documents = log_reader.Documents(
        1, seq, yes, np.zeros(seq, dtype=np.uint16), moment, forever, moment, yes, np.ones(seq, dtype=np.int64)
    )
    none = np.empty(0, dtype=np.int64)
    closures = log_reader.Closures(none, none, none)
    sections = assemble(tenant, documents, claims(), nodes, log_reader.Descriptions.joined([]), closures)
    counts = len(sections["kind"]), len(sections["up"])
    facts = {"layout": LAYOUT, "tenant": tenant, "seq": seq, "nodes": counts[0], "edges": counts[1]}
    path, digest = write_generation(folder / tenant, facts, sections)
    built = Generation(tenant, digest, seq, f"{tenant}/{path.name}", *counts, path.stat().st_size)
    with database.begin(tenant=tenant) as connection:
        head = text("insert into provenance_heads (tenant, seq) values (:tenant, :seq) on conflict do nothing")
        connection.execute(head, {"tenant": tenant, "seq": seq})
        publish_generation(connection, built, clock=_CLOCK)
    return built


def _events(shared: int, builds: Array, per_build: int, *, catalogue: bool) -> Iterator[tuple[Array, Array]]:
    """Yield places of edges and the event that claims each, in order."""
    if catalogue:
        for begin in range(0, shared, _CATALOGUE_EDGES):
            edges = np.arange(begin, min(begin + _CATALOGUE_EDGES, shared))
            yield edges, np.full(len(edges), begin // _CATALOGUE_EDGES + 1)
        return
    receipt = per_build - _SBOM
    event = np.repeat([0, 1], [receipt, _SBOM])
    for begin in range(0, len(builds), _AT_ONCE // 10):
        block = builds[begin : begin + _AT_ONCE // 10]
        number = begin + np.arange(len(block))
        yield (
            (shared + block[:, None] * per_build + np.arange(per_build)).ravel(),
            (2 * number[:, None] + 1 + event).ravel(),
        )
