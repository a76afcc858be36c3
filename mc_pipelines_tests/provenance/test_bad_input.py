"""What is wrong with documents in practice: each is accepted with a reasoned verdict or refused with one, whole."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.edge_log import IngestResult
from mc_pipelines.provenance.ingest import Document, ingest_documents
from mc_pipelines.provenance.trust_roots import TrustRoots
from mc_pipelines_tests.conftest import TestDatabase
from mc_pipelines_tests.provenance.readers.documents import SLSA_1, A, B, bom, dump, envelope, slsa_1, statement
from mc_pipelines_tests.provenance.readers.test_openlineage import event
from mc_pipelines_tests.provenance.readers.test_spdx import spdx_2

pytestmark = pytest.mark.database
ACME = TenantId("acme")


def zipped(content: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("sbom.json", content)
    return target.getvalue()


def ring(length: int) -> bytes:
    names = [f"p{place}" for place in range(length)]
    components = [{"type": "library", "bom-ref": one, "name": one, "purl": f"pkg:pypi/{one}@1"} for one in names]
    needs = [{"ref": one, "dependsOn": [names[(place + 1) % length]]} for place, one in enumerate(names)]
    return dump(bom(components=components, dependencies=needs))


def random_text(length: int) -> str:
    """Text that does not compress: PostgreSQL's indices compress what they hold."""
    chance = random.Random(1)  # noqa: S311 - no secret
    return "".join(chr(chance.randrange(0x4E00, 0x9000)) for _ in range(length))


@dataclass(frozen=True)
class Case:
    """A bad document, and what must become of it."""

    content: bytes
    status: str
    says: str
    verification: str = "unsigned"
    edges: int | None = None


