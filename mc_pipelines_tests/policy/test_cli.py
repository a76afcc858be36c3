"""`mc policy` and `mc rollout`, through the command line's own entry."""

import json
import shutil
from types import SimpleNamespace

import pytest

import mc_pipelines.cli.context
from mc_pipelines.attest.dsse import IN_TOTO_PAYLOAD_TYPE, sign
from mc_pipelines.attest.key_history import KeyRecord, KeyStatus, record_key
from mc_pipelines.attest.signer import LocalSigner
from mc_pipelines.cli.main import main
from mc_pipelines.decision.packs import load_pack, policy_root
from mc_pipelines.foundation.object_store import open_object_store
from mc_pipelines.policy.bundles import load_bundle, open_bundle
from mc_pipelines.policy.metrics import rollout_phase_metrics
from mc_pipelines_tests.policy.people import register

_PEOPLE = {"ada": "operator", "sara": "security"}


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
    assert "access, budget, graph, placement, storage" in out


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
    service = LocalSigner.generate()
    with database.app.begin() as connection:
        record = KeyRecord(service.key_id, service.public_key_pem, clock.now(), status=KeyStatus.ACTIVE)
        record_key(connection, record, now=clock.now())
        people = {name: register(connection, name, role, now=clock.now()) for name, role in _PEOPLE.items()}
    for name, one in people.items():
        (tmp_path / f"{name}.pem").write_bytes(one.signer.private_key_pem())
    context = SimpleNamespace(database=database.app, clock=clock, object_store=store, signer=service)

    def signed_by(name: str) -> tuple[str, ...]:
        return "--as", str(people[name].person.person_id), "--key", f"file:{tmp_path / name}.pem"

    monkeypatch.setattr(mc_pipelines.cli.context, "open_context", lambda: context)
    folder = tmp_path / "placement"
    shutil.copytree(policy_root() / "placement", folder)
    start = ("rollout", "start", "placement", "--challenger", str(folder), *signed_by("ada"), "--json")
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
    load_bundle(store, "placement", begun["challenger"], trusted={service.key_id: service.public_key_pem})
    assert "1 of 2 people" in json.loads(mc("rollout", "approve", rollout, *signed_by("ada"), "--json")[1])["missing"]
    assert mc("rollout", "approve", rollout, "--as", str(people["sara"].person.person_id))[0] == 2
    assert mc("rollout", "show", rollout, "--payload", str(tmp_path / "payload.json"))[0] == 0
    elsewhere = sign((tmp_path / "payload.json").read_bytes(), IN_TOTO_PAYLOAD_TYPE, [people["sara"].signer])
    (tmp_path / "envelope.json").write_bytes(elsewhere.to_json())
    envelope = ("--as", str(people["sara"].person.person_id), "--envelope", str(tmp_path / "envelope.json"))
    assert json.loads(mc("rollout", "approve", rollout, *envelope, "--json")[1])["missing"] is None
    assert len(json.loads(mc("rollout", "show", rollout, "--json")[1])["signatures"]) == 2
    assert json.loads(mc("rollout", "hold", rollout, "--reason", "look", "--json")[1])["held"] is True
    assert json.loads(mc("rollout", "resume", rollout, "--reason", "go", "--json")[1])["held"] is False
    assert mc("rollout", "tick", "--budget", "stable")[1].strip() == "nothing moved"
    assert json.loads(mc("rollout", "abort", rollout, "--reason", "no", "--json")[1])["phase"] == "aborted"
    shown = json.loads(mc("rollout", "show", rollout, "--json")[1])
    assert [document["act"] for document in shown["history"]] == ["started", "held", "resumed", "aborted"]
    assert len(json.loads(mc("rollout", "ls", "--json")[1])) == 1
    assert mc("rollout", "show", "019bd7a0-0000-7000-8000-000000000000")[0] == 2
    assert mc("policy", "rollback", "placement", "--reason", "r")[0] == 2
    with database.app.begin() as connection:
        (gauge,) = rollout_phase_metrics(connection)
    assert {sample.labels["phase"] for sample in gauge.samples if sample.value} == {"aborted"}
