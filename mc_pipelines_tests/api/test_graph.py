"""The graph over HTTP: forms, tags, pages and errors; who may read what, for which purpose; what she cannot tell."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from mc_pipelines.composition import Context
from mc_pipelines.foundation import flags
from mc_pipelines.foundation.canonical import sha256_digest
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.foundation.tenants import get_tenant, put_tenant
from mc_pipelines.provenance.edge_log import ingest_claims
from mc_pipelines.provenance.identity import digest_id, package_id
from mc_pipelines.provenance.labels import classification_of, purposes_of
from mc_pipelines.provenance.model import PUBLIC, Alias, Claims, Edge, EdgeType, Kind, Node
from mc_pipelines.provenance.readers import read_document
from mc_pipelines.provenance.store import GraphStore
from mc_pipelines_tests.api.conftest import Headers, problem
from mc_pipelines_tests.provenance.readers.test_openlineage import RUN, dataset, event

pytestmark = pytest.mark.database
Bearer = Callable[..., Headers]
ACME, GLOBEX = TenantId("acme"), TenantId("globex")
SBOM = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.5",
    "version": 1,
    "metadata": {"component": {"type": "application", "name": "app", "version": "1", "purl": "pkg:pypi/app@1"}},
    "components": [{"type": "library", "name": "lib", "version": "2", "purl": "pkg:pypi/lib@2", "bom-ref": "lib"}],
    "dependencies": [{"ref": "pkg:pypi/app@1", "dependsOn": ["lib"]}],
}
QUESTIONS = (
    "graph?node={0}&depth=3",
    "graph?node={0}&direction=undirected&depth=5&limit=2",
    "graph?node={0}&format=svg",
    "graph?node={0}&evidence=true",
    "paths?from={0}&to=pkg:pypi/lib@2&direction=undirected",
    "impact?node={0}&plan=true",
    "diff?a={0}&b=pkg:pypi/lib@2",
    "gaps?node={0}",
    "explain?bundle={0}",
    "what-if?key=ci",
    "nodes?contains={0}",
)


def ingest(context: Context, tenant: TenantId, document: dict[str, Any]) -> None:
    claims = read_document(json.dumps(document).encode(), "sbom.json")
    ingest_claims(context.database, tenant, claims, clock=context.clock, operator=tenant == PUBLIC)


@pytest.fixture(autouse=True)
def _always_fresh(context: Context) -> None:
    store = GraphStore(context.database, context.generations_folder, context.clock, refresh_seconds=0)
    store.watch = lambda: None  # type: ignore[method-assign] - with a watcher, requests do not look for news themselves
    context.__dict__["graph_store"] = store  # what the cached property would hold


@pytest.fixture
def graph(context: Context) -> str:
    ingest(context, ACME, SBOM)
    return "/api/provenance/graph?node=pkg:pypi/app@1"


def test_an_answer_has_a_tag_that_saves_the_second_one(client: httpx.Client, bearer: Bearer, graph: str) -> None:
    rita = bearer("rita", "acme")
    first = client.get(graph + "&depth=3", headers=rita)
    assert first.status_code == 200, first.text
    assert {"pkg:pypi/app@1", "pkg:pypi/lib@2"} <= {node["id"] for node in first.json()["nodes"]}
    assert first.headers["mc-complete"] == "true"
    assert first.headers["vary"] == "Authorization, Accept"
    for held in (first.headers["etag"], f'W/"x", {first.headers["etag"]}'):
        again = client.get(graph + "&depth=3", headers=rita | {"If-None-Match": held})
        assert (again.status_code, again.content) == (304, b"")
    for question in QUESTIONS:
        asked = "/api/provenance/" + question.format("pkg:pypi/app@1")
        tag = client.get(asked, headers=rita).headers["etag"]
        assert client.get(asked, headers=rita | {"If-None-Match": tag}).status_code == 304
        assert client.get(asked, headers=rita | {"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    ("name", "media"),
    [
        ("json", "application/json"),
        ("cytoscape", "application/vnd.cytoscape.cyjs+json"),
        ("dot", "text/vnd.graphviz"),
        ("graphml", "application/graphml+xml"),
        ("mermaid", "text/vnd.mermaid"),
        ("prov-json", "application/prov+json"),
        ("csv", "text/csv"),
        ("svg", "image/svg+xml"),
    ],
)
def test_a_form_is_chosen_by_name_or_by_media_type(
    client: httpx.Client, bearer: Bearer, graph: str, name: str, media: str
) -> None:
    rita = bearer("rita", "acme")
    by_name = client.get(f"{graph}&format={name}", headers=rita)
    by_type = client.get(graph, headers=rita | {"Accept": f"text/html, {media};q=0.9, application/xml;q=0.1"})
    assert by_name.status_code == by_type.status_code == 200
    assert by_name.headers["content-type"].startswith(media)
    assert by_name.content == by_type.content
    assert by_name.headers["etag"] == by_type.headers["etag"]
    assert b"lib" in by_name.content


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ("graph?node=pkg:pypi/app@1&asOf=9999-12-31T23:59:59-14:00", "asOf"),
        ("graph?node=pkg:pypi/app@1&knownAt=0001-01-01T00:00:00%2B14:00", "knownAt"),
        ("graph?node=pkg:pypi/app@1&depth=%D9%A2", "depth"),
        ("snapshots?asOf=2026-01-01T00:00:00Z", "asOf"),
    ],
)
def test_what_means_nothing_is_refused_by_name(
    client: httpx.Client, bearer: Bearer, graph: str, asked: str, field: str
) -> None:
    del graph  # recorded, so that nothing else is wrong
    refused = client.get("/api/provenance/" + asked, headers=bearer("rita", "acme"))
    assert problem(refused, 400, "invalid-query")["field"] == field


def test_a_form_that_cannot_be_made_is_not_acceptable(client: httpx.Client, bearer: Bearer, graph: str) -> None:
    rita = bearer("rita", "acme")
    problem(client.get(graph + "&format=png", headers=rita), 406, "not-acceptable")
    problem(client.get(graph, headers=rita | {"Accept": "image/png"}), 406, "not-acceptable")
    problem(client.get(graph, headers=rita | {"Accept": "application/json;q=0"}), 406, "not-acceptable")
    problem(client.get("/api/provenance/gaps?format=dot", headers=rita), 406, "not-acceptable")


@pytest.mark.parametrize(
    "bad",
    ["depth=0", "depth=6", "depth=2.0", "depth=NaN", "direction=sideways", "limit=0", "nonsense=1", "depth=1&depth=2"],
)
def test_a_bad_query_is_refused_by_name(client: httpx.Client, bearer: Bearer, graph: str, bad: str) -> None:
    found = problem(client.get(f"{graph}&{bad}", headers=bearer("rita", "acme")), 400, "invalid-query")
    assert found["field"] == bad.split("=", maxsplit=1)[0]


def test_a_node_that_stands_for_several_is_ambiguous(client: httpx.Client, bearer: Bearer, context: Context) -> None:
    purl, other = package_id("pkg:pypi/two@1"), package_id("pkg:pypi/one@1")
    for number in (1, 2):
        content = digest_id({"sha256": f"{number}" * 64})
        nodes = (Node(purl, Kind.PACKAGE), Node(content, Kind.PACKAGE), Node(other, Kind.PACKAGE))
        claims = Claims(
            document=sha256_digest(b"%d" % number),
            name="x",
            format="x",
            nodes=nodes,
            edges=(Edge(content, other, EdgeType.USES),),
            aliases=(Alias(purl, content),),
        )
        ingest_claims(context.database, ACME, claims, clock=context.clock)
        answer = client.get(f"/api/provenance/graph?node={purl}&resolve=claimed", headers=bearer("rita", "acme"))
        if number == 1:
            assert answer.json()["root"] == content
            assert answer.json()["resolved"] == {"from": purl, "to": content, "status": "unsigned"}
    found = problem(answer, 422, "ambiguous-alias")
    assert [each["id"] for each in found["candidates"]] == [f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"]
    # By default only verified aliases count: the node is known, and alone.
    alone = client.get(f"/api/provenance/graph?node={purl}", headers=bearer("rita", "acme")).json()
    assert [node["id"] for node in alone["nodes"]] == [purl]


def test_the_flag_switches_questions_off_and_ingest_goes_on(
    client: httpx.Client, bearer: Bearer, context: Context, graph: str
) -> None:
    with context.database.begin() as connection:
        flags.set_flag(connection, flags.PROVENANCE_GRAPH_V1, state=False, by="test", now=context.clock.now())
    assert graph
    for question in (*QUESTIONS, "snapshots"):
        answer = client.get("/api/provenance/" + question.format("pkg:pypi/app@1"), headers=bearer("rita", "acme"))
        problem(answer, 503, "unavailable")
        assert answer.headers["retry-after"]
    sent = client.post("/api/provenance/documents?tenant=acme", json=SBOM | {"version": 2}, headers=bearer("olga"))
    assert sent.status_code in {200, 201}, sent.text
    assert client.get("/ready").status_code == 200


def test_the_latency_of_a_query_is_on_the_metrics_page(client: httpx.Client, bearer: Bearer, graph: str) -> None:
    assert client.get(graph, headers=bearer("rita", "acme")).status_code == 200
    lines = client.get("/metrics").text.splitlines()
    count = [line for line in lines if line.startswith('mc_graph_query_ms_count{operation="subgraph"}')]
    assert len(count) == 1
    assert float(count[0].split()[-1]) >= 1
    assert not any("pkg:" in line or "acme" in line for line in lines if line.startswith("mc_graph_query_ms"))


def test_reading_across_tenants_needs_a_purpose_and_is_audited(
    client: httpx.Client, bearer: Bearer, context: Context, graph: str
) -> None:
    def audited() -> list[str]:
        with context.database.begin() as connection:
            rows = connection.execute(
                text(
                    "select convert_from(content, 'UTF8') as content from attest_log_leaf join attest_log_content using"
                    " (content_digest) where act = 'provenance.cross-tenant-read' order by at"
                )
            )
            return [row.content for row in rows]

    olga = bearer("olga")
    found = problem(client.get(graph + "&tenant=acme", headers=olga), 400, "invalid-query")
    assert found["field"] == "purpose"
    assert audited() == []
    assert client.get(graph + "&tenant=acme&purpose=security", headers=olga).status_code == 200
    assert client.get(graph + "&tenant=acme&purpose=security", headers=olga).status_code == 200
    acts = [json.loads(each) for each in audited()]
    assert [(act["tenant"], act["purpose"]) for act in acts] == [("acme", "security")] * 2
    # A purpose that none of her roles has opens nothing, and that is recorded too.
    problem(client.get(graph + "&tenant=acme&purpose=finance", headers=olga), 404, "not-found")
    assert len(audited()) == 3
    assert client.get(graph + "&tenant=acme", headers=bearer("rita", "acme")).status_code == 200
    assert len(audited()) == 3


def test_a_policy_that_fails_closes_every_question(
    client: httpx.Client, bearer: Bearer, context: Context, graph: str
) -> None:
    class Broken:
        name = "broken"

        def evaluate(self, query: str, input_document: object) -> Any:
            from mc_pipelines.decision.engine import Verdict

            return Verdict(None, f"engine on fire at {query} {input_document}"[:20])

    assert graph
    context.__dict__["graph_policy"] = (Broken(), "sha256:" + "0" * 64)
    for question in QUESTIONS:
        answer = client.get("/api/provenance/" + question.format("pkg:pypi/app@1"), headers=bearer("rita", "acme"))
        problem(answer, 503, "unavailable")
        assert "pkg:pypi/lib@2" not in answer.text.replace(question, "")


def test_two_worlds_cannot_be_told_apart(client: httpx.Client, bearer: Bearer, context: Context, graph: str) -> None:
    """Whatever another tenant records about the same content, each byte of each answer stays: bodies, headers, cursors.

    The request id and the date, which are of the exchange, are left out.
    """
    assert graph
    ingest(context, PUBLIC, SBOM | {"version": 7})
    rita = bearer("rita", "acme")

    def observe() -> list[Any]:
        seen = []
        nodes = ("pkg:pypi/app@1", "pkg:pypi/lib@2", "pkg:pypi/theirs@1", "pkg:pypi/never@1", "nonsense")
        asked = [question.format(node) for node in nodes for question in QUESTIONS]
        asked += [
            "gaps",
            "snapshots",
            "graph?node=pkg:pypi/app@1&tenant=globex",
            "graph?node=pkg:pypi/app@1&tenant=none",
        ]
        for question in asked:
            answer = client.get("/api/provenance/" + question, headers=rita)
            headers = {k: v for k, v in answer.headers.items() if k not in {"x-request-id", "date"}}
            body = answer.content
            if question.endswith("limit=2") and answer.status_code == 200:
                cursor = answer.headers["mc-cursor"]
                following = client.get(f"/api/provenance/{question}&cursor={cursor}", headers=rita)
                body += following.content
            seen.append((question, answer.status_code, headers, body))
        return seen

    before = observe()
    assert {status for _, status, _, _ in before} == {200, 400, 404}
    for version in (2, 3):
        lib = {"type": "library", "name": "t", "version": "1", "purl": "pkg:pypi/theirs@1", "bom-ref": "t"}
        forged = SBOM | {"version": version, "components": [*SBOM["components"], lib]}  # type: ignore[misc]
        forged["dependencies"] = [{"ref": "t", "dependsOn": ["pkg:pypi/app@1"]}, {"ref": "lib", "dependsOn": ["t"]}]
        ingest(context, GLOBEX, forged)
    after = observe()
    for one, other in zip(before, after, strict=True):
        assert one == other
    unknown, foreign = ([each for each in after if f"pkg:pypi/{name}@1" in each[0]] for name in ("never", "theirs"))
    for one, other in zip(unknown, foreign, strict=True):
        assert one[1:] == other[1:]


def earlier(type_: str, **over: Any) -> dict[str, Any]:
    """Return an event of before the test's now."""
    return event(type_, eventTime="2026-01-19T06:00:00Z", **over)


