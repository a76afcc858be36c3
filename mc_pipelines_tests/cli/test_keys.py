"""`mc keys` through the real command line, on a real database and keyring."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mc_pipelines.cli import context as cli_context
from mc_pipelines.cli.keys import app
from mc_pipelines.composition import Context
from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.errors import ConfigurationError
from mc_pipelines.foundation.settings import Settings
from mc_pipelines.keys.signers import active_signer
from mc_pipelines_tests.conftest import TestDatabase

pytestmark = pytest.mark.database


@pytest.fixture
def home(database: TestDatabase, clock: FrozenClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    context = Context(Settings(home=tmp_path, object_store_url=(tmp_path / "objects").as_uri()), database.app, clock)
    active_signer(database.app, context.keyring, clock)
    context.encrypted_store.put(
        "receipts/acme/r", b"x", tenant="acme", kind="receipt", object_id="r", content_type="text/plain"
    )
    monkeypatch.setattr(cli_context, "open_context", lambda: context)
    return context


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.stdout


def test_rotation_from_dry_run_to_evidence(home: Context) -> None:
    plan = json.loads(run("rotate", "--key", "signer", "--dry-run", "--json"))
    assert plan["changed"] is False
    assert len(home.keyring.inventory()) == 2

    for key in ("signer", "kek"):
        done = json.loads(run("rotate", "--key", key, "--json"))
        assert (done["state"], done["new"]) == ("RETIRED", f"local:{key}/2")
    shown = json.loads(run("show", done["rotation_id"], "--json"))
    assert [step["state"] for step in shown["history"]][-1] == "RETIRED"
    assert json.loads(run("show", done["rotation_id"], "--evidence")) == shown["evidence"]
    assert {one["key"] for one in json.loads(run("rotations", "--json"))} == {"signer", "kek"}
    listed = {one["ref"]: one for one in json.loads(run("ls", "--json"))}
    assert listed["local:kek/1"]["state"] == "disabled"
    assert listed["local:kek/2"]["sole_data_keys"] == 1
    for command in (("ls",), ("rotations",), ("show", done["rotation_id"])):
        assert run(*command)


def test_the_scan_fails_on_an_unsealed_object(home: Context) -> None:
    assert json.loads(run("scan", "--json"))["ok"] is True
    home.object_store.put("receipts/acme/plain", b"{}")
    report = json.loads(run("scan", "--json", code=1))
    assert [one["path"] for one in report["findings"]] == ["receipts/acme/plain"]
    assert "receipts/acme/plain" in run("scan", code=1)


def test_a_lost_keyring_is_not_replaced_by_a_new_one(home: Context, tmp_path: Path) -> None:
    keyring = tmp_path / "keys" / "keyring"
    keyring.rename(tmp_path / "backup")
    fresh = Context(home.settings, home.database, home.clock)
    with pytest.raises(ConfigurationError, match="keyring is missing"):
        _ = fresh.signer
    with pytest.raises(ConfigurationError, match="keyring is missing"):
        CliRunner().invoke(app, ["ls"], catch_exceptions=False)
    assert not keyring.exists()
    (tmp_path / "backup").rename(keyring)
    assert fresh.encrypted_store.get("receipts/acme/r", tenant="acme") == b"x"
