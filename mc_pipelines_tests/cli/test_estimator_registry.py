"""`mc estimator register|promote|rollback` through the real command line: keys of people, refusals, the audit log."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from sqlalchemy import text

from mc_pipelines.attest.dsse import IN_TOTO_PAYLOAD_TYPE, sign
from mc_pipelines.attest.signer import LocalSigner
from mc_pipelines.cli import context as cli_context
from mc_pipelines.cli.main import main
from mc_pipelines.foundation.object_store_local import LocalObjectStore
from mc_pipelines_tests.cli.test_estimator import trace  # noqa: F401 - a fixture
from mc_pipelines_tests.policy.people import register as person

pytestmark = pytest.mark.database


@pytest.fixture
def shell(database, clock, tmp_path, monkeypatch, capsys):
    context = SimpleNamespace(
        database=database.app,
        clock=clock,
        signer=LocalSigner.generate(),
        object_store=LocalObjectStore(tmp_path / "store"),
    )
    monkeypatch.setattr(cli_context, "open_context", lambda: context)
    people = {}
    for name, role in {"olga": "operator", "sara": "security"}.items():
        with database.app.begin() as connection:
            found = person(connection, name, role, now=clock.now())
        path = tmp_path / f"{name}.pem"
        path.write_bytes(found.signer.private_key_pem())
        people[name] = SimpleNamespace(signed=("--as", found.person.person_id, "--key", f"file:{path}"), of=found)

    def run(*arguments, code=0):
        with pytest.raises(SystemExit) as stopped:
            raise SystemExit(main([str(one) for one in ("estimator", *arguments)]))
        assert (stopped.value.code or 0) == code
        printed = capsys.readouterr()
        return printed.err if code else printed.out

    return SimpleNamespace(run=run, people=people)


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
