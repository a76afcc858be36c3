"""The audit log on PostgreSQL: one truth whatever runs at once or dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.exc import DBAPIError

from mc_pipelines.attest.checkpoint import LogProof, verify_checkpoint
from mc_pipelines.attest.log import (
    DEFAULT_ORIGIN,
    append,
    consistency_proof,
    find_content,
    find_entry,
    inclusion_proof,
    latest_checkpoint,
    list_entries,
    read_content,
    sequence,
    waiting,
)
from mc_pipelines.attest.merkle import root_of, verify_consistency
from mc_pipelines.attest.note import NoteKey
from mc_pipelines.attest.records import log_checkpoint, log_content, log_entry, log_leaf, log_node, log_pending
from mc_pipelines.attest.signer import LocalSigner
from mc_pipelines.foundation.clock import FrozenClock, SystemClock
from mc_pipelines.foundation.errors import ConflictError, InputError, NotFoundError
from mc_pipelines_tests.conftest import TestDatabase

pytestmark = pytest.mark.database

SIGNER = LocalSigner.generate()
KEY = NoteKey.ecdsa(DEFAULT_ORIGIN, SIGNER.public_key_pem)


def put(database: TestDatabase, clock: FrozenClock, *contents: str) -> list[str]:
    with database.app.begin() as connection:
        return [
            append(connection, act="test.act", subject=one, content=one.encode(), at=clock.now()) for one in contents
        ]


def assert_one_truth(database: TestDatabase, expected: int) -> None:
    """Indices without gap, every leaf once, every checkpoint the root of its prefix and signed."""
    with database.app.begin() as connection:
        rows = connection.execute(
            select(log_entry.c.leaf_index, log_leaf.c.leaf_hash)
            .join(log_leaf, log_leaf.c.leaf_id == log_entry.c.leaf_id)
            .order_by(log_entry.c.leaf_index)
        ).all()
        heads = connection.execute(select(log_checkpoint)).all()
        assert waiting(connection)[0] == 0
        assert connection.execute(select(func.count()).select_from(log_leaf)).scalar_one() == expected
    assert [row.leaf_index for row in rows] == list(range(expected))
    hashes = [bytes(row.leaf_hash) for row in rows]
    for head in heads:
        checkpoint, _ = verify_checkpoint(head.note, [KEY])
        assert (checkpoint.size, checkpoint.root) == (head.size, bytes(head.root))
        assert checkpoint.root == root_of(hashes[: checkpoint.size])


def test_an_act_gets_an_index_a_checkpoint_and_a_proof(database: TestDatabase, clock: FrozenClock) -> None:
    first, second = put(database, clock, "a", "b")
    with database.app.begin() as connection:
        assert waiting(connection) == (2, clock.now())
        with pytest.raises(ConflictError, match="no index yet"):
            inclusion_proof(connection, first)
        assert latest_checkpoint(connection) is None
    checkpoint = sequence(database.app, SIGNER, clock)
    assert checkpoint is not None
    assert checkpoint.size == 2
    with database.app.begin() as connection:
        for leaf_id, content in ((first, b"a"), (second, b"b")):
            proof = LogProof.parse(str(inclusion_proof(connection, leaf_id)))
            entry = find_entry(connection, leaf_id)
            assert proof.entry == entry.entry
            assert proof.verify(entry.entry, [KEY]) == checkpoint
            assert read_content(connection, entry.content_digest) == content
            assert find_content(connection, content) == [entry]
        assert [one.index for one in list_entries(connection)] == [1, 0]
        assert [one.index for one in list_entries(connection, before=1)] == [0]
    assert_one_truth(database, 2)


def test_a_retry_adds_nothing_and_keeps_the_first_time(database: TestDatabase, clock: FrozenClock) -> None:
    [once] = put(database, clock, "a")
    first_time = clock.now()
    clock.advance(timedelta(seconds=5))
    [again] = put(database, clock, "a")
    assert once == again
    with database.app.begin() as connection:
        assert find_entry(connection, once).at == first_time
    assert sequence(database.app, SIGNER, clock) is not None
    assert sequence(database.app, SIGNER, clock) is None
    put(database, clock, "a")
    assert sequence(database.app, SIGNER, clock) is None
    assert_one_truth(database, 1)


def test_an_act_that_is_rolled_back_is_not_in_the_log(database: TestDatabase, clock: FrozenClock) -> None:
    with database.app.engine.connect() as connection:
        append(connection, act="test.act", subject="x", content=b"x", at=clock.now())
        connection.rollback()
    assert sequence(database.app, SIGNER, clock) is None


def test_a_late_commit_is_not_lost(database: TestDatabase, clock: FrozenClock) -> None:
    with database.app.begin() as slow:
        append(slow, act="test.act", subject="slow", content=b"slow", at=clock.now())
        put(database, clock, "fast")
        checkpoint = sequence(database.app, SIGNER, clock)
        assert checkpoint is not None
        assert checkpoint.size == 1
    assert sequence(database.app, SIGNER, clock) is not None
    assert_one_truth(database, 2)


def test_the_log_grows_in_batches_and_every_head_is_consistent(database: TestDatabase, clock: FrozenClock) -> None:
    put(database, clock, *(str(number) for number in range(23)))
    heads = []
    while (checkpoint := sequence(database.app, SIGNER, clock, limit=5)) is not None:
        heads.append(checkpoint)
    assert [head.size for head in heads] == [5, 10, 15, 20, 23]
    with database.app.begin() as connection:
        for old in heads:
            for new in heads:
                if old.size <= new.size:
                    proof = consistency_proof(connection, old.size, new.size)
                    verify_consistency(old.size, new.size, proof, old.root, new.root)
        with pytest.raises(InputError):
            consistency_proof(connection, 1, 24)
        with pytest.raises(InputError):
            consistency_proof(connection, 0, 5)
        with pytest.raises(NotFoundError):
            inclusion_proof(connection, "sha256:none")
    assert_one_truth(database, 23)


def test_many_writers_and_sequencers_at_once(database: TestDatabase, clock: FrozenClock) -> None:
    written = threading.Event()

    def write(worker: int) -> None:
        for number in range(15):
            put(database, clock, f"{worker}-{number}", "everybody's")

    def run_sequencer() -> None:
        while not written.is_set():
            sequence(database.app, SIGNER, clock, limit=7)

    with ThreadPoolExecutor(6) as pool:
        sequencers = [pool.submit(run_sequencer) for _ in range(2)]
        try:
            for writer in [pool.submit(write, worker) for worker in range(4)]:
                writer.result()
        finally:
            written.set()
        for one in sequencers:
            one.result()
    while sequence(database.app, SIGNER, clock, limit=7) is not None:
        pass
    assert_one_truth(database, 4 * 15 + 1)


KILLED = """
import sys
from mc_pipelines.attest.log import append, sequence
from mc_pipelines.attest.signer import LocalSigner
from mc_pipelines.foundation.clock import SystemClock
from mc_pipelines.foundation.database import Database
database, clock = Database(sys.argv[1]), SystemClock()
signer = LocalSigner.from_pem(sys.stdin.buffer.read())
print("ready", flush=True)
for number in range(10**6):
    with database.begin() as connection:
        append(connection, act="test.act", subject=str(number), content=b"x", at=clock.now())
    sequence(database, signer, clock)
