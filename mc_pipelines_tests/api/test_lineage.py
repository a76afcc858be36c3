"""Lineage and documents over HTTP, sent by the OpenLineage client itself and by whoever speaks JSON."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.transport.http import ApiKeyTokenProvider, HttpCompression, HttpConfig, HttpTransport
from sqlalchemy import text

from mc_pipelines.composition import Context, local_runner
from mc_pipelines.executions.manifest import example_manifest
from mc_pipelines.foundation import flags
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.identity import receipt_id
from mc_pipelines_tests.api.conftest import Headers, problem
from mc_pipelines_tests.provenance.readers.documents import SLSA_1, bom, dump, envelope, slsa_1, statement
from mc_pipelines_tests.provenance.readers.test_openlineage import event

pytestmark = pytest.mark.database
Bearer = Callable[..., Headers]
JSON = {"Content-Type": "application/json"}
SIGNS, VERIFIES = 2, 3
RUN = "0196f7c2-0000-7000-8000-000000000001"


@pytest.fixture
def address(app: FastAPI) -> Iterator[str]:
    """The real application, served over a real socket."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def openlineage(address: str, token: str, **over: Any) -> OpenLineageClient:
    config = HttpConfig(url=address, auth=ApiKeyTokenProvider({"apiKey": token}), **over)
    return OpenLineageClient(transport=HttpTransport(config))


def told(state: RunState, *outputs: str) -> RunEvent:
    return RunEvent(
        eventTime="2026-01-19T06:00:00.123456789Z",
        producer="https://example.org/scheduler",
        run=Run(runId=RUN),
        job=Job(namespace="etl", name="load"),
        eventType=state,
        inputs=[InputDataset(namespace="db", name="orders")],
        outputs=[OutputDataset(namespace="db", name=name) for name in outputs],
    )


def edges(context: Context, tenant: str) -> set[tuple[str, int, str]]:
    with context.database.begin(tenant=TenantId(tenant)) as connection:
        rows = connection.execute(
            text(
                "select source.id, claim.type, target.id from provenance_claims as claim"
                " join provenance_nodes as source on source.node = claim.source and source.tenant = claim.tenant"
                " join provenance_nodes as target on target.node = claim.target and target.tenant = claim.tenant"
                " where claim.tenant = :tenant and claim.type < 4"
            ),
            {"tenant": tenant},
        )
        return {tuple(row) for row in rows}


@pytest.mark.parametrize("compression", [None, HttpCompression.GZIP])
def test_the_real_client_sends_to_us(
    address: str, bearer: Bearer, context: Context, compression: HttpCompression | None
) -> None:
    token = bearer("paul", "acme")["Authorization"].removeprefix("Bearer ")
    client = openlineage(address, token, compression=compression)
    client.emit(told(RunState.START, "report"))
    client.emit(told(RunState.START, "report"))
    client.emit(told(RunState.COMPLETE))
    run = f"run:etl/{RUN}"
    assert edges(context, "acme") == {
        (run, 0, "job:etl/load"),
        (run, 0, "dataset:db/orders"),
        (run, 1, "dataset:db/report"),
    }
    seen = httpx.get(
        address + "/api/provenance/graph",
        params={"node": "dataset:db/report", "depth": 2, "tenant": "acme", "purpose": "operations"},
        headers=bearer("olga"),
        timeout=120,  # the first question of all compiles the walk
    )
    assert {run, "dataset:db/orders"} <= {node["id"] for node in seen.json()["nodes"]}


def test_the_real_client_is_told_that_it_may_not(address: str, bearer: Bearer, context: Context) -> None:
    token = bearer("rita", "acme")["Authorization"].removeprefix("Bearer ")
    with pytest.raises(Exception, match="403"):
        openlineage(address, token).emit(told(RunState.START))
    assert edges(context, "acme") == set()


def test_an_event_twice_and_events_as_an_array(client: httpx.Client, bearer: Bearer) -> None:
    first = client.post("/api/v1/lineage", json=event(), headers=bearer("paul", "acme"))
    assert (first.status_code, first.json()["status"], first.json()["edges"]) == (201, "accepted", 3)
    again = client.post("/api/v1/lineage", json=event(), headers=bearer("paul", "acme"))
    assert (again.status_code, again.json()["status"], again.json()["seq"]) == (200, "known", first.json()["seq"])
    both = client.post("/api/v1/lineage", json=[event("START"), event()], headers=bearer("paul", "acme"))
    assert both.status_code == 201


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (event(run={}), "run id"),
        (bom(), "OpenLineage event"),
        ({}, "Not a provenance document"),
        ([], "1 to"),
        ("text", "Not a provenance document"),
    ],
)
def test_what_is_no_event_is_refused_and_leaves_nothing(
    client: httpx.Client, bearer: Bearer, context: Context, body: Any, says: str
) -> None:
    found = problem(client.post("/api/v1/lineage", json=body, headers=bearer("paul", "acme")), 422, "invalid-input")
    assert says in found["detail"]
    assert edges(context, "acme") == set()


@pytest.mark.parametrize(
    ("content", "coding", "status"),
    [
        (gzip.compress(b" " * 5_000_000), "gzip", 400),
        (gzip.compress(dump(event()))[:-9], "gzip", 400),
        (b"plain", "gzip", 400),
        (dump(event()), "br", 415),
    ],
)
def test_codings_of_the_body(client: httpx.Client, bearer: Bearer, content: bytes, coding: str, status: int) -> None:
    headers = bearer("paul", "acme") | {"Content-Type": "application/json", "Content-Encoding": coding}
    assert client.post("/api/v1/lineage", content=content, headers=headers).status_code == status


