"""After the warm-up nothing is compiled any more: a real log, deltas, a merge and every direction use what it made."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import pytest

from mc_pipelines import provenance
from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.access import EVERYTHING
from mc_pipelines.provenance.committing import commit_current
from mc_pipelines.provenance.compiling import COMPILES
from mc_pipelines.provenance.cursor import CursorKey
from mc_pipelines.provenance.edge_log import ingest_claims
from mc_pipelines.provenance.gaps import gaps_answer
from mc_pipelines.provenance.generations import build_generation
from mc_pipelines.provenance.identity import NodeId
from mc_pipelines.provenance.impact import impact_answer
from mc_pipelines.provenance.model import PUBLIC
from mc_pipelines.provenance.paths import paths_answer
from mc_pipelines.provenance.proving import proven_answer
from mc_pipelines.provenance.query import graph_answer
from mc_pipelines.provenance.request import DIRECTIONS, GapQuery, GraphQuery, ImpactQuery, PathQuery, ProofQuery
from mc_pipelines.provenance.store import GraphStore
from mc_pipelines.provenance.warm_up import warm_up
from mc_pipelines_tests.conftest import TestDatabase
from mc_pipelines_tests.provenance.test_edge_log import ACME, sbom
from mc_pipelines_tests.provenance.test_query import purl


def compiled_kinds() -> dict[str, int]:
    """How many signatures each compiled function of the package has."""
    found = {}
    for module in pkgutil.iter_modules(provenance.__path__, provenance.__name__ + "."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if hasattr(value, "nopython_signatures"):
                found[f"{module.name}.{name}"] = len(value.signatures)
    return found


@pytest.mark.database
@pytest.mark.skipif(not COMPILES, reason="MC_GRAPH_ENGINE=numpy, or numba is not installed")
def test_nothing_compiles_after_it(database: TestDatabase, clock: FrozenClock, tmp_path: Path) -> None:
    warm_up()
    before = compiled_kinds()
    assert before
    store = GraphStore(database.app, tmp_path, clock, refresh_seconds=0)

    def send(name: str, tenant: TenantId = ACME) -> None:
        document = sbom(f"{name}{tenant}", {name: ["libc6", f"{name}-data"]})
        ingest_claims(database.app, tenant, document, clock=clock, operator=tenant == PUBLIC)

    def ask() -> None:
        for direction in DIRECTIONS:
            graph_answer(store, ACME, GraphQuery(purl("libc6"), 3, direction), EVERYTHING, CursorKey(b"key"))
            paths_answer(store, ACME, PathQuery(purl("a"), purl("libc6"), direction), EVERYTHING)
        gaps_answer(store, ACME, GapQuery(node=purl("libc6")), EVERYTHING)
        cursor: str | None = ""
        while cursor is not None:
            query = ImpactQuery(purl("libc6"), limit=1, plan=True, cursor=cursor or None)
            cursor = impact_answer(store, ACME, query, EVERYTHING, CursorKey(b"key")).cursor

    for name in ("a", "b", "c"):
        send(name)
        send(name, PUBLIC)
        ask()
        for tenant in (ACME, PUBLIC):
            build_generation(database.app, tmp_path, tenant, clock=clock)
            commit_current(database.app, tmp_path, tenant, clock=clock)
        proven_answer(store, ACME, ProofQuery(node=NodeId(purl("libc6"))), EVERYTHING, CursorKey(b"key"))
        ask()
    assert compiled_kinds() == before
