"""`mc credits`, `mc pack` and `mc verify` through the real command line, from draft to a pack verified offline."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mc_pipelines.attest.trust import Trust
from mc_pipelines.cli import context as cli_context
from mc_pipelines.cli.main import main
from mc_pipelines.foundation.settings import Settings
from mc_pipelines_tests.sla.conftest import World, world  # noqa: F401 - a fixture
from mc_pipelines_tests.sla.test_pack import trust_of

pytestmark = pytest.mark.database


class Shell:
    """Runs commands as `mc` does and keeps what they print."""

    def __init__(self, capsys: pytest.CaptureFixture[str], folder: Path, people: World) -> None:
        self._capsys = capsys
        self.folder = folder
        self.world = people

    def run(self, *arguments: object, code: int = 0) -> str:
        with pytest.raises(SystemExit) as stopped:
            raise SystemExit(main([str(one) for one in arguments]))
        printed = self._capsys.readouterr()
        assert (stopped.value.code or 0) == code, (arguments, printed)
        return printed.out if code != 2 else printed.err

    def json(self, *arguments: object, code: int = 0) -> Any:
        return json.loads(self.run(*arguments, "--json", code=code))

    def signed_by(self, name: str) -> tuple[object, ...]:
        person = self.world.maker if name == "Mary" else self.world.checker
        return ("--as", person.person_id, "--key", f"file:{self.folder / f'{name}.pem'}")


@pytest.fixture
def shell(
    world: World,  # noqa: F811 - the fixture
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Shell:
    context = SimpleNamespace(
        database=world.database, clock=world.clock, signer=world.service_signer, settings=Settings(home=tmp_path)
    )
    monkeypatch.setattr(cli_context, "open_context", lambda: context)
    for name, signer in world.keys.items():
        (tmp_path / f"{name}.pem").write_bytes(signer.private_key_pem())
    world.breach()
    return Shell(capsys, tmp_path, world)


def approved(shell: Shell) -> dict[str, Any]:
    [draft] = shell.json("credits", "draft")
    shell.run("credits", "approve", draft["id"][:8], *shell.signed_by("Mary"))
    answer: dict[str, Any] = shell.json("credits", "approve", draft["id"][:8], *shell.signed_by("Carl"))
    return answer


def believed(shell: Shell) -> Path:
    path = shell.folder / "believed.json"
    path.write_bytes(trust_of(shell.world).to_json())
    return path


def test_from_draft_to_a_pack_that_verifies(shell: Shell) -> None:
    number = approved(shell)["number"]
    assert number == "MC-00000001"
    [listed] = shell.json("credits", "ls", "--state", "issued")
    assert (listed["amount"], listed["signatures"], listed["number"]) == ("123.45 USD", "2 of 2", number)
    assert number in shell.run("credits", "ls"), "pack build asks for the number"
    trust, pack = believed(shell), shell.folder / "acme.zip"
    note = shell.folder / "acme.json"
    shell.run("credits", "show", number, "--out", note)
    beside = ["acme.checker.sigstore.json", "acme.json", "acme.json.tlog-proof", "acme.maker.sigstore.json"]
    assert sorted(file.name for file in shell.folder.glob("acme.*")) == [*beside, "acme.unsigned.json"]
    shell.run("pack", "build", number, "--out", pack)
    assert "Every field agrees." in shell.run("pack", "verify", pack, "--trust", trust)
    assert shell.json("verify", pack, "--trust", trust)["ok"]

    report = shell.json("verify", note, "--trust", trust)
    assert report["ok"]
    assert any("It is entry" in line for line in report["proved"]), "the proof beside the note was read"
    note.write_bytes(note.read_bytes() + b"\n")
    refused = shell.json("verify", note, "--trust", trust, code=1)
    assert "canonical form (RFC 8785)" in refused["problems"][0]
    assert shell.run("credits", "export").count("\n") == 2
    assert "~ 0 USD" in shell.run("credits", "export", "--format", "beancount")
    assert shell.json("credits", "check")["ok"]


def test_a_changed_pack_is_refused_with_exit_code_1_and_no_pack_with_2(shell: Shell) -> None:
    number, trust, pack = approved(shell)["number"], believed(shell), shell.folder / "acme.zip"
    shell.run("pack", "build", number, "--out", pack)
    content = bytearray(pack.read_bytes())
    content[len(content) // 3] ^= 1
    pack.write_bytes(content)
    assert shell.json("pack", "verify", pack, "--trust", trust, code=1)["problems"]
    strangers = shell.folder / "strangers.json"
    strangers.write_bytes(Trust(trust_of(shell.world).keys[-1:]).to_json())
    shell.run("pack", "build", number, "--out", pack)
    assert shell.json("pack", "verify", pack, "--trust", strangers, code=1)["problems"]
    assert "cannot be read" in shell.run("pack", "verify", shell.folder / "absent.zip", "--trust", trust, code=2)
    assert "No such credit note" in shell.run("pack", "build", "MC-00000099", code=2)


def test_reverse_reject_and_redraft(shell: Shell) -> None:
    number = approved(shell)["number"]
    who = ("--as", shell.world.checker.person_id)
    assert "field reason" in shell.run("credits", "reverse", number, *who, "--reason", " ", code=2)
    reversal = shell.json("credits", "reverse", number, *who, "--reason", "assigned by mistake")
    assert (reversal["kind"], reversal["amount"]) == ("reversal", "-123.45 USD")
    shell.run("credits", "approve", reversal["id"], *shell.signed_by("Mary"))
    shell.run("credits", "approve", reversal["id"], *shell.signed_by("Carl"))
    [outcome] = shell.json("credits", "draft")
    assert (outcome["status"], outcome["reason"]) == ("reversed", "assigned by mistake")
    again = shell.json("credits", "redraft", reversal["id"], *who)
    shell.run("credits", "reject", again["id"], *who, "--reason", "still a mistake")
    assert shell.json("credits", "show", again["id"])["state"] == "rejected"


def test_what_is_refused_names_its_field_and_exits_2(shell: Shell) -> None:
    [draft] = shell.json("credits", "draft")
    mary, carl = shell.signed_by("Mary"), shell.signed_by("Carl")
    for arguments, said in (
        (("approve", "ffff", *mary), "No such draft"),
        (("approve", draft["id"], *carl), "field role"),
        (("approve", draft["id"], *mary[:2], *carl[2:]), "field keyid"),
        (("approve", draft["id"], "--as", "nobody", *mary[2:]), "field --as"),
        (("approve", draft["id"], *mary[:2], "--key", "file:absent.pem"), "field --key"),
        (("export", "--format", "xlsx"), "field --format"),
        (("review", "2026-13", *mary, "--out", shell.folder / "r.json"), "field month"),
    ):
        assert said in shell.run("credits", *arguments, code=2), arguments
    assert shell.json("credits", "show", draft["id"])["signatures"] == "0 of 2"
    assert not (shell.folder / "r.json").exists()
    assert shell.json("credits", "check", code=1)["breaches_waiting"]


def test_a_month_is_reviewed_by_two(shell: Shell) -> None:
    approved(shell)
    first, both = shell.folder / "mary.json", shell.folder / "both.json"
    shell.run("credits", "review", "2026-01", *shell.signed_by("Mary"), "--out", first)
    assert shell.json("verify", first, "--trust", believed(shell), code=1)["problems"]
    assert "Two different people" in shell.run(
        "credits", "review", "2026-01", *shell.signed_by("Mary"), "--onto", first, "--out", both, code=2
    )
    shell.run("credits", "review", "2026-01", *shell.signed_by("Carl"), "--onto", first, "--out", both)
    assert shell.json("verify", both, "--trust", believed(shell))["ok"]
