"""A seeded world of builds for benchmarks/provenance_graph.py: documents for the log, and plain arrays for the judges.

Each build leaves two documents: a provenance receipt (an execution uses a source manifest, a base image, recent
products and packages, and produces four things; a receipt signs two of them, another verifies the receipt) and an
SBOM (a manifest lists a bundle, the bundle uses sixteen packages). Packages and base images are drawn from power
laws, so the most used ones have hundreds of thousands of dependents at 20 M edges; products are drawn from the
recent past, so lineage is deep. The package catalogue with its own dependencies is the shared partition; one build
in twenty belongs to another tenant, whose documents name the same packages.

Node numbers here are by order of making and mean nothing to the product.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc_pipelines.foundation.canonical import sha256_digest
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.identity import NodeId
from mc_pipelines.provenance.model import PUBLIC, Claims, Edge, EdgeType, Kind, Node, Verification, VerificationStatus

Array = NDArray[Any]
TENANT, OTHER = TenantId("bench"), TenantId("other")
USES, PRODUCES, SIGNS, VERIFIES = range(4)
_TYPES = tuple(EdgeType)
_MANIFEST, _PACKAGE, _EXECUTION, _RECEIPT, _BUNDLE = range(5)
_KINDS = tuple(Kind)
_EDGES_OF_BUILD = 31
_INPUT_PACKAGES, _LISTED = 4, 16
_CHUNK = 4096
_VERIFIED = Verification(status=VerificationStatus.VERIFIED, reason="benchmark", scheme="dsse-pae")


@dataclass(frozen=True)
class World:
    """All nodes and edges, in order of making.

    Attributes:
        seed: of the generator.
        kind: per node, its kind code.
        source, target, type: per edge.
        build: per edge, its build; -1 = the catalogue.
        foreign: per build, whether it is the other tenant's.
        first_node: per build, its first own node (builds have nine).
        packages: how many nodes the catalogue has.
        bases: how many base images there are (bundles after the catalogue).
    """

    seed: int
    kind: Array
    source: Array
    target: Array
    type: Array
    build: Array
    foreign: Array
    first_node: Array
    packages: int
    bases: int

    @property
    def edges(self) -> int:
        """All edges, of all partitions."""
        return len(self.source)

    def mine(self) -> Array:
        """Per edge: may the benchmark's tenant see it?"""
        return (self.build < 0) | ~self.foreign[np.maximum(self.build, 0)]

    def id_of(self, number: int) -> NodeId:
        """Return the id of a node."""
        if number < self.packages:
            return NodeId(f"pkg:deb/debian/lib{_word(self.seed, number)}@{number % 7}.{number % 23}-{number % 5}")
        kind = self.kind[number]
        digest = hashlib.blake2b(b"%d/%d" % (self.seed, number), digest_size=32).hexdigest()
        if kind == _EXECUTION:
            return NodeId(
                f"run:https://ci.example/team{number % 37}/"
                f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-8{digest[17:20]}-{digest[20:32]}"
            )
        return NodeId(f"gitoid:blob:sha256:{digest}" if kind == _RECEIPT else f"sha256:{digest}")


def _word(seed: int, number: int) -> str:
    return hashlib.blake2b(b"%d.%d" % (seed, number), digest_size=5).hexdigest()


