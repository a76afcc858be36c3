"""`mc provenance ingest` and `root`: a verdict for every file, whatever lies in the folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from mc_pipelines.attest.dsse import IN_TOTO_PAYLOAD_TYPE, sign
from mc_pipelines.attest.signer import LocalSigner
from mc_pipelines.cli.main import main
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.marking import Marking
from mc_pipelines.provenance.model import Purpose
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
    secret = ("ingest", str(folder / "sbom.json"), "--tenant", "public", "--shared", "--classification", "1", "--json")
    code, _, err = mc(*secret)
    assert (code, "classification" in err, "open" in err) == (2, True, True)
    assert mc("root", "--tenant", "public", "--json")[1]["root"] == mc("root", "--tenant", "none", "--json")[1]["root"]
    assert mc("ingest", str(folder / "sbom.json"), "--tenant", "public", "--shared", "--json")[0] == 0


def test_a_marking_is_said_and_checked(mc: Any, folder: Path, database: TestDatabase) -> None:
    given = ("ingest", str(folder / "sbom.json"), "--tenant", "acme", "--json")
    for wrong in (("--classification", "4"), ("--classification", "-1"), ("--purpose", "fun")):
        code, _, err = mc(*given, *wrong)
        assert (code, wrong[0].strip("-") in err) == (2, True)
    marked = ("--classification", "2", "--purpose", "audit", "--purpose", "security")
    assert mc(*given, *marked)[1][0]["status"] == "accepted"
    with database.app.begin(tenant=TenantId("acme")) as connection:
        labels = connection.execute(text("select label from provenance_documents")).scalars().all()
    assert [Marking.of_label(label) for label in labels] == [Marking(2, frozenset({Purpose.AUDIT, Purpose.SECURITY}))]
    code, [row], _ = mc(*given)
    assert (code, row["status"]) == (0, "known")
    assert "It was recorded with classification 2 for audit, security, and stays so." in row["remarks"]


def test_only_what_lists_is_of_low_value(mc: Any, folder: Path, database: TestDatabase) -> None:
    signed = sign(statement(SLSA_1, slsa_1()), IN_TOTO_PAYLOAD_TYPE, (LocalSigner.generate(),))
    (folder / "signed.json").write_bytes(signed.to_json())
    both = (str(folder / "sbom.json"), str(folder / "signed.json"))
    assert mc("ingest", *both, "--tenant", "acme", "--low-value", "--json")[0] == 0
    with database.app.begin(tenant=TenantId("acme")) as connection:
        rows = connection.execute(text("select name, prunable from provenance_documents")).all()
    assert {tuple(row) for row in rows} == {("sbom.json", True), ("signed.json", False)}


def test_no_such_instance_or_tenant(mc: Any, tmp_path: Path) -> None:
    code, _, err = mc("watch-dagster", str(tmp_path / "absent"), "--tenant", "acme")
    assert (code, "DAGSTER_HOME" in err) == (2, True)
    assert mc("ingest", str(tmp_path), "--tenant", "ACME!")[0] == 2
    code, _, err = mc("watch-dagster", str(tmp_path), "--tenant", "acme", "--purpose", "fun")
    assert (code, "No role reads" in err) == (2, True), "refused before the instance is looked at"
    before = sorted(tmp_path.iterdir())
    code, _, err = mc("watch-dagster", str(tmp_path), "--tenant", "acme")
    assert (code, "no Dagster instance" in err, sorted(tmp_path.iterdir())) == (2, True, before), (
        "nothing is made there"
    )


def test_questions_and_keeping(mc: Any, tmp_path: Path) -> None:
    """Each command over one small graph: what it prints for machines, and how it exits."""
    (tmp_path / "sbom.json").write_bytes(dump(bom()))
    assert mc("ingest", str(tmp_path / "sbom.json"), "--tenant", "acme")[0] == 0
    code, whole, _ = mc("gaps", "--tenant", "acme", "--json")
    assert code == 0
    assert whole["considered"]["which"] == "all"
    root = "pkg:pypi/a@1"
    code, graph, _ = mc("graph", root, "--tenant", "acme", "--depth", "5", "--direction", "ancestors", "--json")
    assert code == 0
    last = "pkg:pypi/b@1"
    assert [node["id"] for node in graph["nodes"]] == [root, last]
    code, paths, _ = mc("paths", root, last, "--tenant", "acme", "--json")
    assert (code, paths["found"]) == (0, "yes")
    assert mc("paths", last, root, "--direction", "ancestors", "--tenant", "acme", "--json")[1]["found"] == "no"
    nothing = ("--types", "signs", "--fan-out", "1")
    assert [node["id"] for node in mc("graph", root, "--tenant", "acme", *nothing, "--json")[1]["nodes"]] == [root]
    assert mc("paths", root, last, "--tenant", "acme", "--types", "produces", "--json")[1]["found"] == "no"
    code, _, said = mc("graph", root, "--tenant", "acme", "--kinds", "pakage")
    assert (code, "pakage" in said, "use manifest" in said) == (2, True, True)
    code, standing, _ = mc("snapshots", "--tenant", "acme", "--json")
    assert (code, standing["seq"], standing["generations"]) == (0, 1, [])
    code, impact, _ = mc("impact", last, "--tenant", "acme", "--plan", "--json")
    assert sum(impact["counts"]["total"].values()) >= 1
    assert mc("diff", root, root, "--tenant", "acme", "--json")[0] == 0
    assert mc("diff", root, last, "--tenant", "acme", "--json")[1]["counts"]["edgesOnlyA"] == 1
    out = tmp_path / "graph.dot"
    assert mc("export", root, "--tenant", "acme", "--format", "dot", "--out", str(out), "--json")[1]["complete"]
    assert out.read_text().startswith("digraph")
    assert mc("export", root, "--tenant", "acme", "--format", "png")[0] == 2
    code, ruling, _ = mc("explain", root, "--tenant", "acme", "--json")
    assert (code, ruling["result"]) == (1, "failed")
    (tmp_path / "proof.json").write_text(json.dumps(ruling))
    (tmp_path / "trust.json").write_text(json.dumps({"ci": LocalSigner.generate().public_key_pem.decode()}))
    proof = ("check-proof", str(tmp_path / "proof.json"), "--trust", str(tmp_path / "trust.json"), "--json")
    code, checked, _ = mc(*proof)
    assert (code, checked["ok"]) == (1, False)
    assert mc("what-if", "--tenant", "acme", "--key", "ci", "--json")[1]["counts"]["lost"] == 0
    assert mc("live", "add", root, "--tenant", "acme", "--json")[1]["changed"]
    assert not mc("live", "add", root, "--tenant", "acme", "--json")[1]["changed"]
    assert mc("hold", "add", root, "--tenant", "acme", "--json")[0] == 0
    assert len(mc("live", "ls", "--tenant", "acme", "--json")[1]) == 1
    assert mc("prune", "--tenant", "acme", "--json")[1] | {"roots": 0} == {
        "tenant": "acme", "dryRun": True, "documents": 0, "edges": 0, "byRule": {}, "protected": {}, "roots": 0,
        "files": [], "digests": [],
    }  # fmt: skip
    code, _, said = mc("delete-tenant", "--tenant", "acme", "--apply")
    assert code == 2
    assert "legal hold" in said
    assert mc("hold", "end", root, "--tenant", "acme")[0] == 0
    assert mc("delete-tenant", "--tenant", "acme", "--json")[1]["dryRun"]
    assert (
        mc("delete-tenant", "--tenant", "acme", "--keys", "--apply", "--json")[1]["rows"]["provenance_documents"] == 1
    )
    assert mc("graph", root, "--tenant", "acme")[0] == 2
    for bad in (("graph", "nonsense"), ("impact", ""), ("gate", root, "--policy", "absent.json"), ("restore", "x"),
                ("gate", root, "--out", "vsa.json"), ("explain", root, "--documents", "absent")):  # fmt: skip
        assert mc(*bad, "--tenant", "acme")[0] == 2


def test_a_proven_answer_is_checked_without_a_database(
    mc: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (folder / "below" / "cut.json").unlink()
    mc("ingest", str(folder / "sbom.json"), "--tenant", "acme", "--json")
    out, trust = tmp_path / "answer.json", tmp_path / "trust.json"
    node = next(each["purl"] for each in bom()["components"])
    asked = ("prove", node, "--tenant", "acme", "--direction", "both", "--out", str(out), "--json")
    assert mc("commit", "--tenant", "acme", "--json")[0] == 2
    assert mc(*asked)[0] == 2
    mc("build")
    code, rows, _ = mc("commit", "--json")
    assert (code, [row["tenant"] for row in rows]) == (0, ["acme"])
    assert mc("commit", "--tenant", "acme", "--json")[1] == rows
    assert mc(*asked)[1]["logProofs"] is False
    assert mc("check-answer", str(out), "--json")[0] == 1, "no shared generation is in it"
    check = ("check-answer", str(out), "--own-only", "--json")
    assert mc(*check)[0] == 0
    for command in (("log", "checkpoint"), ("log", "trust", "--out", str(trust))):
        with pytest.raises(SystemExit) as end:
            main(list(command))
        assert not end.value.code
    capsys.readouterr()
    code, found, _ = mc(*check, "--trust", str(trust))
    assert (code, "log proof" in found["problems"][0]) == (1, True)
    assert mc(*asked)[1]["logProofs"] is True
    monkeypatch.setenv("MC_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    code, found, _ = mc(*check, "--trust", str(trust))
    assert (code, found["problems"]) == (0, [])
    assert any("entry 0 of log" in line for line in found["proved"])
    document = json.loads(out.read_bytes())
    (tmp_path / "beside.tlog-proof").write_text(document["partitions"][0].pop("logProof"))
    document["partitions"][0]["logProof"] = None
    out.write_text(json.dumps(document))
    beside = ("--log-proof", str(tmp_path / "beside.tlog-proof"))
    assert mc(*check, "--trust", str(trust), *beside)[0] == 0
    assert mc(*check, *beside)[0] == 2
    document["partitions"][0]["generation"] = "0" * 40
    out.write_text(json.dumps(document))
    assert mc(*check, "--trust", str(trust), *beside)[0] == 1
    document["answer"]["edges"].pop()
    out.write_text(json.dumps(document))
    assert mc(*check)[0] == 1
    out.write_bytes(out.read_bytes()[:-40])
    assert mc(*check)[0] == 2
    assert mc("check-answer", str(tmp_path / "absent.json"), "--json")[0] == 2
