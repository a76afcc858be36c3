"""Our UBL credit note under the official EN 16931 rules, judged by npm's node-schematron; broken ones fail."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mc_pipelines.attest.log import sequence
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.sla.bag import read_bag
from mc_pipelines.sla.contract_store import get_contract
from mc_pipelines.sla.pack import build_pack
from mc_pipelines.sla.ubl import credit_note_xml
from mc_pipelines_tests.sla.conftest import World
from mc_pipelines_tests.sla.test_reversal import issue, reverse

pytestmark = pytest.mark.database
NPM = Path(__file__).parents[2] / "tools" / "npm"

BROKEN = {
    "BR-CO-16": (b'<cbc:PayableAmount currencyID="USD">123.45', b'<cbc:PayableAmount currencyID="USD">123.46'),
    "BR-CL-01": (b"<cbc:CreditNoteTypeCode>381", b"<cbc:CreditNoteTypeCode>999"),
    "BR-CO-10": (
        b'<cbc:LineExtensionAmount currencyID="USD">123.45',
        b'<cbc:LineExtensionAmount currencyID="USD">-123.45',
    ),
    "BR-06": (b"<cbc:RegistrationName>Maestro Conductor</cbc:RegistrationName>", b""),
    "BR-02": (b"<cbc:ID>MC-00000001</cbc:ID>", b""),
}


def schematron(schema: Path, files: list[Path], need_program: Callable[[str, str], str]) -> dict[str, list[str]]:
    """Return the messages of the failed assertions of each file."""
    node = need_program("node", "install Node 20 or newer")
    if not (NPM / "node_modules" / "node-schematron").is_dir():
        pytest.skip("node-schematron is not here: npm ci --prefix tools/npm --ignore-scripts")
    command = [node, str(NPM / "schematron.mjs"), str(schema), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {Path(one["file"]).stem: one["failed"] for one in found}


@pytest.mark.system
def test_the_official_rules_accept_ours_and_refuse_what_is_broken(
    world: World, data_dir: Path, tmp_path: Path, need_program: Callable[[str, str], str]
) -> None:
    schema = data_dir / "signing" / "en16931" / "EN16931-UBL-validation-preprocessed.sch"
    if not schema.is_file():
        pytest.skip(f"no {schema}: set MC_DATA_DIR")
    world.breach()
    issued = world.issue()
    sequence(world.database, world.service_signer, world.clock)
    with world.database.begin() as connection:
        ours = read_bag(build_pack(connection, issued))["credit-note.xml"]
    files = [tmp_path / "ours.xml"]
    files[0].write_bytes(ours)
    for rule, (old, new) in BROKEN.items():
        assert old in ours, rule
        files.append(tmp_path / f"{rule}.xml")
        files[-1].write_bytes(ours.replace(old, new, 1))
    found = schematron(schema, files, need_program)
    assert found["ours"] == []
    for rule in BROKEN:
        assert any(message.startswith(f"[{rule}]") for message in found[rule]), (rule, found[rule])


def test_a_reversal_has_no_ubl_credit_note(world: World) -> None:
    world.breach()
    first = world.issue()
    second = issue(world, reverse(world, first))
    sequence(world.database, world.service_signer, world.clock)
    with world.database.begin() as connection:
        assert "credit-note.xml" not in read_bag(build_pack(connection, second))
        contract = get_contract(connection, second.subject.contract).contract
    with pytest.raises(InputError, match="no UBL"):
        credit_note_xml(second.number, second.issued_at, second.subject, second.amount, contract, {})
