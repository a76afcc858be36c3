"""Health, readiness, metrics, HEAD, 405, problems of every kind: on the whole application."""

import gc

import pytest
from fastapi.testclient import TestClient

from mc_pipelines.api.access import GuardedRoute
from mc_pipelines.api.app import create_app
from mc_pipelines.api.routes import all_routers
from mc_pipelines.composition import Context
from mc_pipelines.decision.packs import loaded
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.errors import UnavailableError
from mc_pipelines.foundation.settings import Settings
from mc_pipelines_tests.api.conftest import problem

pytestmark = pytest.mark.database


def test_health_needs_nothing(client):
    answer = client.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")


def test_somebody_may_use_every_route(context):
    """A route that the access pack does not know answers nobody."""
    routes = [each for router in all_routers(context.settings) for each in router.routes]
    guarded = [each for each in routes if isinstance(each, GuardedRoute)]
    served = {f"{method} {each.path_format}" for each in guarded for method in each.methods}
    assert len(served) > 20
    assert sorted(served - set(loaded("access").data["operations"])) == []


def test_health_answers_whoever_sends_a_token_that_is_not_ours(client):
    assert client.get("/health", headers={"Authorization": "Bearer nonsense"}).status_code == 200


def test_ready_names_the_revision(client):
    assert client.get("/ready").json() == {"status": "ready", "revision": "0012_api"}


def test_not_ready_without_the_schema(client, database):
    with database.owner.begin() as connection:
        connection.exec_driver_sql("update alembic_version set version_num = '0011_estimator'")
    found = problem(client.get("/ready"), 503, "unavailable")
    assert (found["field"], found["value"]) == ("revision", "0011_estimator")
    assert "mc db upgrade" in found["mend"]


def test_not_ready_without_a_database(context, tmp_path):
    nowhere = Database(f"postgresql://mc_app@localhost:1/none?host={tmp_path}")
    client = TestClient(create_app(Context(context.settings, nowhere, context.clock)))
    assert client.get("/health").status_code == 200
    found = problem(client.get("/ready"), 503, "unavailable")
    assert "Retry-After" in client.get("/ready").headers
    assert found["field"] == "MC_DATABASE_URL"
    nowhere.dispose()
    gc.collect()


@pytest.mark.parametrize("failure", [OSError("no route to host"), UnavailableError("the bucket is gone")])
def test_not_ready_without_an_object_store(context, client, failure):
    class Gone:
        def exists(self, path):  # noqa: ARG002
            raise failure

    context.__dict__["object_store"] = Gone()
    found = problem(client.get("/ready"), 503, "unavailable")
    assert found["field"] == "MC_OBJECT_STORE_URL"
    assert str(failure).rstrip(".") in found["detail"]


def test_metrics_hold_business_and_latency(client):
    client.get("/api/policy/rollout/whatever")
    text = client.get("/metrics").text
    assert 'mc_metrics_source_up{source="policy"} 1.0' in text
    assert 'route="/api/policy/rollout/{rollout}",status="401"' in text
    assert "whatever" not in text


def test_metrics_ask_for_their_token(context, app):
    settings = Settings(home=context.settings.home, metrics_token="scrape me")
    client = TestClient(create_app(Context(settings, context.database, context.clock)))
    problem(client.get("/metrics"), 401, "unauthenticated")
    problem(client.get("/metrics", headers={"Authorization": "Bearer other"}), 401, "unauthenticated")
    assert client.get("/metrics", headers={"Authorization": "Bearer scrape me"}).status_code == 200


def test_head_is_get_without_a_body(client):
    get, head = client.get("/health"), client.head("/health")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"]


def test_head_of_a_problem_has_no_body(client):
    answer = client.head("/api/policy/rollout")
    assert (answer.status_code, answer.content) == (401, b"")
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [("DELETE", "/health", "GET, HEAD"), ("PUT", "/api/policy/rollout", "GET, HEAD, POST")],
)
def test_405_names_every_method_of_the_path(client, method, path, allow):
    answer = client.request(method, path)
    problem(answer, 405, "http-405")
    assert answer.headers["allow"] == allow


@pytest.mark.parametrize(
    "path", ["/nowhere", "/health/", "http://testserver//health", "/api/policy/rollout/a/b", "/redoc"]
)
def test_unknown_path_is_a_problem(client, path):
    problem(client.get(path), 404, "http-404")


def test_every_answer_has_an_id_and_safe_headers(client):
    first, second = client.get("/health"), client.get("/nowhere")
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    for answer in (first, second):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_unforeseen_error_says_nothing_of_its_cause(app, client, monkeypatch, bearer, capsys):
    def fail(_connection):
        raise RuntimeError("the secret is 42")

    monkeypatch.setattr("mc_pipelines.api.routes.rollouts.list_rollouts", fail)
    answer = client.get("/api/policy/rollout", headers=bearer("olga"))
    found = problem(answer, 500, "internal")
    assert "42" not in answer.text
    assert "RuntimeError" not in answer.text
    assert "X-Request-Id" in found["mend"]
    logged = capsys.readouterr()
    assert answer.headers["x-request-id"] in logged.out + logged.err


def test_lost_connection_is_503(client, database, bearer, monkeypatch):
    def lose(connection):
        connection.exec_driver_sql("select pg_terminate_backend(pg_backend_pid())")

    monkeypatch.setattr("mc_pipelines.api.routes.rollouts.list_rollouts", lose)
    answer = client.get("/api/policy/rollout", headers=bearer("olga"))
    problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"] == "5"


def test_the_bare_address_points_to_pages_that_are_there(client):
    places = client.get("/").json()
    assert {"/docs", "/provenance"} <= set(places.values())
    assert [client.get(path).status_code for path in places.values()] == [200] * len(places)


def test_docs_load_nothing_from_elsewhere(client):
    page = client.get("/docs")
    assert page.status_code == 200
    assert "<script" not in page.text
    assert "http://" not in page.text
    assert "https://" not in page.text.replace("https://maestro-conductor.example", "")
    assert "POST /api/policy/rollout" in page.text
