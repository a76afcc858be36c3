"""What leaves the hot tier, what never does, how answers tell of it, and how it comes back."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.errors import ConflictError, NotFoundError
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.foundation.object_store import open_object_store
from mc_pipelines.keys.providers.local import LocalKeyring
from mc_pipelines.keys.store import EncryptedObjectStore
from mc_pipelines.provenance import pruning
from mc_pipelines.provenance.access import EVERYTHING
from mc_pipelines.provenance.cold import Archive
from mc_pipelines.provenance.edge_log import ingest_claims, ingest_many, known_tenants
from mc_pipelines.provenance.gaps import gaps_answer
from mc_pipelines.provenance.generations import build_generation
from mc_pipelines.provenance.kept import pruned_below_roots
from mc_pipelines.provenance.location import PrunedError
from mc_pipelines.provenance.model import PUBLIC, Claims
from mc_pipelines.provenance.offboarding import delete_tenant
from mc_pipelines.provenance.pruning import prune
from mc_pipelines.provenance.query import graph_answer
from mc_pipelines.provenance.records import SECURED
from mc_pipelines.provenance.request import GapQuery, GraphQuery, QueryError
from mc_pipelines.provenance.restoring import restore
from mc_pipelines.provenance.retention import Edges, Rule, Selects, ancestors_of, may_go
from mc_pipelines.provenance.root_hash import root_hash
from mc_pipelines.provenance.roots import Reason, keep_root, live_nodes, release_root
from mc_pipelines.provenance.store import GraphStore
from mc_pipelines_tests.conftest import TestDatabase
from mc_pipelines_tests.provenance.test_edge_log import ACME, BOLT, sbom
from mc_pipelines_tests.provenance.test_query import KEY, ask, names, purl, store_of

RULES = (Rule(Selects.LOW_VALUE, 30), Rule(Selects.SUPERSEDED, 90))
ENDS = st.integers(0, 7)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(ENDS, ENDS, st.integers(0, 4), st.integers(0, 5)), max_size=25), st.lists(ENDS, max_size=3))
def test_nothing_below_a_root_may_go(claims: list[tuple[int, int, int, int]], roots: list[int]) -> None:
    rows = np.array(claims, dtype=np.int64).reshape(-1, 4)
    marked = ancestors_of(Edges(rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3], 8), roots)
    below = set(roots)
    while True:
        more = {upper for lower, upper, _, _ in claims if lower in below} - below
        if not more:
            break
        below |= more
    assert {place for place in range(8) if marked[place]} == below
    flags = may_go(Edges(rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3], 8), marked, 5)
    for event in range(1, 6):
        mine = [claim for claim in claims if claim[3] == event]
        assert flags[event] == all(code in {0, 4} and lower not in below for lower, _, code, _ in mine)


@pytest.fixture
def archive(database: TestDatabase, clock: FrozenClock, tmp_path: Path) -> Archive:
    plain = open_object_store((tmp_path / "objects").as_uri())
    keyring = LocalKeyring(tmp_path / "keyring", passphrase=b"test", clock=clock)
    return Archive(EncryptedObjectStore(plain, keyring, database.app, clock=clock), ACME)


def low_value(name: str, needs: dict[str, list[str]], **more: Any) -> Claims:
    return replace_claims(sbom(name, needs, **more), low_value=True)


def replace_claims(claims: Claims, **changes: Any) -> Claims:
    import msgspec

    return msgspec.structs.replace(claims, **changes)


def live(database: TestDatabase, node: str, clock: FrozenClock, reason: Reason = Reason.LIVE) -> bool:
    with database.app.begin(tenant=ACME) as connection:
        return keep_root(connection, ACME, node, reason, by="test", now=clock.now())


def root_of(database: TestDatabase) -> str:
    with database.app.begin(tenant=ACME) as connection:
        return root_hash(connection, ACME)


@pytest.mark.database
def test_what_was_pruned_is_told_and_comes_back(
    database: TestDatabase, clock: FrozenClock, tmp_path: Path, archive: Archive
) -> None:
    store = store_of(database, tmp_path, clock)
    documents = [
        low_value("old", {"tool": ["helper"], "helper": ["deep"]}),
        low_value("base", {"base": ["libc6"]}),
        sbom("app", {"app": ["base"]}),
    ]
    ingest_many(database.app, ACME, documents, clock=clock)
    assert live(database, purl("app"), clock)
    assert not live(database, purl("app"), clock), "twice is once"
    before = {name: ask(store, GraphQuery(purl(name), 5)) for name in ("tool", "app")}
    page = graph_answer(store, ACME, GraphQuery(purl("tool"), 5, limit=1), EVERYTHING, KEY)
    assert prune(database.app, ACME, archive=archive, clock=clock, rules=RULES).pruned == ()
    learnt, said = clock.now(), root_of(database)
    clock.advance(timedelta(days=31))
    planned = prune(database.app, ACME, archive=archive, clock=clock, rules=RULES, dry_run=True)
    assert ask(store, GraphQuery(purl("tool"), 5))["nodes"] == before["tool"]["nodes"], "a dry run changes nothing"
    done = prune(database.app, ACME, archive=archive, clock=clock, rules=RULES)
    assert replace(done, dry_run=True, files=()) == planned
    assert [each.digest for each in done.pruned] == [documents[0].document]
    assert done.protected == {"low-value-30d": 1}
    assert prune(database.app, ACME, archive=archive, clock=clock, rules=RULES).pruned == ()
    for built in (False, True):
        if built:
            build_generation(database.app, tmp_path, ACME, clock=clock)
        assert ask(store, GraphQuery(purl("app"), 5))["nodes"] == before["app"]["nodes"]
        for query in (GraphQuery(purl("helper")), GraphQuery(purl("helper"), known_at=learnt)):
            with pytest.raises(PrunedError) as gone:
                ask(store, query)
            assert gone.value.status == 410
            stones = gone.value.problem()["tombstones"]
            assert [(each["direction"], each["edges"], each["rule"]) for each in stones] == [
                ("ancestors", 1, "low-value-30d"),
                ("descendants", 1, "low-value-30d"),
            ]
            assert all(each["restorable"] for each in stones)
        with pytest.raises(QueryError):
            graph_answer(store, ACME, GraphQuery(purl("tool"), 5, limit=1, cursor=page.cursor), EVERYTHING, KEY)
    assert root_of(database) != said
    restore(database.app, ACME, documents[0].document, archive=archive, clock=clock)
    assert root_of(database) == said, "on whichever day it comes back"
    for built in (False, True):
        if built:
            build_generation(database.app, tmp_path, ACME, clock=clock)
        after = ask(store, GraphQuery(purl("tool"), 5))
        assert set(names(after)) == set(names(before["tool"]))
        assert after["complete"]
    with pytest.raises(NotFoundError):
        restore(database.app, ACME, documents[0].document, archive=archive, clock=clock)
    again = ingest_claims(database.app, ACME, documents[0], clock=clock)
    assert again.status == "known"


@pytest.mark.database
def test_what_came_back_is_ended_like_any_other(
    database: TestDatabase, clock: FrozenClock, tmp_path: Path, archive: Archive
) -> None:
    """A generation that holds the document as it was before it was pruned shows it no longer, whatever comes."""
    store = store_of(database, tmp_path, clock)
    detail = low_value("v1", {"app": ["lib"]}, series="s", version=1)
    ingest_many(database.app, ACME, [detail, sbom("other", {"app": ["base"]})], clock=clock)
    build_generation(database.app, tmp_path, ACME, clock=clock)
    clock.advance(timedelta(days=31))
    assert len(prune(database.app, ACME, archive=archive, clock=clock, rules=RULES).pruned) == 1
    restore(database.app, ACME, detail.document, archive=archive, clock=clock)
    assert set(names(ask(store, GraphQuery(purl("app"))))) == {"app", "lib", "base"}
    merged = build_generation(database.app, tmp_path, ACME, clock=clock)
    assert build_generation(database.app, tmp_path / "again", ACME, clock=clock, whole=True) == merged
    assert len(prune(database.app, ACME, archive=archive, clock=clock, rules=RULES).pruned) == 1
    build_generation(database.app, tmp_path, ACME, clock=clock)
    restore(database.app, ACME, detail.document, archive=archive, clock=clock)
    merged = build_generation(database.app, tmp_path, ACME, clock=clock)
    assert build_generation(database.app, tmp_path / "again", ACME, clock=clock, whole=True) == merged
    ingest_claims(database.app, ACME, sbom("v2", {"app": ["new"]}, series="s", version=2), clock=clock)
    for _ in range(2):
        assert set(names(ask(store, GraphQuery(purl("app"))))) == {"app", "base", "new"}
        build_generation(database.app, tmp_path, ACME, clock=clock)


@pytest.mark.database
def test_an_answer_that_crosses_a_tombstone_says_so(database: TestDatabase, clock: FrozenClock, tmp_path: Path) -> None:
    store = store_of(database, tmp_path, clock)
    ingest_claims(database.app, ACME, sbom("v1", {"app": ["lib"], "lib": ["old"]}, series="s", version=1), clock=clock)
    clock.advance(timedelta(days=1))
    ingest_claims(database.app, ACME, sbom("v2", {"app": ["lib"], "lib": ["new"]}, series="s", version=2), clock=clock)
    clock.advance(timedelta(days=91))
    held = live(database, purl("lib"), clock, Reason.HOLD)
    assert held
    kept = prune(database.app, ACME, archive=None, clock=clock, rules=RULES)
    assert (kept.pruned, kept.protected, kept.roots) == ((), {"superseded-90d": 1}, 1)
    with database.app.begin(tenant=ACME) as connection:
        assert release_root(connection, ACME, purl("lib"), Reason.HOLD, by="test", now=clock.now())
    gone = prune(database.app, ACME, archive=None, clock=clock, rules=RULES)
    assert [each.rule for each in gone.pruned] == ["superseded-90d"]
    body = ask(store, GraphQuery(purl("app")))
    assert names(body) == ["app", "lib", "new"]
    assert not body["complete"]
    assert {(each["node"], each["direction"]) for each in body["pruned"]} == {
        (purl("app"), "ancestors"),
        (purl("lib"), "ancestors"),
        (purl("lib"), "descendants"),
    }
    assert not any(each["restorable"] for each in body["pruned"])
    gaps = json.loads(gaps_answer(store, ACME, GapQuery(node=purl("app")), EVERYTHING).body)
    assert {gap["node"] for gap in gaps["gaps"] if gap["gap"] == "pruned"} == {purl("app"), purl("lib")}
    clock.advance(timedelta(hours=2))
    ingest_claims(database.app, ACME, sbom("v3", {"x": ["y"]}, series="t", version=1), clock=clock)
    ingest_claims(database.app, ACME, sbom("v4", {"x": ["z"]}, series="t", version=2), clock=clock)
    clock.advance(timedelta(days=91))
    assert len(prune(database.app, ACME, archive=None, clock=clock, rules=RULES).pruned) == 1
    with database.app.begin(tenant=ACME) as connection:
        kept_names = connection.execute(text("select id from provenance_nodes where tenant = 'acme'")).scalars().all()
    assert purl("old") not in kept_names, "a tombstone keeps no name"
    assert purl("lib") in kept_names


def stones(database: TestDatabase, tenant: TenantId) -> list[Any]:
    with database.app.begin(tenant=tenant) as connection:
        return list(
            connection.execute(
                text(
                    "select node, type, direction, edges, rule, root from provenance_tombstones"
                    " where tenant = :tenant order by node, type, direction, root"
                ),
                {"tenant": tenant},
            ).all()
        )


@pytest.mark.database
def test_what_comes_between_two_slices_is_looked_at(
    database: TestDatabase, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ingest and holds go on while retention runs, and what they need stays, though it was about to go."""
    detail = [low_value(f"d{number}", {f"p{number}": [f"q{number}"]}) for number in range(5)]
    ingest_many(database.app, ACME, [*detail, sbom("app", {"app": ["base"]})], clock=clock)
    assert live(database, purl("app"), clock)
    clock.advance(timedelta(days=31))
    removal, slices = pruning._remove_all, []

    def meanwhile(connection: Any, tenant: TenantId, marks: Any, part: Any, *rest: Any) -> Any:
        slices.append([each.digest for each in part])
        if len(slices) == 2:  # after the marks were brought up to date, before the lock is taken
            ingest_claims(database.app, ACME, sbom("now", {"base": ["x"], "x": ["p2"]}), clock=clock)
            assert live(database, purl("p3"), clock, Reason.HOLD)
        return removal(connection, tenant, marks, part, *rest)

    monkeypatch.setattr(pruning, "CLAIMS_AT_ONCE", 1)
    monkeypatch.setattr(pruning, "_remove_all", meanwhile)
    done = prune(database.app, ACME, archive=None, clock=clock, rules=RULES)
    assert slices == [[each.document] for each in detail]
    assert [each.digest for each in done.pruned] == [detail[0].document, detail[1].document, detail[4].document]
    assert done.protected == {"low-value-30d": 2}
    assert pruned_below_roots(database.app, ACME, now=clock.now()) == 0
    assert prune(database.app, ACME, archive=None, clock=clock, rules=RULES).pruned == ()