def make_world(edges: int, seed: int) -> World:
    """Make a world of about ``edges`` edges; the same seed makes the same world."""
    draw = np.random.default_rng(seed)
    packages = max(64, edges // 100)
    shared = _catalogue(draw, packages)
    bases = max(8, edges // 20_000)
    builds = max(16, (edges - len(shared[0])) // _EDGES_OF_BUILD)
    own = 9
    first = packages + bases + np.arange(builds, dtype=np.int64) * own
    foreign = draw.random(builds) < 0.05
    kinds = np.tile(
        np.array(
            [_EXECUTION, _BUNDLE, _MANIFEST, _PACKAGE, _PACKAGE, _RECEIPT, _RECEIPT, _MANIFEST, _MANIFEST],
            dtype=np.uint8,
        ),
        builds,
    )
    kind = np.concatenate([np.full(packages, _PACKAGE, np.uint8), np.full(bases, _BUNDLE, np.uint8), kinds])
    columns = _build_edges(draw, first, foreign, packages, bases)
    source = np.concatenate([shared[0], columns[0]])
    target = np.concatenate([shared[1], columns[1]])
    type_ = np.concatenate([np.zeros(len(shared[0]), np.int8), columns[2]])
    build = np.concatenate([np.full(len(shared[0]), -1), np.repeat(np.arange(builds), _EDGES_OF_BUILD)])
    return World(seed, kind, source, target, type_, build, foreign, first, packages, bases)


def _power(draw: np.random.Generator, size: Any, count: int, exponent: float = 3.0) -> Array:
    """Draw numbers below ``count``, small ones far more often: the k-th has a share like k^(1/exponent - 1)."""
    return np.minimum((draw.random(size) ** exponent * count).astype(np.int64), count - 1)


def _catalogue(draw: np.random.Generator, packages: int) -> tuple[Array, Array]:
    """Package uses package: 4.3 each in the mean; targets by popularity, so cycles occur as in real archives."""
    needs = draw.poisson(4.3, packages)
    source = np.repeat(np.arange(packages), needs)
    target = _power(draw, len(source), packages)
    return source[source != target], target[source != target]


def _recent(draw: np.random.Generator, builds: int, foreign: Array) -> Array:
    """Per build two earlier builds of the same tenant, recent ones more often; -1 for the first few."""
    back = 1 + draw.geometric(0.02, (builds, 2))
    earlier = np.arange(builds)[:, None] - back
    earlier[earlier < 0] = -1
    mismatch = (earlier >= 0) & (foreign[np.maximum(earlier, 0)] != foreign[:, None])
    earlier[mismatch] = -1
    return earlier


def _build_edges(
    draw: np.random.Generator, first: Array, foreign: Array, packages: int, bases: int
) -> tuple[Array, Array, Array]:
    builds = len(first)
    execution, bundle, sbom, artefact, second, receipt, verdict, source, report = (first + place for place in range(9))
    base = packages + _power(draw, builds, bases, 4.0)
    inputs = _power(draw, (builds, _INPUT_PACKAGES), packages)
    listed = _power(draw, (builds, _LISTED), packages)
    earlier = _recent(draw, builds, foreign)
    products = np.where(
        earlier >= 0, first[np.maximum(earlier, 0)] + 1 + 2 * (draw.random((builds, 2)) < 0.3), base[:, None]
    )
    rows = [
        (execution, source, USES),
        (execution, base, USES),
        *((execution, products[:, place], USES) for place in range(2)),
        *((execution, inputs[:, place], USES) for place in range(_INPUT_PACKAGES)),
        *((execution, made, PRODUCES) for made in (bundle, artefact, second, report)),
        (receipt, bundle, SIGNS),
        (verdict, receipt, VERIFIES),
        (sbom, bundle, USES),
        *((bundle, listed[:, place], USES) for place in range(_LISTED)),
    ]
    assert len(rows) == _EDGES_OF_BUILD, len(rows)
    ends = np.stack([np.stack([row[0] for row in rows], 1), np.stack([row[1] for row in rows], 1)])
    codes = np.tile(np.array([row[2] for row in rows], dtype=np.int8), builds)
    return ends[0].reshape(-1), ends[1].reshape(-1), codes


def documents(world: World, tenant: TenantId) -> Iterator[list[Claims]]:
    """Yield a tenant's documents in batches, in order of making."""
    if tenant == PUBLIC:
        yield from _catalogue_documents(world)
        return
    shared = int(np.searchsorted(world.build, 0))
    chosen = np.flatnonzero(world.foreign == (tenant == OTHER))
    for start in range(0, len(chosen), _CHUNK):
        batch = chosen[start : start + _CHUNK]
        made: list[Claims] = []
        for build in batch.tolist():
            begin = shared + build * _EDGES_OF_BUILD
            until = begin + _EDGES_OF_BUILD
            sources, targets = world.source[begin:until].tolist(), world.target[begin:until].tolist()
            types = world.type[begin:until].tolist()
            made += _documents_of_build(world, build, sources, targets, types)
        yield made


_PROVENANCE = _EDGES_OF_BUILD - _LISTED - 1


def _documents_of_build(
    world: World, build: int, sources: list[int], targets: list[int], types: list[int]
) -> list[Claims]:
    names = {number: world.id_of(number) for number in {*sources, *targets}}
    own = range(int(world.first_node[build]), int(world.first_node[build]) + 9)
    made = []
    for name, part in (("receipt", slice(0, _PROVENANCE)), ("sbom", slice(_PROVENANCE, None))):
        triples = list(zip(sources[part], targets[part], types[part], strict=True))
        ends = dict.fromkeys(end for source, target, _ in triples for end in (source, target))
        edges = [(Edge(names[source], names[target], _TYPES[code]), code) for source, target, code in triples]
        made.append(
            Claims(
                document=sha256_digest(b"%d/%s/%d" % (world.seed, name.encode(), build)),
                name=name,
                format="benchmark",
                nodes=tuple(Node(names[end], _KINDS[world.kind[end]], None, end not in own) for end in ends),
                edges=tuple(edge for edge, code in edges if code != VERIFIES),
                earned=tuple(edge for edge, code in edges if code == VERIFIES),
                verification=_VERIFIED if name == "receipt" else Verification(),
            )
        )
    return made


def _catalogue_documents(world: World) -> Iterator[list[Claims]]:
    shared = int(np.searchsorted(world.build, 0))
    step = 50_000
    for number, begin in enumerate(range(0, shared, step)):
        part = slice(begin, min(shared, begin + step))
        pairs = list(zip(world.source[part].tolist(), world.target[part].tolist(), strict=True))
        names = {end: world.id_of(end) for end in dict.fromkeys(end for pair in pairs for end in pair)}
        yield [
            Claims(
                document=sha256_digest(b"%d/catalogue/%d" % (world.seed, number)),
                name="catalogue",
                format="benchmark",
                nodes=tuple(Node(each, Kind.PACKAGE) for each in names.values()),
                edges=tuple(Edge(names[source], names[target], EdgeType.USES) for source, target in pairs),
            )
        ]
