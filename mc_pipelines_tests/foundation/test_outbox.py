"""Rows are published once, handed to one consumer at a time, and processed once whatever dies."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.outbox import claim, mark_processed, publish
from mc_pipelines_tests.conftest import TestDatabase

pytestmark = pytest.mark.database
TOPIC = "test.happened"


def _publish(database: TestDatabase, count: int) -> None:
    with database.app.begin() as connection:
        for number in range(count):
            publish(connection, TOPIC, f"key-{number:04}", {"number": number})


def _waiting(database: TestDatabase) -> int:
    with database.app.begin() as connection:
        return connection.execute(text("select count(*) from outbox where processed_at is null")).scalar_one()


def test_the_same_key_is_published_once_and_keeps_its_first_payload(database: TestDatabase) -> None:
    for number in (1, 2):
        with database.app.begin() as connection:
            publish(connection, TOPIC, "one", {"number": number})
            publish(connection, "another.topic", "one", {"number": number})
    with database.app.begin() as connection:
        (row,) = claim(connection, TOPIC, limit=10)
    assert (row.key, row.payload) == ("one", {"number": 1})


def test_a_row_of_a_transaction_that_fails_was_never_published(database: TestDatabase) -> None:
    with contextlib.suppress(RuntimeError), database.app.begin() as connection:
        publish(connection, TOPIC, "one", {})
        raise RuntimeError
    assert _waiting(database) == 0


def test_rows_come_oldest_first_and_in_batches(database: TestDatabase, clock: FrozenClock) -> None:
    _publish(database, 5)
    with database.app.begin() as connection:
        first = claim(connection, TOPIC, limit=3)
        mark_processed(connection, [row.outbox_id for row in first], now=clock.now())
    with database.app.begin() as connection:
        second = claim(connection, TOPIC, limit=3)
    assert [row.payload["number"] for row in first + second] == [0, 1, 2, 3, 4]


def test_a_row_that_commits_late_is_not_stepped_over(database: TestDatabase, clock: FrozenClock) -> None:
    """The defect of `id > cursor`: the slow transaction has the lower id."""
    with database.app.begin() as slow:
        publish(slow, TOPIC, "slow", {})
        with database.app.begin() as fast:
            publish(fast, TOPIC, "fast", {})
        with database.app.begin() as consumer:
            rows = claim(consumer, TOPIC, limit=10)
            mark_processed(consumer, [row.outbox_id for row in rows], now=clock.now())
        assert [row.key for row in rows] == ["fast"]
    with database.app.begin() as consumer:
        assert [row.key for row in claim(consumer, TOPIC, limit=10)] == ["slow"]


def test_two_consumers_never_hold_the_same_row(database: TestDatabase) -> None:
    _publish(database, 10)
    with database.app.begin() as one, database.app.begin() as two:
        first, second = claim(one, TOPIC, limit=6), claim(two, TOPIC, limit=6)
        assert len(first) == 6
        assert len(second) == 4
        assert not {row.outbox_id for row in first} & {row.outbox_id for row in second}


def test_a_consumer_that_fails_gives_its_rows_back(database: TestDatabase, clock: FrozenClock) -> None:
    _publish(database, 3)
    with contextlib.suppress(RuntimeError), database.app.begin() as connection:
        mark_processed(connection, [row.outbox_id for row in claim(connection, TOPIC, limit=3)], now=clock.now())
        raise RuntimeError
    assert _waiting(database) == 3


def test_a_naive_time_is_refused(database: TestDatabase) -> None:
    _publish(database, 1)
    with pytest.raises(InputError, match="without a zone"), database.app.begin() as connection:
        mark_processed(connection, [1], now=datetime(2026, 1, 1))  # noqa: DTZ001 - the defect under test


def test_the_application_may_not_rewrite_or_delete_what_was_published(database: TestDatabase) -> None:
    _publish(database, 1)
    for statement in ("update outbox set payload = '{}'", "delete from outbox", "truncate outbox"):
        with pytest.raises(ProgrammingError, match="permission denied"), database.app.begin() as connection:
            connection.execute(text(statement))


def _make_effects(database: TestDatabase) -> None:
    with database.owner.begin() as connection:
        # No unique constraint: a second effect must be seen, not be hidden.
        connection.execute(text("create table effect (number int not null)"))
        connection.execute(text("grant select, insert on effect to mc_app"))


def _effects(database: TestDatabase) -> list[int]:
    with database.app.begin() as connection:
        return sorted(connection.execute(text("select number from effect")).scalars())


def test_concurrent_consumers_cause_each_effect_exactly_once(database: TestDatabase, clock: FrozenClock) -> None:
    _publish(database, 200)
    _make_effects(database)
    barrier = threading.Barrier(4)

    def consume() -> int:
        barrier.wait()
        done = 0
        while True:
            with database.app.begin() as connection:
                rows = claim(connection, TOPIC, limit=7)
                if not rows:
                    return done
                for row in rows:
                    connection.execute(text("insert into effect values (:number)"), row.payload)
                mark_processed(connection, [row.outbox_id for row in rows], now=clock.now())
                done += len(rows)

    with ThreadPoolExecutor(4) as pool:
        counts = [future.result() for future in [pool.submit(consume) for _ in range(4)]]
    assert sum(counts) == 200
    assert _effects(database) == list(range(200))


_CONSUMER = """
import sys
from datetime import UTC, datetime
from sqlalchemy import text
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.outbox import claim, mark_processed
database = Database(sys.argv[1])
while True:
    with database.begin() as connection:
        rows = claim(connection, "test.happened", limit=5)
        for row in rows:
            connection.execute(text("insert into effect values (:number)"), row.payload)
            connection.execute(text("select pg_sleep(0.005)"))
        mark_processed(connection, [row.outbox_id for row in rows], now=datetime.now(UTC))
    if not rows:
        break
"""


def test_consumers_killed_at_any_moment_leave_each_effect_exactly_once(database: TestDatabase) -> None:
    _publish(database, 300)
    _make_effects(database)
    kills = 0
    for wanted in (20, 90, 170):
        consumer = subprocess.Popen([sys.executable, "-c", _CONSUMER, database.app.url])
        deadline = time.monotonic() + 60
        while len(_effects(database)) < wanted and consumer.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        consumer.send_signal(signal.SIGKILL)
        kills += consumer.wait() == -signal.SIGKILL
    # What the dead held is free again only when the server has noticed; the last consumer runs until nothing waits.
    deadline = time.monotonic() + 60
    while _waiting(database) and time.monotonic() < deadline:
        subprocess.run([sys.executable, "-c", _CONSUMER, database.app.url], check=True, timeout=60)
    assert kills == 3
    assert _effects(database) == list(range(300))
