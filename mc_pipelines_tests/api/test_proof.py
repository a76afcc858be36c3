"""Proofs and digests over HTTP: who gets one, a refusal that says nothing of what there is, answers that stay."""

from __future__ import annotations

import base64
import hashlib
from datetime import timedelta
from typing import Any

import httpx
import pytest

from mc_pipelines.api.digest_fields import wants_sha256
from mc_pipelines.composition import Context
from mc_pipelines.provenance.answer_check import check_answer
from mc_pipelines.provenance.committing import commit_all
from mc_pipelines.provenance.generations import build_all
from mc_pipelines.provenance.model import PUBLIC
from mc_pipelines_tests.api.conftest import problem
from mc_pipelines_tests.api.test_graph import ACME, GLOBEX, SBOM, Bearer, _always_fresh, graph, ingest

__all__ = ["_always_fresh", "graph"]
pytestmark = pytest.mark.database
_HOUR = timedelta(hours=1)
PROOF = "/api/provenance/proof?node=pkg:pypi/app@1&depth=3"


def commit(context: Context) -> None:
    build_all(context.database, context.generations_folder, clock=context.clock)
    commit_all(context.database, context.generations_folder, clock=context.clock)


def test_an_auditor_gets_a_proof_that_holds(client: httpx.Client, bearer: Bearer, context: Context, graph: str) -> None:
    aude = bearer("aude", "acme")
    refused = problem(client.get(PROOF, headers=aude), 409, "not-committed")
    assert "commit" in refused["mend"]
    ingest(context, PUBLIC, SBOM | {"version": 7})
    commit(context)
    answer = client.get(PROOF, headers=aude)
    assert answer.status_code == 200, answer.text
    assert check_answer(answer.json()).ok
    assert answer.headers["cache-control"] == "private, no-cache"
    moment = answer.json()["answer"]["asOf"].replace("+", "%2B")
    same = client.get(f"{graph}&depth=3&direction=ancestors&asOf={moment}&limit=5000", headers=aude).json()
    assert same == answer.json()["answer"]
    again = client.get(f"{PROOF}&asOf={moment}", headers=aude | {"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304
    for bad, field in (("&depth=4", "depth"), ("&limit=5", "limit"), ("&knownAt=2026-01-01T00:00:00Z", "knownAt")):
        asked = PROOF.replace("&depth=3", "") + bad
        assert problem(client.get(asked, headers=aude), 400, "invalid-query")["field"] == field
    absent = [client.get(PROOF.replace("app@1", f"{name}@1"), headers=aude) for name in ("theirs", "never")]
    assert [problem(each, 404, "not-found")["detail"] for each in absent] == ["There is no such node"] * 2


def test_who_could_miss_something_gets_none_whatever_there_is(
    client: httpx.Client, bearer: Bearer, context: Context, graph: str
) -> None:
    """Byte for byte the same refusal where nothing is hidden, where something is, and where there is no such node."""
    seen = []
    for name in ("app", "never"):
        for document in (None, SBOM | {"version": 2}):
            if document is not None:
                ingest(context, ACME, document)
                commit(context)
            for who in ("rita", "sven", "olga"):
                refused = client.get(PROOF.replace("app", name), headers=bearer(who, "acme"))
                found = problem(refused, 403, "whole-view-needed")
                seen.append({key: value for key, value in found.items() if key not in {"instance", "requestId"}})
    assert all(each == seen[0] for each in seen)
    assert graph
    foreign = client.get(PROOF + "&tenant=globex", headers=bearer("rita", "acme"))
    assert "globex" not in problem(foreign, 404, "not-found")["detail"]


def test_another_tenants_documents_change_no_byte_of_a_proof(
    client: httpx.Client, bearer: Bearer, context: Context, graph: str
) -> None:
    assert graph
    commit(context)
    before = client.get(PROOF, headers=bearer("aude", "acme"))
    ingest(context, GLOBEX, SBOM | {"version": 3})
    commit(context)
    after = client.get(PROOF, headers=bearer("aude", "acme"))
    assert (before.content, before.headers["etag"]) == (after.content, after.headers["etag"])


def test_a_pinned_answer_keeps_its_digest(client: httpx.Client, bearer: Bearer, context: Context, graph: str) -> None:
    """Also after more was learnt, retention of names aside, and after the generation was swapped twice."""
    rita = bearer("rita", "acme")
    moment = "2026-01-19T17:00:00Z"
    pinned = f"{graph}&depth=3&asOf={moment}&knownAt={moment}"
    wanted = rita | {"Want-Repr-Digest": "sha-512=3, sha-256=10"}
    assert "repr-digest" not in client.get(pinned, headers=rita).headers
    digests = set()
    for step in range(3):
        answer = client.get(pinned, headers=wanted)
        expected = base64.b64encode(hashlib.sha256(answer.content).digest()).decode()
        assert answer.headers["repr-digest"] == f"sha-256=:{expected}:"
        digests.add(expected)
        context.clock.advance(_HOUR)  # type: ignore[attr-defined]
        component = {"type": "library", "name": "n", "version": "1", "purl": f"pkg:pypi/n{step}@1", "bom-ref": "n"}
        dependencies = [{"ref": "pkg:pypi/app@1", "dependsOn": ["lib", "n"]}]
        more: dict[str, Any] = SBOM | {"version": 5 + step, "dependencies": dependencies}
        ingest(context, ACME, more | {"components": [*SBOM["components"], component]})  # type: ignore[misc]
        if step:
            commit(context)
    assert len(digests) == 1
    fresh = client.get(f"{graph}&depth=3", headers=wanted)
    assert "n2@1" in fresh.text
    assert fresh.headers["repr-digest"] != answer.headers["repr-digest"]


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (None, False),
        ("sha-256=1", True),
        ("sha-512=3, sha-256=10, unixsum=0", True),
        ("sha-256=0", False),
        ("sha-256=11", False),
        ("sha-512=5", False),
        ("sha-256=10, nonsense", False),
        ("", False),
    ],
)
def test_the_field_is_read_as_the_rfc_has_it(header: str | None, wanted: bool) -> None:
    assert wants_sha256(header) is wanted
