"""The sequencer's loop: within a second, across a rotation of the signer, and after failures."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import Self

import pytest
from sqlalchemy import select

from mc_pipelines.attest import sequencer
from mc_pipelines.attest.checkpoint import verify_checkpoint
from mc_pipelines.attest.log import DEFAULT_ORIGIN, append, find_entry, inclusion_proof, read_content
from mc_pipelines.attest.merkle import leaf_hash
from mc_pipelines.attest.minute import append_minute, prove_in_minute
from mc_pipelines.attest.note import NoteKey
from mc_pipelines.attest.records import log_checkpoint
from mc_pipelines.attest.signer import LocalSigner, Signer
from mc_pipelines.foundation.canonical import parse_json, sha256_digest
from mc_pipelines.foundation.clock import FrozenClock, SystemClock
from mc_pipelines.foundation.errors import InputError, UnavailableError, VerificationError
from mc_pipelines_tests.conftest import TestDatabase

pytestmark = pytest.mark.database


class Loop:
    """A sequencer in a thread, whose signer the test changes."""

    def __init__(self, database: TestDatabase, signer: Signer) -> None:
        self.signer = signer
        self.asked = 0
        self.broken = 0
        self.stop = threading.Event()
        arguments = (database.app, self.current, SystemClock(), self.stop, 0.1)
        self.thread = threading.Thread(target=sequencer.run, args=arguments)

    def current(self) -> Signer:
        self.asked += 1
        if self.broken:
            self.broken -= 1
            raise UnavailableError("The key service does not answer")
        return self.signer

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join(timeout=10)
        assert not self.thread.is_alive()


def act(database: TestDatabase, name: str) -> str:
    with database.app.begin() as connection:
        return append(connection, act="test.act", subject=name, content=name.encode(), at=SystemClock().now())


def wait_for(database: TestDatabase, leaf_id: str, seconds: float) -> float:
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        with database.app.begin() as connection:
            if find_entry(connection, leaf_id).index is not None:
                return time.monotonic() - began
        time.sleep(0.01)
    raise AssertionError(f"no index within {seconds} s")


def test_an_act_has_its_checkpoint_within_a_second_also_after_a_rotation(database: TestDatabase) -> None:
    old, new = LocalSigner.generate(), LocalSigner.generate()
    with Loop(database, old) as loop:
        assert wait_for(database, act(database, "first"), 10) < 1
        loop.signer = new
        assert wait_for(database, act(database, "second"), 10) < 1
    with database.app.begin() as connection:
        notes = connection.execute(select(log_checkpoint.c.note).order_by(log_checkpoint.c.size)).scalars().all()
    for note, signer in zip(notes, (old, new), strict=True):
        checkpoint, _ = verify_checkpoint(note, [NoteKey.ecdsa(DEFAULT_ORIGIN, signer.public_key_pem)])
        other = new if signer is old else old
        with pytest.raises(VerificationError):
            verify_checkpoint(note, [NoteKey.ecdsa(DEFAULT_ORIGIN, other.public_key_pem)])
    assert checkpoint.size == 2


def test_failures_are_tried_again_and_no_act_is_lost(database: TestDatabase) -> None:
    with Loop(database, LocalSigner.generate()) as loop:
        loop.broken = 2
        leaf_id = act(database, "while broken")
        wait_for(database, leaf_id, 10)
        database.app.engine.dispose()
        wait_for(database, act(database, "after reconnect"), 10)
    assert loop.broken == 0


def test_two_sequencers_sign_one_tree(database: TestDatabase) -> None:
    signer = LocalSigner.generate()
    with Loop(database, signer), Loop(database, signer):
        for number in range(20):
            last = act(database, str(number))
        wait_for(database, last, 10)
    with database.app.begin() as connection:
        proof = inclusion_proof(connection, last)
        key = NoteKey.ecdsa(DEFAULT_ORIGIN, signer.public_key_pem)
        assert proof.verify(proof.entry or b"", [key]).size == 20


def test_a_wrong_interval_is_refused(database: TestDatabase) -> None:
    for interval in (0, -1.0, float("nan")):
        with pytest.raises(InputError):
            sequencer.run(database.app, LocalSigner.generate, SystemClock(), threading.Event(), interval)


def test_a_minute_is_one_leaf_and_proves_each_of_its_digests(database: TestDatabase, clock: FrozenClock) -> None:
    minute = clock.now()
    digests = [sha256_digest(str(number).encode()) for number in range(7)]
    now = minute + timedelta(minutes=1)
    with database.app.begin() as connection:
        first = append_minute(connection, act="executions.minute", minute=minute, digests=digests, now=now)
        again = append_minute(connection, act="executions.minute", minute=minute, digests=digests[::-1], now=now)
        assert first == again is not None
        content = parse_json(read_content(connection, find_entry(connection, first).content_digest))
        assert append_minute(connection, act="executions.minute", minute=minute, digests=[], now=now) is None
        for wrong in ({"minute": minute + timedelta(seconds=1)}, {"now": minute}, {"digests": digests[:1] * 2}):
            given = {"act": "executions.minute", "minute": minute, "digests": digests, "now": now} | wrong
            with pytest.raises(InputError):
                append_minute(connection, **given)
    assert (content["count"], content["minute"]) == (7, "2026-01-19T17:00:00Z")
    for digest in digests:
        proof, root = prove_in_minute(digests, digest)
        assert root.hex() == content["root"]
        proof.verify(digest, root)
        with pytest.raises(VerificationError):
            proof.verify(sha256_digest(b"another"), root)
    proof, root = prove_in_minute(digests[:1], digests[0])
    assert root == leaf_hash(digests[0].encode())
    with pytest.raises(InputError):
        prove_in_minute(digests, sha256_digest(b"another"))
