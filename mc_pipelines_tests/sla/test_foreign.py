"""Our note as strangers see it: openssl, securesystemslib, npm's sigstore, cosign, Go; each also refuses a forgery."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.dsse import Envelope as OracleEnvelope
from securesystemslib.exceptions import VerificationError as OracleVerificationError
from securesystemslib.signer import SSlibKey

from mc_pipelines.attest.checkpoint import Checkpoint, LogProof
from mc_pipelines.attest.dsse import Envelope
from mc_pipelines.attest.log import DEFAULT_ORIGIN, consistency_proof, latest_checkpoint, sequence
from mc_pipelines.attest.merkle import leaf_hash
from mc_pipelines.attest.note import Ed25519NoteSigner, parse_note
from mc_pipelines.sla.bag import read_bag
from mc_pipelines.sla.issue import issue_completed
from mc_pipelines.sla.note import NOTE_TYPE
from mc_pipelines.sla.pack import build_pack
from mc_pipelines_tests.attest.test_sumdb import encoded, judge  # noqa: F401 - a fixture
from mc_pipelines_tests.sla.conftest import World
from mc_pipelines_tests.sla.test_ubl import NPM
from mc_pipelines_tests.tools.conftest import Tool, tool  # noqa: F401 - a fixture

pytestmark = pytest.mark.database
LOG_KEY = Ed25519NoteSigner(DEFAULT_ORIGIN, Ed25519PrivateKey.generate())


@pytest.fixture
def unpacked(world: World, tmp_path: Path) -> Path:
    """A folder with the files of a real pack, whose log was also signed with an Ed25519 key."""
    world.breach()
    issued = world.issue()
    sequence(world.database, world.service_signer, world.clock, cosigners=[LOG_KEY])
    with world.database.begin() as connection:
        payload = read_bag(build_pack(connection, issued))
    for name, content in payload.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "forged.json").write_bytes(payload["note.unsigned.json"].replace(b"123.45", b"923.45"))
    return tmp_path


def test_securesystemslib_counts_two_signers(unpacked: Path) -> None:
    envelope = OracleEnvelope.from_dict(json.loads((unpacked / "envelope.json").read_bytes()))
    hints = list(envelope.signatures)
    pems = [(unpacked / "keys" / f"{person}.pem").read_text() for person in ("maker", "checker")]
    maker, checker = (
        SSlibKey(hint, "ecdsa", "ecdsa-sha2-nistp256", {"public": pem}) for hint, pem in zip(hints, pems, strict=True)
    )
    assert len(envelope.verify([maker, checker], 2)) == 2
    stranger = SSlibKey(hints[1], "ecdsa", "ecdsa-sha2-nistp256", {"public": pems[0]})
    with pytest.raises(OracleVerificationError):
        envelope.verify([maker, stranger], 2)


@pytest.mark.parametrize("person", ["maker", "checker"])
def test_openssl_verifies_each_signature(unpacked: Path, person: str, need_program: Callable[[str, str], str]) -> None:
    openssl = need_program("openssl", "install the Debian package openssl")
    envelope = Envelope.from_json((unpacked / "envelope.json").read_bytes())
    (unpacked / "pae").write_bytes(envelope.pae())
    (unpacked / "sig").write_bytes(envelope.signatures[("maker", "checker").index(person)].sig)
    command = [openssl, "dgst", "-sha256", "-verify", f"keys/{person}.pem", "-signature", "sig", "pae"]
    assert subprocess.run(command, cwd=unpacked, capture_output=True, check=False).returncode == 0
    (unpacked / "pae").write_bytes(envelope.pae().replace(b"12345", b"92345"))
    assert subprocess.run(command, cwd=unpacked, capture_output=True, check=False).returncode == 1


@pytest.mark.system
def test_npm_sigstore_verifies_both_bundles(unpacked: Path, need_program: Callable[[str, str], str]) -> None:
    node = need_program("node", "install Node 20 or newer")
    if not (NPM / "node_modules" / "@sigstore").is_dir():
        pytest.skip("@sigstore/verify is not here: npm ci --prefix tools/npm --ignore-scripts")

    def judged(note: str, person: str, key: str) -> int:
        arguments = [unpacked / note, unpacked / "keys" / f"{key}.pem", unpacked / f"{person}.sigstore.json"]
        command = [node, str(NPM / "sigstore.mjs"), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, check=False).returncode

    assert judged("note.unsigned.json", "maker", "maker") == 0
    assert judged("note.unsigned.json", "checker", "checker") == 0
    assert judged("forged.json", "maker", "maker") == 1
    assert judged("note.unsigned.json", "maker", "checker") == 1


@pytest.mark.tools
@pytest.mark.parametrize("person", ["maker", "checker"])
def test_cosign_verifies_both_bundles(unpacked: Path, tool: Tool, person: str) -> None:  # noqa: F811 - the fixture
    def judged(note: str, key: str) -> Any:
        bundle, pem = unpacked / f"{person}.sigstore.json", unpacked / "keys" / f"{key}.pem"
        offline = ("--insecure-ignore-tlog",)  # a managed key, in no public log
        arguments = ("--type", NOTE_TYPE, "--bundle", bundle, "--key", pem, unpacked / note)
        return tool("cosign", "verify-blob-attestation", *offline, *arguments)

    done = judged("note.unsigned.json", person)
    assert done.returncode == 0, done.stderr
    assert judged("forged.json", person).returncode != 0
    other = "checker" if person == "maker" else "maker"
    assert judged("note.unsigned.json", other).returncode != 0


@pytest.mark.tools
def test_gos_sumdb_verifies_our_log_and_the_note_in_it(world: World, judge: Path) -> None:  # noqa: F811 - the fixture
    if shutil.which("go") is None and shutil.which("go", path="/usr/local/go/bin") is None:
        pytest.skip("needs Go: install golang")
    world.breach()
    draft = world.draft()
    sequence(world.database, world.service_signer, world.clock, cosigners=[LOG_KEY])
    with world.database.begin() as connection:
        old = Checkpoint.parse(parse_note(str(latest_checkpoint(connection))).text)
    world.approve(world.maker, draft)
    world.approve(world.checker, draft)
    [issued] = issue_completed(world.database, world.clock)
    sequence(world.database, world.service_signer, world.clock, cosigners=[LOG_KEY])
    with world.database.begin() as connection:
        proof = LogProof.parse(read_bag(build_pack(connection, issued))["note.json.tlog-proof"])
        head = Checkpoint.parse(parse_note(proof.note).text)
        consistency = consistency_proof(connection, old.size, head.size)
    assert proof.entry is not None
    evidence = {
        "VerifierKey": str(LOG_KEY.key),
        "Note": proof.note,
        "Size": head.size,
        "Root": encoded(head.root),
        "OldSize": old.size,
        "OldRoot": encoded(old.root),
        "Consistency": [encoded(one) for one in consistency],
        "Inclusion": [
            {
                "Index": proof.index,
                "Leaf": encoded(leaf_hash(proof.entry)),
                "Proof": [encoded(one) for one in proof.hashes],
            }
        ],
    }

    def judged(change: dict[str, Any]) -> int:
        given = json.dumps(evidence | change)
        return subprocess.run([judge], input=given, capture_output=True, text=True, check=False).returncode

    assert judged({}) == 0
    assert judged({"Root": encoded(b"\0" * 32)}) == 1
    assert judged({"Note": proof.note.replace(f"\n{head.size}\n", f"\n{head.size + 1}\n")}) == 1