def targets(client: httpx.Client, headers: Headers, node: str, purpose: str) -> set[str]:
    """Return where the edges from a node lead for a reader; nothing where there is no such node for her."""
    seen = client.get(
        f"/api/provenance/graph?node={node}&direction=both&tenant=acme&purpose={purpose}", headers=headers
    )
    if seen.status_code == 404:
        return set()
    assert seen.status_code == 200, seen.text
    return {edge["to"] for edge in seen.json()["edges"] if edge["from"] == node}


@pytest.mark.parametrize("route", ["/api/provenance/documents", "/api/v1/lineage"])
def test_who_may_read_a_claim_is_said_by_its_sender(client: httpx.Client, bearer: Bearer, route: str) -> None:
    """Five documents about one node, each marked otherwise; every reader sees hers."""
    paul = bearer("paul", "acme")
    marks = {"any": "", "finance": "purpose=finance", "ops": "purpose=security&purpose=operations"}
    for name, mark in (marks | {"secret": "classification=3", "guarded": "classification=2"}).items():
        sent = client.post(f"{route}?{mark}", json=earlier("START", inputs=[dataset(name)]), headers=paul)
        assert sent.status_code == 201, sent.text
    for subject, purpose, seen in (
        ("rita", "operations", {"any", "ops", "guarded"}),
        ("rita", "finance", {"any", "guarded"}),  # a purpose that her role does not have
        ("olga", "security", {"any", "ops", "guarded"}),
        ("aude", "finance", {"any", "finance", "guarded", "secret"}),
        ("aude", "security", {"any", "ops", "guarded", "secret"}),
        ("aude", "audit", {"any", "guarded", "secret"}),
    ):
        found = targets(client, bearer(subject, "acme"), RUN, purpose)
        assert found - {"job:etl/load"} == {f"dataset:db/{name}" for name in seen}, (subject, purpose)


