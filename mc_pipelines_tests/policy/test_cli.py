"""`mc policy` and `mc rollout`, through the command line's own entry."""

import json
import shutil
from types import SimpleNamespace

import pytest

import mc_pipelines.cli.context
from mc_pipelines.cli.main import main
from mc_pipelines.decision.packs import load_pack, policy_root
from mc_pipelines.foundation.object_store import open_object_store
from mc_pipelines.policy.bundles import open_bundle
from mc_pipelines.policy.metrics import rollout_phase_metrics


def run(capsys, monkeypatch, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["mc", *arguments])
    try:
        main(list(arguments))
        code = 0
    except SystemExit as left:
        code = int(left.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def mc(capsys, monkeypatch):
    return lambda *arguments: run(capsys, monkeypatch, *arguments)


def test_gate_passes_on_our_packs(mc):
    code, out, _ = mc("policy", "gate")
    assert code == 0
    assert "access, graph, placement, storage" in out


def test_gate_fails_on_a_violation(mc, monkeypatch, tmp_path):
    shutil.copytree(policy_root(), tmp_path / "policy")
    module = tmp_path / "policy" / "access" / "access.rego"
    module.write_text(module.read_text().replace("default allow := false", "default allow := true"))
    monkeypatch.setenv("MC_POLICY_DIR", str(tmp_path / "policy"))
    code, out, _ = mc("policy", "gate")
    assert code == 1
    assert "MC001" in out


def test_check_says_file_and_line_of_old_syntax(mc, data_dir):
    code, out, _ = mc("policy", "check", str(data_dir / "policy" / "packs" / "gatekeeper-v0-sample"), "--json")
    assert code == 1
    first = json.loads(out)[0]
    assert (first["code"], first["line"]) == ("MC010", 3)


def test_check_against_the_old_revision(mc, tmp_path):
    folder = tmp_path / "storage"
    shutil.copytree(policy_root() / "storage", folder)
    assert mc("policy", "check", str(folder), "--against", str(policy_root() / "storage"))[0] == 0


def test_tests_of_a_pack(mc):
    code, out, _ = mc("policy", "test", "storage")
    assert (code, out.strip()) == (0, "storage: 7 of 7 pass, 100% of lines reached")


def test_build_twice_the_same(mc, tmp_path):
    first = json.loads(mc("policy", "build", "storage", "--output", str(tmp_path), "--json")[1])
    second = json.loads(mc("policy", "build", "storage", "--output", str(tmp_path / "b.tar.gz"), "--json")[1])
    assert first["digest"] == second["digest"]
    assert open_bundle((tmp_path / "b.tar.gz").read_bytes()).revision == first["revision"]


def test_decide(mc, tmp_path):
    path = tmp_path / "input.json"
    path.write_text('{"kind": "log", "tenant": "acme"}')
    code, out, _ = mc("policy", "decide", "storage", "deny", "--input", str(path))
    assert code == 0
    assert {denial["rule"] for denial in json.loads(out)} == {"unencrypted", "key"}
    assert mc("policy", "decide", "storage", "nothing", "--input", str(path))[0] == 1
    path.write_text("{")
    code, _, err = mc("policy", "decide", "storage", "deny", "--input", str(path))
    assert code == 2
    assert len(err.splitlines()) == 1


@pytest.mark.database
def test_a_rollout_by_hand(mc, monkeypatch, database, clock, tmp_path):
    store = open_object_store((tmp_path / "objects").as_uri())
    context = SimpleNamespace(database=database.app, clock=clock, object_store=store)
    monkeypatch.setattr(mc_pipelines.cli.context, "open_context", lambda: context)
    folder = tmp_path / "placement"
    shutil.copytree(policy_root() / "placement", folder)
    start = ("rollout", "start", "placement", "--challenger", str(folder), "--json")
    code, _, err = mc(*start)
    assert code == 2
    assert "already has this revision" in err
    data = json.loads((folder / "data.json").read_text())
    data["regions"]["AZURE"]["westeurope"] = {"geographies": ["eu"], "data_class": "internal"}
    (folder / "data.json").write_text(json.dumps(data))
    assert mc(*start)[0] == 1, "the pack's own test still says that westeurope is refused"
    test_file = folder / "placement_test.rego"
    test_file.write_text(test_file.read_text().replace("westeurope", "nowhere"))
    begun = json.loads(mc(*start)[1])
    assert begun["baseline"] == load_pack("placement").revision
    assert json.loads(mc(*start)[1]) == begun
    rollout = begun["rollout"]
    assert json.loads(mc("rollout", "hold", rollout, "--reason", "look", "--json")[1])["held"] is True
    assert json.loads(mc("rollout", "resume", rollout, "--reason", "go", "--json")[1])["held"] is False
    assert mc("rollout", "tick", "--budget", "stable")[1].strip() == "nothing moved"
    assert json.loads(mc("rollout", "abort", rollout, "--reason", "no", "--json")[1])["phase"] == "aborted"
    shown = json.loads(mc("rollout", "show", rollout, "--json")[1])
    assert [document["act"] for document in shown["history"]] == ["started", "held", "resumed", "aborted"]
    assert len(json.loads(mc("rollout", "ls", "--json")[1])) == 1
    assert mc("rollout", "show", "019bd7a0-0000-7000-8000-000000000000")[0] == 2
    assert mc("policy", "rollback", "placement")[0] == 2
    with database.app.begin() as connection:
        (gauge,) = rollout_phase_metrics(connection)
    assert {sample.labels["phase"] for sample in gauge.samples if sample.value} == {"aborted"}
