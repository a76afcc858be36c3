"""Publishing over HTTP: once, for the caller's own tenant, answered with the estimate; nothing half-written."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from mc_pipelines.attest.dsse import Envelope
from mc_pipelines.composition import Context, local_runner
from mc_pipelines.executions.manifest import example_manifest
from mc_pipelines.foundation.canonical import canonical_json, sha256_digest
from mc_pipelines_tests.api.conftest import Headers, problem

pytestmark = pytest.mark.database
Bearer = Callable[..., Headers]
MANIFEST = example_manifest("acme").document()


def _count(context: Context, table: str) -> int:
    with context.database.begin() as connection:
        return int(connection.execute(text(f"select count(*) from {table}")).scalar_one())


def test_the_same_manifest_is_the_same_execution(client: httpx.Client, bearer: Bearer, context: Context) -> None:
    headers = bearer("paul", "acme")
    first = client.post("/api/executions", json=MANIFEST, headers=headers)
    assert first.status_code == 201, first.text
    again = client.post("/api/executions", content=json.dumps(MANIFEST, indent=3), headers=headers | _JSON)
    assert (again.status_code, again.json()) == (200, first.json())
    assert again.headers["location"] == f"/api/executions/{first.json()['executionId']}"
    assert first.json()["manifestDigest"] == sha256_digest(canonical_json(MANIFEST))
    assert (first.json()["state"], first.json()["attempt"]) == ("queued", 0)
    other = client.post("/api/executions", json=MANIFEST | {"idempotency_key": "2"}, headers=headers)
    assert other.status_code == 201
    assert _count(context, "execution") == _count(context, "run_queue") == 2


_JSON = {"Content-Type": "application/json"}


def test_the_answer_holds_the_estimate_that_was_frozen(client: httpx.Client, bearer: Bearer, context: Context) -> None:
    class Known:
        def at_publish(self, *_: Any, **__: Any) -> dict[str, Any]:
            return {"id": "4d" * 32, "cost": "0.0042", "low": None, "high": None, "currency": "USD"}

    context.__dict__["estimates"] = Known()
    first = client.post("/api/executions", json=MANIFEST, headers=bearer("paul", "acme"))
    context.__dict__["estimates"] = None
    again = client.post("/api/executions", json=MANIFEST, headers=bearer("paul", "acme"))
    assert first.json()["estimate"] == again.json()["estimate"]
    assert first.json()["estimate"]["cost"] == "0.0042"


@pytest.mark.parametrize(
    ("change", "field", "says"),
    [
        ({"surprise": 1}, "surprise", "Not a field"),
        ({"image": {"name": "a", "digest": "sha256:beef"}}, "image.digest", "pattern"),
        ({"budget": {"amount": 12.4, "currency": "USD"}}, "budget.amount", "never a float"),
        ({"deadline": "2026-01-20T09:00:00"}, "deadline", "without a zone"),
        ({"deadline": "2026-01-18T09:00:00Z"}, "deadline", "passed"),
        ({"inputs": [{"path": "a.csv", "digest": "sha256:" + "0" * 64}]}, "inputs", "not here"),
        ({"argv": []}, "argv", "at least 1"),
    ],
)
def test_a_bad_manifest_names_its_field_and_queues_nothing(
    client: httpx.Client, bearer: Bearer, context: Context, change: dict[str, Any], field: str, says: str
) -> None:
    found = problem(
        client.post("/api/executions", json=MANIFEST | change, headers=bearer("paul", "acme")), 422, "invalid-input"
    )
    assert found["field"] == field
    assert says in found["detail"]
    assert found["mend"]
    assert _count(context, "execution") == _count(context, "run_queue") == 0


def test_a_key_used_for_another_manifest_is_a_conflict(client: httpx.Client, bearer: Bearer, context: Context) -> None:
    keyed = MANIFEST | {"idempotency_key": "nightly"}
    headers = bearer("paul", "acme")
    assert client.post("/api/executions", json=keyed, headers=headers).status_code == 201
    found = problem(client.post("/api/executions", json=keyed | {"argv": ["true"]}, headers=headers), 409, "conflict")
    assert (found["field"], found["value"]) == ("idempotency_key", "nightly")
    assert _count(context, "execution") == 1


def test_only_who_may_publish_for_a_tenant_may(client: httpx.Client, bearer: Bearer, context: Context) -> None:
    problem(client.post("/api/executions", json=MANIFEST), 401, "unauthenticated")
    problem(client.post("/api/executions", json=MANIFEST, headers=bearer("rita", "acme")), 403, "forbidden")
    problem(client.post("/api/executions", json=MANIFEST, headers=bearer("paul", "globex")), 403, "forbidden")
    assert _count(context, "execution") == 0
    unknown = MANIFEST | {"tenant": "umbrella"}
    problem(client.post("/api/executions", json=unknown, headers=bearer("olga")), 404, "not-found")


def test_a_published_execution_runs_and_its_receipt_can_be_fetched(
    client: httpx.Client, bearer: Bearer, context: Context
) -> None:
    headers = bearer("paul", "acme")
    path = client.post("/api/executions", json=MANIFEST, headers=headers).headers["location"]
    problem(client.get(path + "/receipt", headers=headers), 404, "not-found")

    async def drain() -> int:
        return await local_runner(context).run_until_idle()

    assert asyncio.run(drain()) == 1
    shown = client.get(path, headers=headers).json()
    assert shown["state"] == "succeeded", shown
    assert [step["state"] for step in shown["steps"]][:2] == ["published", "queued"]
    assert shown["manifest"] == MANIFEST | {"environment": sorted(MANIFEST["environment"])}
    fetched = client.get(path + "/receipt", headers=headers)
    assert fetched.headers["content-type"] == "application/vnd.dsse+json"
    assert sha256_digest(fetched.content) == shown["receiptDigest"]
    assert Envelope.from_document(fetched.json()).payload_type == "application/vnd.in-toto+json"
    for hidden in (path, path + "/receipt"):
        problem(client.get(hidden, headers=bearer("rita", "globex")), 404, "not-found")


def test_values_of_the_environment_are_shown_to_nobody(client: httpx.Client, bearer: Bearer) -> None:
    headers = bearer("paul", "acme")
    manifest = MANIFEST | {"environment": {"TOKEN": "s3cr3t-value"}}
    created = client.post("/api/executions", json=manifest, headers=headers)
    shown = client.get(created.headers["location"], headers=headers)
    assert shown.json()["manifest"]["environment"] == ["TOKEN"]
    assert "s3cr3t-value" not in created.text + shown.text