GOOD = dump(bom())
CASES = {
    "truncated": Case(GOOD[: len(GOOD) // 2], "refused", "cut off"),
    "truncated between members": Case(GOOD.rstrip(b"}"), "refused", "cut off"),
    "gzipped": Case(gzip.compress(GOOD), "refused", "packed with gzip"),
    "zipped": Case(zipped(GOOD), "refused", "packed with a ZIP"),
    "empty": Case(b"", "refused", "empty"),
    "wrong bomFormat": Case(dump(bom(bomFormat="CDX")), "refused", "bomFormat"),
    "unknown version": Case(dump(bom(specVersion="9.9")), "refused", "specVersion"),
    "dangling reference": Case(
        dump(bom(dependencies=[{"ref": "a", "dependsOn": ["gone"]}])), "accepted", "stands as a stub", edges=4
    ),
    "dangling reference of SPDX": Case(
        dump(spdx_2(relationships=[{"spdxElementId": "SPDXRef-a", "relationshipType": "DEPENDS_ON",
                                    "relatedSpdxElement": "SPDXRef-gone"}])),
        "accepted", "stands as a stub", edges=3,
    ),
    "unknown predicate": Case(
        envelope(statement("https://example.org/never-seen/v9", {"x": 1})),
        "accepted", "is not known here", "no-trust-root", edges=1,
    ),
    "cycle": Case(ring(5), "accepted", "", edges=7),
    "self dependency": Case(dump(bom(dependencies=[{"ref": "a", "dependsOn": ["a"]}])), "accepted", "itself", edges=3),
    "start without completion": Case(dump(event("START")), "accepted", "wait", edges=2),
    "completion without start": Case(dump(event()), "accepted", "", edges=3),
    "event with nanoseconds": Case(dump(event(eventTime="2026-01-19T06:00:00.123456789Z")), "accepted", "", edges=3),
    "event without a zone": Case(dump(event(eventTime="2026-01-19T06:00:00")), "accepted", "no time zone", edges=3),
    "missing run id": Case(dump(event(run={})), "refused", "run.runId"),
    "no run at all": Case(
        dump({key: value for key, value in event().items() if key != "run"}), "refused", "run.runId"
    ),
    "unknown type of event": Case(dump(event("DONE")), "refused", "eventType"),
    "one bad event of many": Case(dump([event("START"), event(run={})]), "refused", "Event 1"),
    "one bad line of many": Case(
        envelope(statement(SLSA_1, slsa_1())) + b"\n" + envelope(statement(SLSA_1, slsa_1(), [])), "refused", "Line 2"
    ),
    "subject without a digest": Case(statement(SLSA_1, slsa_1(), [{"name": "x"}]), "refused", "binds nothing"),
    "no subject": Case(statement(SLSA_1, slsa_1(), []), "refused", "no subject"),
    "subject whose digest names no content": Case(
        statement(SLSA_1, slsa_1(), [{"name": "x", "digest": {"run": "ci/1"}}]), "refused", "nothing is named here"
    ),
    "byte order mark": Case(b"\xef\xbb\xbf" + GOOD, "refused", "byte order mark"),
    "UTF-16": Case(GOOD.decode().encode("utf-16"), "refused", "byte order mark"),
    "malformed digest": Case(
        statement(SLSA_1, slsa_1(), [{"name": "x", "digest": {"sha256": "abc"}}]), "refused", "subject[0].digest"
    ),
    "payload that is no base64": Case(
        dump({"payload": "%%%", "payloadType": "application/vnd.in-toto+json", "signatures": []}), "refused", "base64"
    ),
    "envelope without signatures": Case(
        envelope(statement(SLSA_1, slsa_1()), signatures=[]), "accepted", "", "failed", edges=5
    ),
    "claims to be verified": Case(
        dump(bom(verification={"status": "verified"}, verifies=["x"])), "accepted", "", edges=3
    ),
    # What no column of the log can hold must cost its own document at most, never the batch it came in.
    "NUL in a fact": Case(dump(event(producer="a\0b")), "accepted", "", edges=3),
    "NUL in a serial number": Case(dump(bom(serialNumber="a\0b")), "accepted", "", edges=3),
    "NUL in a payload type": Case(
        dump({"payload": "e30=", "payloadType": "a\0b", "signatures": [{"sig": "AAAA"}]}),
        "accepted", "not in-toto's", "no-trust-root", edges=1,
    ),
    "a serial number longer than an index holds": Case(
        dump(bom(serialNumber=random_text(5000))), "accepted", "", edges=3
    ),
    "a run id longer than an index holds": Case(
        dump(event("START", run={"runId": random_text(1000)})), "refused", "at most 2000 bytes"
    ),
    "a file of nothing we know": Case(b'{"hello": 1}', "refused", "Not a provenance document"),
    "binary": Case(bytes(range(256)), "refused", "Not a provenance document"),
}  # fmt: skip


def put(database: TestDatabase, clock: FrozenClock, *contents: bytes, tenant: TenantId = ACME) -> list[IngestResult]:
    given = [Document(f"{place}.json", content) for place, content in enumerate(contents)]
    return list(ingest_documents(database.app, tenant, given, TrustRoots(), clock=clock))


def rows(database: TestDatabase, tenant: TenantId = ACME) -> dict[str, int]:
    names = ("documents", "claims", "nodes", "aliases", "closures", "run_events")
    with database.app.begin(tenant=tenant) as connection:
        return {
            name: int(
                connection.execute(
                    text(f"select count(*) from provenance_{name} where tenant = :tenant"), {"tenant": tenant}
                ).scalar_one()
            )
            for name in names
        }


def test_each_has_its_verdict_and_nothing_is_half_ingested(database: TestDatabase, clock: FrozenClock) -> None:
    """All of them in one batch: a refused one takes nothing with it and leaves nothing behind."""
    results = put(database, clock, *(case.content for case in CASES.values()))
    for (name, case), result in zip(CASES.items(), results, strict=True):
        assert result.status == case.status, (name, result)
        spoken = " ".join((result.reason or "", *result.remarks))
        assert case.says in spoken, (name, spoken)
        if case.status == "accepted":
            assert result.verification == case.verification, (name, result)
            assert case.edges in {None, result.edges}, (name, result)
        else:
            assert (result.seq, result.nodes, result.edges) == (None, 0, 0)
    accepted = sum(case.status == "accepted" for case in CASES.values())
    assert rows(database)["documents"] == accepted + 1  # and ours, for the outputs that waited for the completion
    with database.app.begin(tenant=ACME) as connection:
        verified = connection.execute(text("select count(*) from provenance_claims where type = 3")).scalar_one()
    assert verified == 0


def test_a_name_that_is_no_text_is_kept_readable(database: TestDatabase, clock: FrozenClock) -> None:
    """File names are bytes: Python hands over what is no UTF-8 as lone surrogates."""
    given = [Document(os.fsdecode(b"b\xffm\0.json"), GOOD)]
    assert [one.status for one in ingest_documents(database.app, ACME, given, TrustRoots(), clock=clock)] == [
        "accepted"
    ]
    with database.app.begin(tenant=ACME) as connection:
        assert connection.execute(text("select name from provenance_documents")).scalar_one() == "b?m.json"


def test_refused_documents_leave_no_row(database: TestDatabase, clock: FrozenClock) -> None:
    put(database, clock, *(case.content for case in CASES.values() if case.status == "refused"))
    assert set(rows(database).values()) == {0}


def test_duplicate_and_out_of_order_events_are_one_run(database: TestDatabase, clock: FrozenClock) -> None:
    start, end = dump(event("START")), dump(event(inputs=[], outputs=[]))
    statuses = [one.status for one in put(database, clock, end, start, end, start)]
    assert statuses == ["accepted", "accepted", "known", "known"]
    with database.app.begin(tenant=ACME) as connection:
        runs = connection.execute(text("select count(*) from provenance_nodes where kind = 2")).scalar_one()
        made = connection.execute(
            text("select count(distinct (source, target)) from provenance_claims where type = 1")
        ).scalar_one()
    assert (runs, made) == (1, 1)


def test_a_poisoned_alias_moves_nothing_onto_what_it_names(database: TestDatabase, clock: FrozenClock) -> None:
    """A forged document calls its own content by the purl of a package that a good one describes."""
    purl = "pkg:deb/debian/openssl@3"
    good = bom(components=[{"type": "library", "bom-ref": "o", "name": "openssl", "purl": purl}],
               dependencies=[{"ref": "root", "dependsOn": ["o"]}])  # fmt: skip
    forged = {"type": "library", "bom-ref": "x", "name": "openssl", "purl": purl}
    forged["hashes"] = [{"alg": "SHA-256", "content": A}]  # type: ignore[assignment]
    evil = {"type": "library", "bom-ref": "e", "name": "evil", "hashes": [{"alg": "SHA-256", "content": B}]}
    bad = bom(components=[forged, evil], dependencies=[{"ref": "x", "dependsOn": ["e"]}], serialNumber="urn:uuid:bad")
    put(database, clock, dump(good), dump(bad))
    with database.app.begin(tenant=ACME) as connection:
        used = (
            connection.execute(
                text(
                    "select target.id from provenance_claims as claim"
                    " join provenance_nodes as source on source.node = claim.source"
                    " join provenance_nodes as target on target.node = claim.target"
                    " where claim.type = 0 and source.id = :purl"
                ),
                {"purl": purl},
            )
            .scalars()
            .all()
        )
        claims = connection.execute(text("select count(*) from provenance_aliases")).scalar_one()
        known = connection.execute(
            text("select label from provenance_nodes where id = :purl"), {"purl": purl}
        ).scalar_one()
    assert used == []  # the package that the good document describes gained no dependency
    assert claims == 1  # that they are one thing is a claim of the forged document, kept as such
    assert known == "openssl"


LARGE = """
import resource, sys, time
from datetime import UTC, datetime
from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.ingest import Document, ingest_documents
from mc_pipelines.provenance.trust_roots import TrustRoots
resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))
database = Database(sys.argv[1])
content = open(sys.argv[2], "rb").read()
before = time.process_time()
clock = FrozenClock(datetime(2026, 1, 20, tzinfo=UTC))
[found] = ingest_documents(database, TenantId("acme"), [Document("large", content)], TrustRoots(), clock=clock)
print(found.status, found.nodes, found.edges, time.process_time() - before,
      resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def large_sbom(path: Path, size: int) -> int:
    """Write a bill of materials of ``size`` bytes; return how many components it lists."""
    head = {key: value for key, value in bom().items() if key not in {"components", "dependencies"}}
    count = 0
    with path.open("w") as file:
        file.write(json.dumps(head)[:-1] + ', "components": [')
        while file.tell() < size * 3 // 4:
            one: dict[str, Any] = {"type": "library", "bom-ref": f"r{count}", "name": f"package-{count}"}
            one |= {"version": "1.2.3", "purl": f"pkg:npm/package-{count}@1.2.3", "description": "x" * 160}
            file.write((", " if count else "") + json.dumps(one))
            count += 1
        file.write('], "dependencies": [')
        place = 0
        while file.tell() < size:
            needs = {"ref": f"r{place % count}", "dependsOn": [f"r{(place * 7 + step) % count}" for step in range(3)]}
            file.write((", " if place else "") + json.dumps(needs))
            place += 1
        file.write("]}")
    return count


@pytest.mark.slow
def test_a_hundred_megabytes_enter_whole_in_bounded_memory(database: TestDatabase, tmp_path: Path) -> None:
    path = tmp_path / "large.json"
    count = large_sbom(path, 100_000_000)
    url = database.app.engine.url.render_as_string(hide_password=False)
    found = subprocess.run(
        [sys.executable, "-c", LARGE, url, str(path)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": "."},
    )
    status, nodes, _edges, seconds, megabytes = found.stdout.split()
    assert (status, int(nodes)) == ("accepted", count + 2)
    assert int(megabytes) < 2000
    assert float(seconds) < 120
    assert rows(database)["nodes"] == count + 2
