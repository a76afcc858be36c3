"""`mc estimator register|promote|rollback` through the real command line: keys of people, refusals, the audit log."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from sqlalchemy import text

from mc_pipelines.attest.dsse import IN_TOTO_PAYLOAD_TYPE, sign
from mc_pipelines.attest.key_history import KeyRecord, record_key
from mc_pipelines.attest.signer import LocalSigner
from mc_pipelines.cli import context as cli_context
from mc_pipelines.cli.main import main
from mc_pipelines.composition import Context
from mc_pipelines.estimator.registry import path_of
from mc_pipelines.foundation.object_store_local import LocalObjectStore
from mc_pipelines.foundation.settings import Settings
from mc_pipelines_tests.cli.test_estimator import trace  # noqa: F401 - a fixture
from mc_pipelines_tests.policy.people import register as person

pytestmark = pytest.mark.database


@pytest.fixture
def shell(database, clock, tmp_path, monkeypatch, capsys):
    context = Context(Settings(home=tmp_path / "mc"), database.app, clock)
    signer = LocalSigner.generate()
    context.__dict__.update(signer=signer, object_store=LocalObjectStore(tmp_path / "store"))  # cached properties
    with database.app.begin() as connection:
        record_key(connection, KeyRecord(signer.key_id, signer.public_key_pem, clock.now()), now=clock.now())
    monkeypatch.setattr(cli_context, "open_context", lambda: context)
    people = {}
    for name, role in {"olga": "operator", "sara": "security"}.items():
        with database.app.begin() as connection:
            found = person(connection, name, role, now=clock.now())
        path = tmp_path / f"{name}.pem"
        path.write_bytes(found.signer.private_key_pem())
        people[name] = SimpleNamespace(signed=("--as", found.person.person_id, "--key", f"file:{path}"), of=found)

    def run(*arguments, code=0, group="estimator"):
        with pytest.raises(SystemExit) as stopped:
            raise SystemExit(main([str(one) for one in (group, *arguments)]))
        assert (stopped.value.code or 0) == code
        printed = capsys.readouterr()
        return printed.err if code else printed.out

    return SimpleNamespace(run=run, people=people, store=context.object_store)


def test_one_proposes_another_lets_it_serve_and_nobody_else_can(shell, database, trace, tmp_path):  # noqa: F811
    olga, sara = shell.people["olga"], shell.people["sara"]
    model = json.loads(shell.run("register", *olga.signed, "--data", trace, "--json"))["model_id"]
    assert "second person" in shell.run("promote", model, *olga.signed, "--data", trace, code=2)
    assert "Give your key" in shell.run("promote", model, *sara.signed[:2], "--data", trace, code=2)

    payload, envelope = tmp_path / "payload", tmp_path / "envelope"
    shell.run("promote", model, *sara.signed[:2], "--payload", payload)
    envelope.write_bytes(sign(payload.read_bytes(), IN_TOTO_PAYLOAD_TYPE, [sara.of.signer]).to_json())
    served = json.loads(
        shell.run("promote", model, *sara.signed[:2], "--envelope", envelope, "--data", trace, "--json")
    )
    assert (served["version"], served["model_id"]) == (1, model)
    assert all(check["passed"] for check in served["checks"])

    assert [row["serves"] for row in json.loads(shell.run("models", "--json"))] == [True]
    assert "No earlier model" in shell.run("rollback", *sara.signed, code=2)
    with database.app.begin() as connection:
        acts = connection.execute(text("select act from attest_log_leaf order by act")).scalars().all()
    assert acts == ["estimator.model-registered", "estimator.promote", "estimator.promotion-refused"]


def test_the_graph_shows_what_a_model_was_trained_from(shell, database, trace):  # noqa: F811
    def register(who):
        return json.loads(shell.run("register", *who.signed, "--data", trace, "--json"))

    def graph(model):
        asked = ("graph", model, "--tenant", "public", "--verified", "--json")
        found = json.loads(shell.run(*asked, group="provenance"))
        return {(each["from"], each["type"], each["to"]) for each in found["edges"]}

    def run_of(model):
        return f"run:https://maestro-conductor.example/estimator/{model}"

    olga, sara = shell.people["olga"], shell.people["sara"]
    first = register(olga)
    assert first["lineage"] == "verified"
    model = first["model_id"]
    data = json.loads(shell.store.get(path_of(model)))["training"]["data_digest"]
    edges = graph(model)
    assert {(run_of(model), "produces", model), (run_of(model), "uses", data)} <= edges
    assert {kind for _, kind, _ in edges} == {"uses", "produces", "signs", "verifies"}
    assert register(olga) == first
    with database.app.begin(tenant="public") as connection:
        assert connection.execute(text("select count(*) from provenance_documents")).scalar_one() == 1

    shell.run("promote", model, *sara.signed, "--data", trace)
    second = register(olga)["model_id"]
    run = run_of(second)
    assert {each for each in graph(second) if each[0] == run} == {
        (run, "produces", second),
        (run, "uses", data),
        (run, "uses", model),
    }