def test_a_document_with_its_verdict(client: httpx.Client, bearer: Bearer) -> None:
    route, headers = "/api/provenance/documents", bearer("paul", "acme")
    signed = json.loads(envelope(statement(SLSA_1, slsa_1())))
    answer = client.post(route, json=signed, headers=headers)
    assert (answer.status_code, answer.json()["verification"]) == (201, "no-trust-root")
    assert client.post(route, json=bom(), headers=headers).json()["verification"] == "unsigned"
    refused = client.post(route, json=bom(bomFormat="CDX"), headers=headers)
    problem(refused, 422, "invalid-input")
    assert (refused.json()["field"], refused.json()["detail"]) == ("bomFormat", "Not a CycloneDX document")
    problem(client.post(route, headers=headers), 422, "invalid-input")


def test_our_own_receipt_is_verified_by_our_own_key_history(
    client: httpx.Client, bearer: Bearer, context: Context
) -> None:
    headers = bearer("paul", "acme")
    path = client.post("/api/executions", json=example_manifest("acme").document(), headers=headers).headers["location"]

    async def drain() -> int:
        return await local_runner(context).run_until_idle()

    assert asyncio.run(drain()) == 1
    receipt = client.get(path + "/receipt", headers=headers).content
    sent = client.post("/api/provenance/documents", content=receipt, headers=headers | JSON)
    assert (sent.status_code, sent.json()["verification"]) == (201, "verified"), sent.text
    found = edges(context, "acme")
    assert [target for _, type_, target in found if type_ == VERIFIES] == [receipt_id(receipt)]
    [run] = {target for _, type_, target in found if type_ == SIGNS and target.startswith("run:")}
    assert any(source == run for source, _, _ in found)
    spoiled = json.loads(receipt)
    spoiled["signatures"][0]["sig"] = spoiled["signatures"][0]["sig"][::-1]
    sent = client.post("/api/provenance/documents", json=spoiled, headers=headers)
    assert sent.json()["verification"] == "failed"


def test_a_parameter_that_there_is_not_is_refused(client: httpx.Client, bearer: Bearer, context: Context) -> None:
    """A misspelt marking would leave open what its sender means to be secret."""
    headers = bearer("paul", "acme")
    for route in ("/api/v1/lineage", "/api/provenance/documents"):
        for query in ("clasification=2", "tenant=acme&tenant=acme", "purpose=audit&purposes=security"):
            problem(client.post(f"{route}?{query}", json=event(), headers=headers), 400, "invalid-query")
        assert edges(context, "acme") == set()
    sent = client.post("/api/v1/lineage?purpose=audit&purpose=security", json=event(), headers=headers)
    assert sent.status_code == 201
    for question in ("graph", "paths", "impact", "diff", "gaps", "explain", "what-if", "snapshots", "nodes"):
        asked = client.get(f"/api/provenance/{question}?nodes=x", headers=bearer("rita", "acme"))
        problem(asked, 400, "invalid-query")
        assert asked.json()["field"] == "nodes"


def test_a_sender_says_what_can_be_made_again(client: httpx.Client, bearer: Bearer, context: Context) -> None:
    route = "/api/provenance/documents?lowValue="
    problem(client.post(route + "perhaps", json=bom(), headers=bearer("paul", "acme")), 400, "malformed-request")
    assert client.post(route + "true", json=bom(), headers=bearer("paul", "acme")).status_code == 201
    with context.database.begin(tenant=TenantId("acme")) as connection:
        assert connection.execute(text("select prunable from provenance_documents")).scalars().all() == [True]


def test_ingest_goes_on_while_the_graph_is_switched_off(client: httpx.Client, bearer: Bearer, context: Context) -> None:
    with context.database.begin() as connection:
        flags.set_flag(connection, flags.PROVENANCE_GRAPH_V1, state=False, by="test", now=context.clock.now())
    assert client.post("/api/v1/lineage", json=event(), headers=bearer("paul", "acme")).status_code == 201


def test_only_for_ones_own_tenant_and_never_for_all(client: httpx.Client, bearer: Bearer, context: Context) -> None:
    for route in ("/api/v1/lineage", "/api/provenance/documents"):
        problem(client.post(route + "?tenant=globex", json=event(), headers=bearer("paul", "acme")), 403, "forbidden")
        problem(client.post(route + "?tenant=public", json=event(), headers=bearer("paul", "acme")), 403, "forbidden")
        problem(client.post(route, json=event()), 401, "unauthenticated")
        problem(client.post(route, json=event(), headers=bearer("olga")), 422, "invalid-input")
    assert edges(context, "globex") == edges(context, "public") == set()
    secret = "/api/v1/lineage?tenant=public&classification=1"
    refused = client.post(secret, json=event(), headers=bearer("olga"))
    problem(refused, 422, "invalid-input")
    assert (refused.json()["field"], "open" in refused.json()["detail"]) == ("classification", True)
    assert edges(context, "public") == set()
    shared = client.post("/api/v1/lineage?tenant=public", json=event(), headers=bearer("olga"))
    assert shared.status_code == 201  # an operator writes what all read