def test_an_output_that_waited_is_marked_as_the_event_that_named_it(client: httpx.Client, bearer: Bearer) -> None:
    paul = bearer("paul", "acme")
    start = earlier("START", outputs=[dataset("report")])
    assert client.post("/api/v1/lineage?classification=3", json=start, headers=paul).status_code == 201
    assert client.post("/api/v1/lineage", json=earlier("COMPLETE", outputs=[]), headers=paul).status_code == 201
    assert "dataset:db/report" in targets(client, bearer("aude", "acme"), RUN, "audit")
    assert "dataset:db/report" not in targets(client, bearer("rita", "acme"), RUN, "operations")


def test_a_marking_is_checked_and_the_first_one_stays(client: httpx.Client, bearer: Bearer, context: Context) -> None:
    route, paul = "/api/provenance/documents", bearer("paul", "acme")
    for wrong in ("classification=4", "classification=-1", "classification=x", "purpose=fun", "purpose="):
        found = problem(client.post(f"{route}?{wrong}", json=SBOM, headers=paul), 400, "malformed-request")
        assert str(found["field"]).startswith(wrong.partition("=")[0])
    below = problem(client.post(f"{route}?classification=0", json=SBOM, headers=paul), 422, "invalid-input")
    assert "at least classification 1" in below["detail"]  # the tenant's data are confidential
    assert targets(client, bearer("aude", "acme"), "pkg:pypi/app@1", "audit") == set()
    assert client.post(f"{route}?classification=3&purpose=audit", json=SBOM, headers=paul).status_code == 201
    again = client.post(route, json=SBOM, headers=paul).json()
    assert again["status"] == "known"
    assert "It was recorded with classification 3 for audit, and stays so." in again["remarks"]
    assert targets(client, bearer("rita", "acme"), "pkg:pypi/app@1", "operations") == set()
    assert targets(client, bearer("aude", "acme"), "pkg:pypi/app@1", "audit") == {"pkg:pypi/lib@2"}
    with context.database.begin(tenant=ACME) as connection:
        labels = connection.execute(text("select label from provenance_documents")).scalars().all()
    assert [(classification_of(label), purposes_of(label)) for label in labels] == [(3, {"audit"})]


def test_without_a_word_the_data_class_of_the_tenant_marks(
    client: httpx.Client, bearer: Bearer, context: Context
) -> None:
    for data_class, expected in (("public", 0), ("internal", 0), ("confidential", 1), ("restricted", 2)):
        with context.database.begin() as connection:
            tenant = replace(get_tenant(connection, ACME), data_class=data_class)
            put_tenant(connection, tenant, now=context.clock.now())
        sbom = SBOM | {"version": expected + 5, "serialNumber": f"urn:{data_class}"}
        assert client.post("/api/provenance/documents", json=sbom, headers=bearer("paul", "acme")).status_code == 201
        with context.database.begin(tenant=ACME) as connection:
            label = (
                connection.execute(text("select label from provenance_documents order by seq desc")).scalars().first()
            )
        assert classification_of(label) == expected
