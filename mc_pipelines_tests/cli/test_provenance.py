"""`mc provenance ingest` and `root`: a verdict for every file, whatever lies in the folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mc_pipelines.attest.dsse import IN_TOTO_PAYLOAD_TYPE, sign
from mc_pipelines.attest.signer import LocalSigner
from mc_pipelines.cli.main import main
from mc_pipelines_tests.conftest import TestDatabase
from mc_pipelines_tests.provenance.readers.documents import SLSA_1, bom, dump, slsa_1, statement

pytestmark = pytest.mark.database


@pytest.fixture
def mc(database: TestDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Any:
    monkeypatch.setenv("MC_DATABASE_URL", database.app.url)
    monkeypatch.setenv("MC_HOME", str(tmp_path / "mc"))

    def run(*arguments: str) -> tuple[int, Any, str]:
        with pytest.raises(SystemExit) as end:
            main(["provenance", *arguments])
        spoken = capsys.readouterr()
        found = json.loads(spoken.out) if "--json" in arguments and spoken.out else spoken.out
        return int(end.value.code or 0), found, spoken.err

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "documents"
    (found / "below").mkdir(parents=True)
    (found / "sbom.json").write_bytes(dump(bom()))
    (found / "below" / "cut.json").write_bytes(dump(bom())[:50])
    (found / "README.md").write_text("no document")
    return found


def test_a_folder(mc: Any, folder: Path) -> None:
    code, rows, _ = mc("ingest", str(folder), str(folder / "absent.json"), "--tenant", "acme", "--json")
    assert code == 1
    verdicts = {Path(row["document"]).name: (row["status"], row["reason"] or "") for row in rows}
    assert verdicts["sbom.json"] == ("accepted", "")
    for name, says in (("cut.json", "cut off"), ("README.md", "Not a provenance"), ("absent.json", "cannot be read")):
        assert verdicts[name][0] == "refused"
        assert says in verdicts[name][1]
    _, before, _ = mc("root", "--tenant", "acme", "--json")
    code, rows, _ = mc("ingest", str(folder / "sbom.json"), "--tenant", "acme", "--json")
    assert (code, rows[0]["status"]) == (0, "known")
    assert mc("root", "--tenant", "acme", "--json")[1] == before


def test_signatures_are_judged_by_the_trust_file(
    mc: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer = LocalSigner.generate()
    (folder / "signed.json").write_bytes(sign(statement(SLSA_1, slsa_1()), IN_TOTO_PAYLOAD_TYPE, (signer,)).to_json())
    trust = tmp_path / "trust.json"
    trust.write_text(json.dumps({"keys": [{"holder": "builder", "pem": signer.public_key_pem.decode()}]}))
    signed = str(folder / "signed.json")
    assert mc("ingest", signed, "--tenant", "bolt", "--json")[1][0]["verification"] == "no-trust-root"
    monkeypatch.setenv("MC_PROVENANCE_TRUST", str(trust))
    from mc_pipelines.foundation.settings import load_settings

    load_settings.cache_clear()
    assert mc("ingest", signed, "--tenant", "acme", "--json")[1][0]["verification"] == "verified"
    trust.write_text("{")
    code, _, err = mc("ingest", signed, "--tenant", "acme", "--json")
    assert code == 2
    assert "trust file" in err


def test_the_shared_partition_asks_for_it(mc: Any, folder: Path) -> None:
    code, _, err = mc("ingest", str(folder / "sbom.json"), "--tenant", "public", "--json")
    assert (code, "operator" in err) == (2, True)
    assert mc("ingest", str(folder / "sbom.json"), "--tenant", "public", "--shared", "--json")[0] == 0


def test_no_such_instance_or_tenant(mc: Any, tmp_path: Path) -> None:
    code, _, err = mc("watch-dagster", str(tmp_path / "absent"), "--tenant", "acme")
    assert (code, "DAGSTER_HOME" in err) == (2, True)
    assert mc("ingest", str(tmp_path), "--tenant", "ACME!")[0] == 2