@pytest.mark.database
def test_killed_between_slices_and_done_again_is_done_at_once(
    database: TestDatabase, clock: FrozenClock, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = [low_value(f"d{number}", {f"p{number}": ["q", f"q{number}"]}) for number in range(4)]
    documents.append(sbom("app", {"app": ["q"]}))
    for tenant in (ACME, BOLT):
        ingest_many(database.app, tenant, documents, clock=clock)
    clock.advance(timedelta(days=31))
    at_once = prune(database.app, BOLT, archive=None, clock=clock, rules=RULES)
    monkeypatch.setattr(pruning, "CLAIMS_AT_ONCE", 1)
    removal = pruning._remove_all
    gone: list[str] = []
    for killed_in in (1, 2):

        def killed(*given: Any, left: list[int] = [killed_in]) -> Any:  # noqa: B006 - counts the calls of one run
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return removal(*given)

        monkeypatch.setattr(pruning, "_remove_all", killed)
        with pytest.raises(KeyboardInterrupt):
            prune(database.app, ACME, archive=archive, clock=clock, rules=RULES)
        gone.append(str(len({each.root for each in stones(database, ACME)})))
    assert gone == sorted(gone)
    monkeypatch.setattr(pruning, "_remove_all", removal)
    last = prune(database.app, ACME, archive=archive, clock=clock, rules=RULES)
    assert [each.digest for each in last.pruned] == [at_once.pruned[-1].digest]
    assert stones(database, ACME) == stones(database, BOLT)
    for document in documents[:4]:
        restore(database.app, ACME, document.document, archive=archive, clock=clock)
    assert stones(database, ACME) == []


@pytest.mark.database
def test_the_marks_go_through_the_shared_partition(database: TestDatabase, clock: FrozenClock, tmp_path: Path) -> None:
    """live app -> (own) base -> (shared) libc6 -> (own, low value) headers: none of it may go."""
    ingest_claims(database.app, PUBLIC, sbom("pub", {"base": ["libc6"]}), clock=clock, operator=True)
    ingest_many(database.app, ACME, [sbom("a", {"app": ["base"]}), low_value("b", {"libc6": ["headers"]})], clock=clock)
    assert live(database, purl("app"), clock)
    clock.advance(timedelta(days=400))
    report = prune(database.app, ACME, archive=None, clock=clock, rules=RULES)
    assert (report.pruned, report.protected) == ((), {"low-value-30d": 1})
    assert pruned_below_roots(database.app, ACME, now=clock.now()) == 0
    with database.app.begin(tenant=ACME) as connection:  # what a broken sweep would leave
        connection.execute(
            text(
                "insert into provenance_tombstones (tenant, seq, node, type, direction, edges, rule, pruned_at, root)"
                " select tenant, 99, node, 0, 0, 1, 'broken', :now, '' from provenance_nodes where id = :id"
                " and tenant = 'acme'"
            ),
            {"now": clock.now(), "id": purl("base")},
        )
    assert pruned_below_roots(database.app, ACME, now=clock.now()) == 1
    assert live_nodes(database.app, ACME, now=clock.now()) == [purl("app")]
    assert tmp_path.exists()


@pytest.mark.database
def test_deleting_a_tenant_leaves_nothing_and_touches_nobody_else(
    database: TestDatabase, clock: FrozenClock, tmp_path: Path, archive: Archive
) -> None:
    store = GraphStore(database.app, tmp_path / "generations", clock, refresh_seconds=0)
    for tenant in (ACME, BOLT):
        ingest_many(database.app, tenant, [sbom("a", {"app": ["base"]}), low_value("b", {"x": ["y"]})], clock=clock)
    clock.advance(timedelta(days=40))
    (cold,) = prune(database.app, ACME, archive=archive, clock=clock, rules=RULES).files
    for tenant in (ACME, BOLT):
        build_generation(database.app, tmp_path / "generations", tenant, clock=clock)
    other = ask(store, GraphQuery(purl("app")), tenant=BOLT)
    plain = open_object_store((tmp_path / "objects").as_uri())
    sealed = plain.get(cold)
    assert b"PAR1" not in sealed
    assert live(database, purl("app"), clock, Reason.HOLD)

    def delete(**more: Any) -> Any:
        return delete_tenant(
            database.app, ACME, folder=tmp_path / "generations", objects=plain, clock=clock, by="test", **more
        )

    with pytest.raises(ConflictError):
        delete()
    with database.app.begin(tenant=ACME) as connection:
        release_root(connection, ACME, purl("app"), Reason.HOLD, by="test", now=clock.now())
    planned = delete(dry_run=True)
    assert ask(store, GraphQuery(purl("app")))["complete"]
    done = delete(keys=True)
    assert (done.rows, done.files, done.keys) == (planned.rows, planned.files, 1)
    assert done.rows["provenance_documents"] == 2
    assert not (tmp_path / "generations" / "acme").exists()
    assert not plain.exists(cold)
    plain.put(cold, sealed)
    archive.store.data_keys.drop()
    with pytest.raises(NotFoundError):
        archive.store.get(cold, tenant=ACME)
    with pytest.raises(NotFoundError):
        ask(store, GraphQuery(purl("app")))
    with database.app.begin() as connection:
        assert known_tenants(connection) == [BOLT]
    assert sum(delete().rows.values()) == 0
    assert ask(store, GraphQuery(purl("app")), tenant=BOLT) == other
    ingest_claims(database.app, ACME, sbom("new", {"app": ["fresh"]}), clock=clock)
    assert names(ask(store, GraphQuery(purl("app")))) == ["app", "fresh"]
    with pytest.raises(ConflictError):
        delete_tenant(database.app, PUBLIC, folder=tmp_path, objects=plain, clock=clock, by="test")


@pytest.mark.database
def test_a_service_takes_nothing_over_from_a_graph_that_was_deleted(
    database: TestDatabase, clock: FrozenClock, tmp_path: Path
) -> None:
    """Neither of the two graphs had a generation, so that their numbers begin anew without one that says so."""
    store = store_of(database, tmp_path, clock)
    ingest_claims(database.app, PUBLIC, sbom("pub", {"base": ["libc6"]}), clock=clock, operator=True)
    ingest_claims(database.app, ACME, sbom("a", {"base": ["x"]}), clock=clock)
    assert set(names(ask(store, GraphQuery(purl("base"))))) == {"base", "x", "libc6"}
    plain = open_object_store((tmp_path / "objects").as_uri())
    delete_tenant(database.app, ACME, folder=tmp_path / "generations", objects=plain, clock=clock, by="test")
    ingest_claims(database.app, ACME, sbom("b", {"fresh": ["y"]}), clock=clock)
    assert set(names(ask(store, GraphQuery(purl("fresh"))))) == {"fresh", "y"}
    held = store.snapshot(ACME)
    assert store.snapshot(ACME) is held, "without news nothing is read anew"


@pytest.mark.database
def test_row_level_security_is_a_second_lock(database: TestDatabase, clock: FrozenClock) -> None:
    """As mc_app, without the tenant conditions of our queries: the server itself gives a tenant its own rows only."""
    ingest_claims(database.app, PUBLIC, sbom("pub", {"libc6": ["gcc"]}), clock=clock, operator=True)
    for tenant in (ACME, BOLT):
        ingest_claims(database.app, tenant, low_value("a", {"app": ["base"]}, series="s", version=1), clock=clock)
        ingest_claims(database.app, tenant, sbom("b", {"app": ["next"]}, series="s", version=2), clock=clock)
        with database.app.begin(tenant=tenant) as connection:
            keep_root(connection, tenant, purl("x"), Reason.LIVE, by="test", now=clock.now())
    clock.advance(timedelta(days=400))
    for tenant in (ACME, BOLT):
        assert prune(database.app, tenant, archive=None, clock=clock, rules=RULES).pruned
    tables = ("documents", "claims", "nodes", "descriptions", "closures", "tombstones", "roots")
    for tenant, seen in ((ACME, {"acme", "public"}), (None, {"public"}), (TenantId("none"), {"public"})):
        with database.app.begin(tenant=tenant) as connection:
            for table in tables:
                rows = connection.execute(text(f"select distinct tenant from provenance_{table}"))
                assert {row.tenant for row in rows} <= seen, table
                assert connection.execute(text("select current_user")).scalar_one() == "mc_app"
    with database.app.begin(tenant=ACME) as connection:
        assert connection.execute(text("delete from provenance_claims where tenant = 'bolt'")).rowcount == 0
        assert connection.execute(text("delete from provenance_nodes where tenant = 'public'")).rowcount == 0
    for tenant in (BOLT, PUBLIC):
        with pytest.raises(DBAPIError, match="row-level security"), database.app.begin(tenant=ACME) as connection:
            connection.execute(
                text(
                    "insert into provenance_nodes (tenant, node, id, seq, rank, mark, kind, stub)"
                    " values (:tenant, gen_random_uuid(), 'x', 1, 0, 0, 0, false)"
                ),
                {"tenant": tenant},
            )
    with pytest.raises(DBAPIError, match="must be owner"), database.app.begin(tenant=ACME) as connection:
        connection.execute(text("alter table provenance_claims no force row level security"))
    # FORCE: the owner of the tables does not see past the policies either, as long as it does not lift them.
    with database.owner.begin() as connection:
        forced = connection.execute(
            text("select count(*) from pg_class where relname like 'provenance%' and relforcerowsecurity")
        ).scalar_one()
        assert forced == len(SECURED)
        assert {r.tenant for r in connection.execute(text("select tenant from provenance_documents"))} == {"public"}
