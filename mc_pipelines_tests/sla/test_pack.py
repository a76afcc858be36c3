"""The pack verifies and recomputes offline, names the first field that differs, and survives no changed byte."""

from __future__ import annotations

import io
import json
import random
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import mc_pipelines.sla.verification  # noqa: F401 - registers what our statements and packs mean
from mc_pipelines.attest.key_history import KeyRecord, load_history
from mc_pipelines.attest.log import DEFAULT_ORIGIN, sequence
from mc_pipelines.attest.note import NoteKey
from mc_pipelines.attest.report import Report
from mc_pipelines.attest.statement import parse_statement
from mc_pipelines.attest.trust import Trust
from mc_pipelines.attest.verify import verify_file
from mc_pipelines.foundation.errors import InputError, VerificationError
from mc_pipelines.sla.bag import open_bag, read_bag, write_bag
from mc_pipelines.sla.evidence import parse_evidence
from mc_pipelines.sla.note import open_note
from mc_pipelines.sla.note_store import Issued
from mc_pipelines.sla.pack import build_pack
from mc_pipelines.sla.pack_verification import recompute, verify_pack
from mc_pipelines.sla.timestamps import stamp_notes
from mc_pipelines_tests.attest.tsa import authority
from mc_pipelines_tests.sla.conftest import World

pytestmark = pytest.mark.database


def trust_of(world: World) -> Trust:
    with world.database.begin() as connection:
        records = list(load_history(connection))
    service = world.service_signer
    records.append(KeyRecord(service.key_id, service.public_key_pem, world.clock.now()))
    return Trust(tuple(records), (NoteKey.ecdsa(DEFAULT_ORIGIN, service.public_key_pem),))


@pytest.fixture
def packed(world: World) -> tuple[World, Issued, bytes, Trust]:
    world.breach()
    issued = world.issue()
    sequence(world.database, world.service_signer, world.clock)
    with world.database.begin() as connection:
        pack = build_pack(connection, issued)
    return world, issued, pack, trust_of(world)


def test_the_pack_verifies_and_recomputes(packed: tuple[World, Issued, bytes, Trust]) -> None:
    world, issued, pack, trust = packed
    report = verify_file(pack, trust)
    assert report.ok, report.problems
    assert any("Recomputed from 5 days of counts and 1 facts" in line for line in report.proved)
    with world.database.begin() as connection:
        assert build_pack(connection, issued) == pack, "the same note and checkpoint give the same bytes"


def test_the_note_alone_verifies_with_its_proof(packed: tuple[World, Issued, bytes, Trust]) -> None:
    _, issued, pack, trust = packed
    report = verify_file(issued.note, trust, proof=read_bag(pack)["note.json.tlog-proof"])
    assert report.ok, report.problems
    assert "2 different people signed, as this amount demands." in report.proved


def test_one_person_is_not_enough(packed: tuple[World, Issued, bytes, Trust]) -> None:
    _, issued, _, trust = packed
    one = Trust(tuple(key for key in trust.keys if key.holder != f"person/{packed[0].checker.person_id}"), trust.logs)
    report = verify_file(issued.note, one)
    assert not report.ok
    assert "1 of the 2 different people" in report.problems[0]


def test_a_changed_figure_is_named(packed: tuple[World, Issued, bytes, Trust]) -> None:
    _, issued, pack, _ = packed
    payload = read_bag(pack)
    document, _, envelope = open_note(issued.note)
    evidence = json.loads(payload["evidence.json"])
    evidence["facts"][0]["amount"] = "1234.60"
    changed = json.dumps(evidence, separators=(",", ":"), sort_keys=True).encode()
    with pytest.raises(VerificationError) as caught:
        recompute(parse_statement(envelope.payload), payload["contract.json"], changed, document, Report("test"))
    assert caught.value.field == "evidence.sha256"


def test_rows_of_other_tenants_are_not_in_the_pack(packed: tuple[World, Issued, bytes, Trust]) -> None:
    payload = read_bag(packed[2])
    evidence = json.loads(payload["evidence.json"])
    assert {day["tenant"] for day in evidence["slices"]} == {"acme"}


