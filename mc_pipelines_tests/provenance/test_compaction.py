"""The next generation made of the one before is, byte for byte, the one that the whole log makes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.compaction import can_compact, compact
from mc_pipelines.provenance.edge_log import ingest_claims
from mc_pipelines.provenance.generation_file import write_generation
from mc_pipelines.provenance.generations import build_generation
from mc_pipelines.provenance.log_reader import Closures
from mc_pipelines_tests.conftest import TestDatabase
from mc_pipelines_tests.provenance.small_graphs import Document, partition, whole
from mc_pipelines_tests.provenance.test_edge_log import ACME, sbom
from mc_pipelines_tests.provenance.test_walk import documents


@settings(max_examples=60, deadline=None)
@given(
    documents,
    st.integers(1, 6),
    st.lists(st.integers(1, 6), max_size=5).map(sorted),
    st.sampled_from(["acme", "public"]),
)
@example([Document(((0, 1, 0),)), Document(((0, 1, 0), (12, 13, 1))), Document(((13, 1, 0),))], 1, [2], "public")
def test_merging_equals_building(own: list[Document], compacted: int, steps: Sequence[int], tenant: str) -> None:
    few = [step for step in steps if step <= len(own)]
    with TemporaryDirectory() as folder:
        made = partition(own, Path(folder), compacted=min(compacted, len(own)), steps=few, tenant=tenant)
        assert can_compact(made)
        merged = compact(made)
        built = whole(TenantId(tenant), own)
        assert list(merged) == list(built)
        for name, section in built.items():
            assert merged[name].dtype == section.dtype, name
            assert merged[name].tolist() == section.tolist(), name


def test_what_was_pruned_since_asks_for_the_whole_log() -> None:
    with TemporaryDirectory() as folder:
        own = [Document(((0, 1, 0),)), Document(((1, 2, 0),))]
        pruned = Closures(np.array([2]), np.array([1]), np.array([-1]))
        superseded = Closures(np.array([2]), np.array([1]), np.array([7]))
        assert not can_compact(partition(own, Path(folder), compacted=1, closures=pruned))
        assert can_compact(partition(own, Path(folder), compacted=1, closures=superseded))
        assert not can_compact(partition(own, Path(folder), compacted=0))


@pytest.mark.database
def test_merged_and_whole_generations_have_one_name(database: TestDatabase, clock: FrozenClock, tmp_path: Path) -> None:
    ingest_claims(database.app, ACME, sbom("a", {"app": ["libc6", "zlib1g"]}), clock=clock)
    build_generation(database.app, tmp_path, ACME, clock=clock)
    for number in range(3):
        ingest_claims(database.app, ACME, sbom(f"b{number}", {f"p{number}": ["libc6", f"q{number}"]}), clock=clock)
    merged = build_generation(database.app, tmp_path, ACME, clock=clock)
    assert build_generation(database.app, tmp_path / "again", ACME, clock=clock, whole=True) == merged


_PLAINLY = """
import sys
from pathlib import Path
from mc_pipelines.provenance.compiling import COMPILES
from mc_pipelines_tests.provenance.test_compaction import names_of_both
assert not COMPILES
print(*names_of_both(Path(sys.argv[1])))
"""
_SOME = [
    Document(((0, 1, 0), (12, 13, 1), (14, 15, 2))),
    Document(((0, 1, 0), (2, 13, 0), (15, 12, 1), (3, 3, 4)), label=2, says=((0, 4), (13, 8))),
    Document(((13, 1, 0), (6, 7, 0), (7, 6, 0)), permanent=False),
]


def names_of_both(folder: Path) -> tuple[str, str]:
    """Names of a built generation and of a merged one."""
    facts = {"layout": 0, "tenant": "acme", "seq": 3}
    built = whole(ACME, _SOME)
    merged = compact(partition(_SOME, folder, compacted=1, steps=(2,)))
    return write_generation(folder, facts, built)[1], write_generation(folder, facts, merged)[1]


def test_without_the_compiler_generations_are_the_same(tmp_path: Path) -> None:
    compiled = names_of_both(tmp_path)
    plain = subprocess.run(
        [sys.executable, "-c", _PLAINLY, str(tmp_path)],
        env={**os.environ, "MC_GRAPH_ENGINE": "numpy"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert tuple(plain.stdout.split()) == compiled
    assert compiled[0] == compiled[1]
