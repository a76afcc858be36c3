"""A witness in a process of its own cosigns what continues the log and refuses a fork, whatever the log signs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mc_pipelines.attest.checkpoint import Checkpoint, LogProof, verify_cosignatures
from mc_pipelines.attest.cosignatures import WitnessAddress, cosign_newest, parse_witnesses
from mc_pipelines.attest.key_history import KeyRecord
from mc_pipelines.attest.log import DEFAULT_ORIGIN, append, inclusion_proof, latest_checkpoint, sequence
from mc_pipelines.attest.merkle import leaf_hash, prove_consistency, root_of
from mc_pipelines.attest.note import EcdsaNoteSigner, NoteKey, WitnessNoteSigner, parse_note, sign_note
from mc_pipelines.attest.signer import LocalSigner
from mc_pipelines.attest.trust import Trust
from mc_pipelines.attest.verify import verify_file
from mc_pipelines.attest.witness import Witness, WitnessMemory, parse_request, write_request
from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.errors import ConfigurationError, InputError, VerificationError
from mc_pipelines_tests.attest.test_merkle import store_of
from mc_pipelines_tests.conftest import TestDatabase

ORIGIN = "log.example/audit"
SERVICE = LocalSigner.generate()
LOG = EcdsaNoteSigner(ORIGIN, SERVICE)
LEAVES = [leaf_hash(str(number).encode()) for number in range(40)]
FORK = [leaf_hash(b"forged") if number == 3 else leaf for number, leaf in enumerate(LEAVES)]


def note(size: int, leaves: list[bytes] = LEAVES, signer: EcdsaNoteSigner = LOG, origin: str = ORIGIN) -> str:
    return str(sign_note(Checkpoint(origin, size, root_of(leaves[:size])).text, [signer]))


def request(old: int, new: int, leaves: list[bytes] = LEAVES) -> bytes:
    proof = [] if old in {0, new} else prove_consistency(store_of(leaves).read, old, new)
    return write_request(old, proof, note(new, leaves))


@pytest.fixture
def make(tmp_path: Path) -> Callable[[], Witness]:
    key = Ed25519PrivateKey.generate()
    signer = WitnessNoteSigner("witness.example/w1", key, lambda: 1_768_842_000)
    return lambda: Witness(signer, [LOG.key], WitnessMemory(tmp_path / "memory.json"))


def test_what_continues_the_log_is_cosigned_and_remembered(make: Callable[[], Witness]) -> None:
    for old, new in ((0, 5), (5, 5), (5, 8), (8, 33)):
        witness = make()  # a restart between two requests forgets nothing
        answer = witness.add_checkpoint(request(old, new))
        assert answer.status == 200, answer
        cosigned = note(new) + answer.text
        [seen] = verify_cosignatures(cosigned, [witness.key])
        assert (seen.witness, seen.at.timestamp()) == ("witness.example/w1", 1_768_842_000)


def test_a_fork_is_refused_at_any_size(make: Callable[[], Witness]) -> None:
    witness = make()
    assert witness.add_checkpoint(request(0, 8)).status == 200
    for new, status in ((8, 409), (9, 422), (40, 422)):
        assert witness.add_checkpoint(request(8, new, FORK)).status == status
    assert witness.add_checkpoint(request(8, 40)).status == 200, "the true log goes on"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda: request(0, 9), 409),
        (lambda: request(5, 9), 409),
        (lambda: write_request(9, [], note(8)), 400),
        (lambda: write_request(8, [], note(9)), 422),
        (lambda: write_request(8, [b"\0" * 32], note(9)), 422),
        (lambda: write_request(8, [], note(9, signer=EcdsaNoteSigner(ORIGIN, LocalSigner.generate()))), 403),
        (lambda: write_request(8, [], note(9, signer=EcdsaNoteSigner("o", SERVICE), origin="o")), 404),
        (lambda: b"old 08\n\n" + note(9).encode(), 400),
        (lambda: b"old -1\n\n" + note(9).encode(), 400),
        (lambda: b"old 8\nAAAA\n\n" + note(9).encode(), 400),
        (lambda: b"\xff", 400),
        (lambda: b"", 400),
    ],
)
def test_every_other_request_has_its_status_and_changes_nothing(
    make: Callable[[], Witness], tmp_path: Path, change: Callable[[], bytes], status: int
) -> None:
    witness = make()
    witness.add_checkpoint(request(0, 8))
    before = (tmp_path / "memory.json").read_bytes()
    assert witness.add_checkpoint(change()).status == status
    assert (tmp_path / "memory.json").read_bytes() == before


def test_a_witness_with_a_damaged_memory_signs_nothing(make: Callable[[], Witness], tmp_path: Path) -> None:
    witness = make()
    for content in ("", "[]", '{"log.example/audit": {"size": 3}}'):
        (tmp_path / "memory.json").write_text(content)
        with pytest.raises(ConfigurationError, match="damaged"):
            witness.add_checkpoint(request(0, 5))


def test_requests_are_read_as_written() -> None:
    assert parse_request(write_request(3, [b"\1" * 32], "x\n\ny\n")) == (3, [b"\1" * 32], "x\n\ny\n")
    with pytest.raises(InputError, match="too long"):
        parse_request(write_request(3, [b"\1" * 32] * 64, "x"))


@contextmanager
def process(state: Path, log: NoteKey) -> Iterator[WitnessAddress]:
    """A witness as `mc log witness` runs it: another process, without a database."""
    command = [sys.executable, "-m", "mc_pipelines.cli.main", "log", "witness", "--name", "witness.example/w1"]
    command += ["--state", str(state), "--port", "0", "--log", str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as running:
        assert running.stdout is not None
        try:
            [address] = parse_witnesses(running.stdout.readline())
            yield address
        finally:
            running.terminate()


@pytest.mark.database
def test_a_witness_process_cosigns_the_log_and_refuses_its_fork(
    database: TestDatabase, clock: FrozenClock, tmp_path: Path
) -> None:
    signer = LocalSigner.generate()
    key = NoteKey.ecdsa(DEFAULT_ORIGIN, signer.public_key_pem)

    def act(number: int) -> str:
        with database.app.begin() as connection:
            return append(connection, act="test.act", subject=f"n{number}", content=b"x", at=clock.now())

    with process(tmp_path / "witness", key) as address:
        for number in range(5):
            leaf = act(number)
            sequence(database.app, signer, clock)
            assert cosign_newest(database.app, clock, [address]) == {}
        act(5)
        sequence(database.app, signer, clock)  # not cosigned yet: the proof takes the checkpoint before it
        with database.app.begin() as connection:
            proof, newest = inclusion_proof(connection, leaf), latest_checkpoint(connection)
        assert newest is not None
        assert len(parse_note(newest).signatures) == 1
        assert len(parse_note(proof.note).signatures) == 2

        trust = Trust(
            (KeyRecord(signer.key_id, signer.public_key_pem, clock.now()),),
            (key,),
            witnesses=(address.key,),
            witness_threshold=1,
        )
        assert Trust.from_json(trust.to_json()) == trust
        report = verify_file(str(proof).encode(), trust)
        assert report.ok, report.problems
        assert any("1 witness(es) have seen this checkpoint" in line for line in report.proved)
        bare = LogProof(proof.index, proof.hashes, str(parse_note(newest)), proof.entry)
        assert not verify_file(str(bare).encode(), trust).ok, "the trust file demands a witness"

        forged = Checkpoint(DEFAULT_ORIGIN, 6, b"\7" * 32)
        fork = str(sign_note(forged.text, [EcdsaNoteSigner(DEFAULT_ORIGIN, signer)]))
        for old in (0, 5):
            answer = httpx.post(f"{address.url}/add-checkpoint", content=write_request(old, [b"\1" * 32], fork))
            assert answer.status_code in {409, 422}, answer.text
        assert httpx.post(f"{address.url}/other", content=b"").status_code == 404
        assert httpx.get(address.url).text.strip() == str(address.key)

    with process(tmp_path / "witness", key) as again:
        assert again.key == address.key
        assert cosign_newest(database.app, clock, [again]) == {}, "it remembers across a restart"
    assert "does not answer" in cosign_newest(_with_one_more(database, clock, signer), clock, [again])[again.key.name]


def _with_one_more(database: TestDatabase, clock: FrozenClock, signer: LocalSigner) -> object:
    with database.app.begin() as connection:
        append(connection, act="test.act", subject="late", content=b"x", at=clock.now())
    sequence(database.app, signer, clock)
    return database.app


@pytest.mark.parametrize("text", ["http://w", "http://w#x", f"ftp://w#{LOG.key}", f"http://w#{LOG.key}"])
def test_a_malformed_witness_is_named(text: str) -> None:
    with pytest.raises(ConfigurationError, match="witness"):
        parse_witnesses(text)


def test_a_line_that_names_a_trusted_witness_must_hold() -> None:
    witness = WitnessNoteSigner("witness.example/w1", Ed25519PrivateKey.generate(), lambda: 7)
    cosigned = str(sign_note(Checkpoint(ORIGIN, 5, root_of(LEAVES[:5])).text, [LOG, witness]))
    forged = cosigned.replace("\n5\n", "\n6\n", 1)
    with pytest.raises(VerificationError):
        verify_cosignatures(forged, [witness.key])
    assert NoteKey.parse(str(witness.key)) == witness.key