"""


def test_a_process_killed_at_any_moment_leaves_one_truth(database: TestDatabase) -> None:
    for pause in (0.05, 0.11, 0.23):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, database.app.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(SIGNER.private_key_pem())
        process.stdin.close()
        assert process.stdout.readline() == b"ready\n"
        time.sleep(pause)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:  # the dead process's lock goes when the server notices
        sequence(database.app, SIGNER, SystemClock())
        with database.app.begin() as connection:
            if waiting(connection)[0] == 0:
                break
        time.sleep(0.05)
    with database.app.begin() as connection:
        count = connection.execute(select(func.count()).select_from(log_leaf)).scalar_one()
    assert count > 0
    assert_one_truth(database, count)


@pytest.mark.parametrize("table", [log_leaf, log_entry, log_node, log_checkpoint])
def test_nobody_changes_the_past(database: TestDatabase, clock: FrozenClock, table: object) -> None:
    put(database, clock, "a")
    sequence(database.app, SIGNER, clock)
    column = next(iter(table.c))  # type: ignore[attr-defined]
    for role in (database.app, database.owner):
        for statement in (
            delete(table),  # type: ignore[arg-type]
            update(table).values({column.name: column}),  # type: ignore[arg-type]
        ):
            with pytest.raises(DBAPIError, match=r"insert-only|permission denied"), role.begin() as connection:
                connection.execute(statement)


def test_content_can_be_erased_by_the_owner_and_the_log_still_verifies(
    database: TestDatabase, clock: FrozenClock
) -> None:
    [leaf_id] = put(database, clock, "personal")
    sequence(database.app, SIGNER, clock)
    with pytest.raises(DBAPIError, match="permission denied"), database.app.begin() as connection:
        connection.execute(delete(log_content))
    with database.owner.begin() as connection:
        connection.execute(delete(log_content))
    with database.app.begin() as connection:
        entry = find_entry(connection, leaf_id)
        inclusion_proof(connection, leaf_id).verify(entry.entry, [KEY])
        with pytest.raises(NotFoundError, match="erased"):
            read_content(connection, entry.content_digest)


def test_a_second_head_of_one_size_cannot_be_stored(database: TestDatabase, clock: FrozenClock) -> None:
    put(database, clock, "a")
    sequence(database.app, SIGNER, clock)
    with pytest.raises(DBAPIError, match="duplicate key"), database.app.begin() as connection:
        connection.execute(
            text("insert into attest_log_checkpoint values (1, decode(repeat('00', 32), 'hex'), 'x', now())")
        )


@pytest.mark.parametrize("change", [{"act": "Bad Act"}, {"act": ""}, {"subject": ""}, {"subject": "a\nb"}])
def test_malformed_acts_are_refused(database: TestDatabase, clock: FrozenClock, change: dict[str, str]) -> None:
    with database.app.begin() as connection:
        with pytest.raises(InputError):
            append(
                connection,
                **({"act": "a", "subject": "s"} | change),
                content=b"",
                at=clock.now(),  # type: ignore[arg-type]
            )
        assert connection.execute(select(func.count()).select_from(log_pending)).scalar_one() == 0
