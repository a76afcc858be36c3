"""A builder killed before any of its steps leaves one truth: a whole generation, the old one or the new one."""

from __future__ import annotations

import os
import time
from contextlib import closing
from pathlib import Path

import pytest

from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.provenance.edge_log import ingest_claims
from mc_pipelines.provenance.generation_file import check_generation
from mc_pipelines.provenance.generations import KEPT, build_generation, check_structure
from mc_pipelines.provenance.partition import open_partition
from mc_pipelines.provenance.pointer import current_generation
from mc_pipelines_tests.conftest import TestDatabase
from mc_pipelines_tests.provenance.dying import killed_steps
from mc_pipelines_tests.provenance.test_edge_log import ACME, sbom
from mc_pipelines_tests.provenance.test_query import purl

pytestmark = pytest.mark.database
_BUILDER = '''
"""For each step of building a generation, fork a builder that is killed before that step, until one lives."""
import json, os, signal, sys
from pathlib import Path
from sqlalchemy import event
from mc_pipelines.foundation.clock import SystemClock
from mc_pipelines.foundation.database import Database
from mc_pipelines.provenance import generations

url, folder = sys.argv[1:]


def build(last):
    taken = []

    def step(name):
        taken.append(name)
        if len(taken) == last:
            os.write(1, (json.dumps(name) + chr(10)).encode())
            os.kill(os.getpid(), signal.SIGKILL)

    def audited(name, arguments):
        if name in {"os.rename", "os.remove"} or (name == "open" and str(arguments[0]).endswith(".tmp")):
            step(name)

    flush = os.fsync

    def fsync(file):
        step("fsync")
        flush(file)

    os.fsync = fsync
    database = Database(url)
    event.listen(database.engine, "before_cursor_execute", lambda *_: step("statement"))
    event.listen(database.engine, "commit", lambda *_: step("commit"))
    sys.addaudithook(audited)
    generations.build_generation(database, Path(folder), "acme", clock=SystemClock())


for last in range(1, 100):
    sys.stdin.readline()
    child = os.fork()
    if not child:
        build(last)
        os.write(1, b'"built"\\n')
        os._exit(0)
    os.waitpid(child, 0)
'''


def test_killed_at_every_step(database: TestDatabase, clock: FrozenClock, tmp_path: Path) -> None:
    for number in range(KEPT + 1):  # the builder has an old file to forget, too
        ingest_claims(database.app, ACME, sbom(f"d{number}", {"app": [f"lib{number}"]}), clock=clock)
        old = build_generation(database.app, tmp_path, ACME, clock=clock)
    ingest_claims(database.app, ACME, sbom("news", {"app": ["news"]}), clock=clock)
    steps, seen = [], []
    with closing(killed_steps(_BUILDER, database.app.url, str(tmp_path), done="built")) as dying:
        for step in dying:
            steps.append(step)
            with database.app.begin(tenant=ACME) as connection:
                current = current_generation(connection, ACME)
                partition = open_partition(connection, tmp_path, ACME)
            assert current is not None
            assert current.seq in {old.seq, old.seq + 1}
            seen.append(current.seq)
            check_generation(tmp_path / current.path)
            check_structure(tmp_path / current.path)
            assert partition.seq == old.seq + 1
            assert partition.find(purl("news")) == KEPT + 2  # after the app and its libraries, whoever holds it
    assert seen == sorted(seen)
    assert {"statement", "commit", "open", "fsync", "os.rename"} <= set(steps)
    assert current.generation == build_generation(database.app, tmp_path, ACME, clock=clock, whole=True).generation


def test_what_the_killed_left_goes_once_nobody_can_be_writing_it(
    database: TestDatabase, clock: FrozenClock, tmp_path: Path
) -> None:
    ingest_claims(database.app, ACME, sbom("a", {"app": ["libc6"]}), clock=clock)
    (tmp_path / ACME).mkdir()
    names = ["young.tmp", "old.tmp", "young.mcgraph", "old.mcgraph"]
    for name in names:
        (tmp_path / ACME / name).write_bytes(b"half of it")
        if name.startswith("old"):
            os.utime(tmp_path / ACME / name, (time.time() - 100_000,) * 2)
    built = build_generation(database.app, tmp_path, ACME, clock=clock)
    left = {each.name for each in (tmp_path / ACME).iterdir()}
    assert left == {"young.tmp", "young.mcgraph", Path(built.path).name}
