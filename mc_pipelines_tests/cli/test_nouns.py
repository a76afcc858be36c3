"""The nouns of foundation on the command line: exit codes, JSON, and that saying it twice changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import text

from mc_pipelines.cli.main import main
from mc_pipelines_tests.conftest import TestDatabase

pytestmark = pytest.mark.database


@pytest.fixture(autouse=True)
def _environment(database: TestDatabase, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MC_DATABASE_URL", database.app.url)
    monkeypatch.setenv("MC_HOME", str(tmp_path))


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["mc", *arguments])
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    return int(end.value.code or 0)


def test_a_flag_set_twice_is_one_act_of_the_audit_log(
    database: TestDatabase, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for changed in (True, False):
        assert _run(monkeypatch, "flags", "set", "sla_credits", "off", "--json") == 0
        assert json.loads(capsys.readouterr().out)["changed"] is changed
    with database.app.begin() as connection:
        assert connection.execute(text("select count(*) from flag")).scalar_one() == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("flags", "set", "sla_credits", "maybe"), "write on or off"),
        (("flags", "set", "sla_credit", "on"), "sla_credit"),
        (("tenant", "put", "acme", "--zone", "Mars/X", "--currency", "EUR"), "zone = Mars/X"),
        (("tenant", "show", "umbrella"), "umbrella"),
        (("people", "show", "ada"), "Not a UUID"),
        (("people", "add-key", "--issuer", "i", "--subject", "1", "/nowhere"), "cannot be read"),
        (("db", "bootstrap"), "--url"),
        (("db", "upgrade"), "MC_DATABASE_ADMIN_URL"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    assert _run(monkeypatch, *arguments) == 2
    spoken = capsys.readouterr()
    assert said in spoken.err
    assert spoken.err.count("\n") == 1
    assert spoken.out == ""


def test_a_person_and_a_key_that_stays_with_that_person(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    file = tmp_path / "key.pem"
    file.write_bytes(public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    for subject in ("1", "2"):
        assert _run(monkeypatch, "people", "put", "--issuer", "i", "--subject", subject, "--name", "Ada") == 0
    assert _run(monkeypatch, "people", "add-key", "--issuer", "i", "--subject", "1", str(file)) == 0
    assert _run(monkeypatch, "people", "add-key", "--issuer", "i", "--subject", "2", str(file)) == 2
    capsys.readouterr()
    assert _run(monkeypatch, "people", "ls", "--json") == 0
    assert sorted(len(person["keys"]) for person in json.loads(capsys.readouterr().out)) == [0, 1]


def test_a_token_for_nobody_on_record_warns_and_is_still_a_token(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(monkeypatch, "token", "--subject", "nobody") == 0
    shown = capsys.readouterr()
    assert shown.out.count(".") == 2
    assert "no person is recorded as 'nobody'" in shown.err
    assert "mc people put" in shown.err
    local = "urn:maestro-conductor:local-issuer"
    assert _run(monkeypatch, "people", "put", "--issuer", local, "--subject", "nobody", "--name", "N") == 0
    capsys.readouterr()
    assert _run(monkeypatch, "token", "--subject", "nobody") == 0
    assert capsys.readouterr().err == ""


def test_a_token_needs_no_database(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MC_DATABASE_URL", "postgresql://mc_app@127.0.0.1:1/mc")
    assert _run(monkeypatch, "token", "--subject", "ada") == 0
    assert capsys.readouterr().err == ""


def test_status_and_doctor_tell_the_same_server(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(monkeypatch, "db", "status", "--json") == 0
    status = json.loads(capsys.readouterr().out)
    assert (status["role"], status["embedded"], status["behind"], status["newer"]) == ("mc_app", False, False, False)
    assert _run(monkeypatch, "doctor", "--json") == 0
    checks = {item["check"]: item for item in json.loads(capsys.readouterr().out)["checks"]}
    assert status["server_version"] in checks["database"]["found"]
    assert checks["schema"]["state"] == "ok"


@pytest.mark.parametrize(("revision", "behind"), [("9999_future", False), ("0003_keys", True)])
def test_status_tells_a_newer_schema_from_one_that_is_behind(
    database: TestDatabase,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    revision: str,
    behind: bool,
) -> None:
    with database.owner.begin() as connection:
        connection.execute(text("update alembic_version set version_num = :revision"), {"revision": revision})
    assert _run(monkeypatch, "db", "status", "--json") == 0
    status = json.loads(capsys.readouterr().out)
    assert (status["behind"], status["newer"]) == (behind, not behind)


def test_status_in_production_refuses_the_embedded_server(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MC_DATABASE_URL")
    monkeypatch.setenv("MC_PROFILE", "production")
    assert _run(monkeypatch, "db", "status", "--json") == 2
    shown = capsys.readouterr()
    assert "MC_DATABASE_URL" in shown.out + shown.err


def test_doctor_fails_with_the_mend_when_the_database_is_down(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MC_DATABASE_URL", "postgresql://mc_app@127.0.0.1:1/mc")
    assert _run(monkeypatch, "doctor", "--json") == 1
    (failed,) = [item for item in json.loads(capsys.readouterr().out)["checks"] if item["state"] == "fail"]
    assert "does not answer" in failed["found"]
    assert failed["mend"]
