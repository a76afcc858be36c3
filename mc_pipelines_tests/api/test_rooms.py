"""Credits and the graph over HTTP: who may see what, what is switched off, and what an answer is."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from mc_pipelines_tests.api.conftest import Headers, problem

pytestmark = pytest.mark.database
Bearer = Callable[..., Headers]
CREDIT = {
    "tenant": "acme",
    "service": "executions",
    "period": "2025-12-01/2025-12-31",
    "contract": "sha256:" + "a" * 64,
}
SBOM = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.5",
    "version": 1,
    "metadata": {"component": {"type": "application", "name": "app", "version": "1", "purl": "pkg:pypi/app@1"}},
    "components": [{"type": "library", "name": "lib", "version": "2", "purl": "pkg:pypi/lib@2", "bom-ref": "lib"}],
    "dependencies": [{"ref": "pkg:pypi/app@1", "dependsOn": ["lib"]}],
}


def test_credits_are_listed_to_finance_and_to_the_tenant_only(client: httpx.Client, bearer: Bearer) -> None:
    assert client.get("/api/credits", headers=bearer("mia")).json() == {"drafts": [], "notes": []}
    assert client.get("/api/credits", headers=bearer("rita", "acme")).status_code == 200
    problem(client.get("/api/credits?tenant=globex", headers=bearer("rita", "acme")), 403, "forbidden")
    problem(client.get("/api/credits", headers=bearer("olga")), 403, "forbidden")
    problem(client.get("/api/credits"), 401, "unauthenticated")


@pytest.mark.parametrize(
    ("question", "who", "field"),
    [
        ("/api/credits?tennant=acme", "mia", "tennant"),
        ("/api/credits?tenant=acme&tenant=globex", "mia", "tenant"),
        ("/api/policy/rollout?phase=warn", "olga", "phase"),
    ],
)
def test_a_parameter_that_a_list_does_not_know_is_refused(
    client: httpx.Client, bearer: Bearer, question: str, who: str, field: str
) -> None:
    assert problem(client.get(question, headers=bearer(who)), 400, "invalid-query")["field"] == field


def test_a_tenant_without_a_contract_has_no_credit(client: httpx.Client, bearer: Bearer) -> None:
    found = problem(client.post("/api/credits", json=CREDIT, headers=bearer("mia")), 404, "not-found")
    assert found["field"] == "service"


@pytest.mark.parametrize(
    ("change", "field"),
    [({"tenant": "ACME"}, "tenant"), ({"surprise": 1}, "surprise"), ({"expected": 12.5}, "expected")],
)
def test_a_malformed_request_names_its_field(
    client: httpx.Client, bearer: Bearer, change: dict[str, Any], field: str
) -> None:
    response = client.post("/api/credits", json=CREDIT | change, headers=bearer("mia"))
    assert response.status_code in {400, 422}
    assert response.json()["field"] == field


def test_an_unknown_credit_is_not_found(client: httpx.Client, bearer: Bearer) -> None:
    problem(client.get("/api/credits/" + "0" * 64, headers=bearer("mia")), 404, "not-found")
    answer = client.post("/api/credits/" + "0" * 64 + "/reject", json={"reason": "no such"}, headers=bearer("carl"))
    problem(answer, 404, "not-found")