@pytest.mark.parametrize("name", ["note.json", "contract.json", "evidence.json", "note.json.tlog-proof", "checkpoint"])
def test_byte_flips_are_refused_even_with_new_manifests(packed: tuple[World, Issued, bytes, Trust], name: str) -> None:
    """1,000 in all. The attacker also rewrites the manifests: signatures and recomputation must hold on their own."""
    _, _, pack, trust = packed
    payload, chance = read_bag(pack), random.Random(1321)  # noqa: S311 - a seeded choice of bytes to flip
    for _ in range(200):
        content = bytearray(payload[name])
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        forged = write_bag(payload | {name: bytes(content)}, {}, info={})
        assert not verify_pack(forged, trust).ok


def test_byte_flips_of_the_zip_are_refused_or_change_nothing(packed: tuple[World, Issued, bytes, Trust]) -> None:
    _, _, pack, trust = packed
    chance = random.Random(1322)  # noqa: S311 - a seeded choice of bytes to flip
    whole = read_bag(pack)
    for _ in range(150):
        content = bytearray(pack)
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        report = verify_pack(bytes(content), trust)
        if report.ok:
            # A flip in the archive's own padding (dates, attributes) leaves every file as it was.
            assert read_bag(bytes(content)) == whole


def test_the_shell_script_agrees(packed: tuple[World, Issued, bytes, Trust], tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    world, _, pack, _ = packed
    with zipfile.ZipFile(io.BytesIO(pack)) as archive:
        archive.extractall(tmp_path / "pack")
    keys = tmp_path / "keys"
    keys.mkdir()
    for name, signer in world.keys.items():
        (keys / f"{name}.pem").write_bytes(signer.public_key_pem)
    command = ["sh", str(tmp_path / "pack" / "verify.sh"), str(keys)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "VERIFIED by 2 different trusted keys" in done.stdout
    (keys / "Carl.pem").unlink()
    alone = subprocess.run(command, capture_output=True, text=True, check=False)
    assert alone.returncode == 1
    evidence = tmp_path / "pack" / "data" / "evidence.json"
    evidence.write_bytes(evidence.read_bytes() + b" ")
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1


@pytest.mark.system
def test_a_time_stamp_comes_along_where_an_authority_is_set(
    packed: tuple[World, Issued, bytes, Trust], tmp_path: Path, need_program: Callable[[str, str], str]
) -> None:
    need_program("openssl", "install the Debian package openssl")
    world, issued, bare, trust = packed
    assert "envelope.json.tsr" not in read_bag(bare)
    assert stamp_notes(world.database, world.clock, None) == 0
    with authority(tmp_path / "tsa") as tsa:
        assert stamp_notes(world.database, world.clock, tsa.url) == 1
        assert stamp_notes(world.database, world.clock, tsa.url) == 0, "once each"
    with world.database.begin() as connection:
        pack = build_pack(connection, issued)
    unbelieved = verify_pack(pack, trust)
    assert unbelieved.ok
    assert any("no time-stamping authority is in the trust file" in line for line in unbelieved.not_proved)
    report = verify_pack(pack, replace(trust, timestamp_authorities=(tsa.root,)))
    assert report.ok, report.problems
    assert any("A time-stamping authority has seen the signed statement at" in line for line in report.proved)
    payload = read_bag(pack)
    (tmp_path / "envelope.json").write_bytes(payload["envelope.json"])
    (tmp_path / "stamp").write_bytes(payload["envelope.json.tsr"])
    verify = ["openssl", "ts", "-verify", "-data", "envelope.json", "-in", "stamp", "-CAfile", "tsa/root.pem"]
    assert subprocess.run(verify, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    with authority(tmp_path / "other") as other:
        refused = verify_pack(pack, replace(trust, timestamp_authorities=(other.root,)))
    assert not refused.ok


def test_the_documentation_lists_every_file(packed: tuple[World, Issued, bytes, Trust]) -> None:
    text = (Path(__file__).parents[2] / "docs" / "sla" / "disclosure-pack.md").read_text("utf-8")
    with zipfile.ZipFile(io.BytesIO(packed[2])) as archive:
        missing = [name for name in archive.namelist() if f"`{name.removeprefix('data/')}`" not in text]
    assert missing == []


def test_what_nobody_signs_is_still_what_the_note_gives(packed: tuple[World, Issued, bytes, Trust]) -> None:
    """The attacker keeps every signed file and rewrites the manifests around a file of his own."""
    _, issued, pack, trust = packed
    bag = open_bag(pack)
    payload, xml = bag.payload, bag.payload["credit-note.xml"]
    assert "credit-note.xml says what the note says." in verify_pack(pack, trust).proved

    def wrong(changed: dict[str, bytes], tags: dict[str, bytes] | None = None, **info: str) -> str:
        return " ".join(verify_pack(write_bag(payload | changed, tags or {}, info=info), trust).problems)

    assert "credit-note.xml" in wrong({"credit-note.xml": xml.replace(b"123.45", b"999123.45")})
    assert "credit-note.xml" in wrong({"credit-note.xml": xml.replace(issued.number.encode(), b"MC-00000099")})
    for name in (
        "refund.exe",
        "../../etc/passwd",
        "NOTE.json",
        "days/2031-01-01.json",
        "earlier/MC-00000001.note.json",
    ):
        assert "no part of a pack" in wrong({name: b"{}"})
    assert "no part of a pack" in wrong({}, {"setup.sh": b"rm -rf ~"})
    assert "another note" in wrong({}, **{"External-Identifier": "MC-00000099"})
    script = verify_pack(write_bag(payload, {"verify.sh": b"echo VERIFIED"}, info={}), trust)
    assert any("read it before you run it" in line for line in script.not_proved)


def test_an_archive_of_links_or_strange_decoders_is_refused(packed: tuple[World, Issued, bytes, Trust]) -> None:
    _, _, pack, trust = packed
    with zipfile.ZipFile(io.BytesIO(pack)) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    for method, mode in ((zipfile.ZIP_LZMA, 0o100644), (zipfile.ZIP_BZIP2, 0o100644), (zipfile.ZIP_DEFLATED, 0o120777)):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, content in held.items():
                entry = zipfile.ZipInfo(name)
                entry.external_attr, entry.compress_type = mode << 16, method
                archive.writestr(entry, content)
        assert "no plain deflated file" in verify_pack(buffer.getvalue(), trust).problems[0]


def test_evidence_counted_in_another_way_than_the_contract_says_is_refused(
    packed: tuple[World, Issued, bytes, Trust],
) -> None:
    """Two dishonest people may sign it; the customer's recomputation must still say so."""
    _, issued, pack, _ = packed
    payload = read_bag(pack)
    document, _, envelope = open_note(issued.note)
    honest, statement = parse_evidence(payload["evidence.json"]), parse_statement(envelope.payload)
    first = honest.slices[0]
    for field, forged in (
        ("evidence.slices", replace(honest, slices=(first, *honest.slices))),
        ("evidence.slices", replace(honest, slices=(replace(first, threshold_ms=1000), *honest.slices[1:]))),
        ("evidence.contract", replace(honest, contract="sha256:" + "0" * 64)),  # type: ignore[arg-type]
        ("evidence.zone", replace(honest, period=replace(honest.period, zone="Asia/Tokyo"))),
    ):
        with pytest.raises(VerificationError) as caught:
            recompute(statement, payload["contract.json"], forged.to_bytes(), document, Report("test"))
        assert caught.value.field == field


@pytest.mark.parametrize(("member", "value"), [("granuleMs", 0), ("day", "9999-12-31")])
def test_evidence_at_the_edge_of_numbers_is_malformed_not_a_traceback(
    packed: tuple[World, Issued, bytes, Trust], member: str, value: object
) -> None:
    document = json.loads(read_bag(packed[2])["evidence.json"])
    document["slices"][0][member] = value
    with pytest.raises(InputError):
        parse_evidence(json.dumps(document, separators=(",", ":"), sort_keys=True).encode())
    document["period"] = "9999-12-31/9999-12-31"
    with pytest.raises(InputError):
        parse_evidence(json.dumps(document, separators=(",", ":"), sort_keys=True).encode())
