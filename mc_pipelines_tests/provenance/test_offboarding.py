"""A deletion killed before any of its steps: all of the graph is there or all rows are gone; again ends it."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.errors import NotFoundError
from mc_pipelines.foundation.object_store import open_object_store
from mc_pipelines.provenance.cold import Archive
from mc_pipelines.provenance.edge_log import ingest_claims, ingest_many
from mc_pipelines.provenance.generations import build_generation
from mc_pipelines.provenance.pruning import prune
from mc_pipelines.provenance.records import SECURED
from mc_pipelines.provenance.request import GraphQuery
from mc_pipelines.provenance.roots import Reason, keep_root
from mc_pipelines.provenance.store import GraphStore
from mc_pipelines_tests.conftest import TestDatabase
from mc_pipelines_tests.provenance.dying import killed_steps
from mc_pipelines_tests.provenance.test_edge_log import ACME, BOLT, sbom
from mc_pipelines_tests.provenance.test_query import ask, purl
from mc_pipelines_tests.provenance.test_retention import RULES, archive, low_value

__all__ = ["archive"]
pytestmark = pytest.mark.database
_DELETER = '''
"""For each step of deleting a tenant, fork a process that is killed before that step, until one lives."""
import json, os, signal, sys
from pathlib import Path
from sqlalchemy import event
from mc_pipelines.foundation.clock import SystemClock
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.object_store import open_object_store
from mc_pipelines.provenance.offboarding import delete_tenant

url, folder, objects = sys.argv[1:]


def delete(last):
    taken = []

    def step(name):
        taken.append(name)
        if len(taken) == last:
            os.write(1, (json.dumps(name) + chr(10)).encode())
            os.kill(os.getpid(), signal.SIGKILL)

    class Counted:
        def __init__(self, store):
            self.store = store

        def list(self, *given):
            return self.store.list(*given)

        def delete(self, path):
            step("object")
            self.store.delete(path)

    database = Database(url)
    event.listen(database.engine, "before_cursor_execute", lambda *_: step("statement"))
    event.listen(database.engine, "commit", lambda *_: step("commit"))
    sys.addaudithook(lambda name, _: step(name) if name in {"os.remove", "os.rmdir"} else None)
    store = Counted(open_object_store(objects))
    delete_tenant(database, "acme", folder=Path(folder), objects=store, clock=SystemClock(), by="test", keys=True)


for last in range(1, 200):
    sys.stdin.readline()
    child = os.fork()
    if not child:
        delete(last)
        os.write(1, b'"deleted"\\n')
        os._exit(0)
    os.waitpid(child, 0)
'''


def rows(database: TestDatabase) -> dict[str, int]:
    with database.app.begin(tenant=ACME) as connection:
        found = {
            table.name: int(
                connection.execute(
                    text(f"select count(*) from {table.name} where tenant = :tenant"), {"tenant": ACME}
                ).scalar_one()
            )
            for table in SECURED
        }
        found["slots"] = int(
            connection.execute(
                text(
                    "select count(*) from data_encryption_key_slot s join data_encryption_key k using (dek_id)"
                    " where k.tenant = :tenant"
                ),
                {"tenant": ACME},
            ).scalar_one()
        )
        return found


def test_killed_at_every_step(database: TestDatabase, clock: FrozenClock, tmp_path: Path, archive: Archive) -> None:
    folder, plain = tmp_path / "generations", open_object_store((tmp_path / "objects").as_uri())
    store = GraphStore(database.app, folder, clock, refresh_seconds=0)
    for tenant in (ACME, BOLT):
        ingest_many(database.app, tenant, [sbom("a", {"app": ["base"]}), low_value("b", {"x": ["y"]})], clock=clock)
    ingest_claims(database.app, ACME, low_value("c", {"z": ["y"]}), clock=clock)
    with database.app.begin(tenant=ACME) as connection:
        keep_root(connection, ACME, purl("app"), Reason.LIVE, by="test", now=clock.now())
    clock.advance(timedelta(days=40))
    assert prune(database.app, ACME, archive=archive, clock=clock, rules=RULES).files
    for number in range(2):  # two generation files, and two cold ones
        ingest_claims(database.app, ACME, low_value(f"n{number}", {f"n{number}": ["y"]}), clock=clock)
        for tenant in (ACME, BOLT):
            build_generation(database.app, folder, tenant, clock=clock)
    clock.advance(timedelta(days=40))
    assert prune(database.app, ACME, archive=archive, clock=clock, rules=RULES).files
    before, other = rows(database), ask(store, GraphQuery(purl("app")), tenant=BOLT)
    cold = [each.path for each in plain.list(f"logs/{ACME}/provenance")]
    assert len(cold) == 2
    assert before["slots"]
    steps, seen = [], []
    objects = (tmp_path / "objects").as_uri()
    with closing(killed_steps(_DELETER, database.app.url, str(folder), objects, done="deleted")) as dying:
        for step in dying:
            steps.append(step)
            now = rows(database)
            assert now == before or set(now.values()) == {0}, (steps, now)
            seen.append(sum(now.values()))
            if seen[-1]:  # nothing of it was touched: it answers as ever, and its cold files open
                assert ask(store, GraphQuery(purl("app")))["complete"]
                assert [each.path for each in plain.list(f"logs/{ACME}/provenance")] == cold
            else:
                with pytest.raises(NotFoundError):
                    ask(store, GraphQuery(purl("app")))
    assert seen == sorted(seen, reverse=True)
    assert {"statement", "commit", "object", "os.remove"} <= set(steps)
    assert not list(plain.list(f"logs/{ACME}/provenance"))
    assert not (folder / ACME).exists()
    assert set(rows(database).values()) == {0}
    assert ask(store, GraphQuery(purl("app")), tenant=BOLT) == other
