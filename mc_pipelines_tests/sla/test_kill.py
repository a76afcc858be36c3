"""Killed with -9 at every statement, asked by sixty-four at once: one note, one transaction, one leaf, one body."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from mc_pipelines.api.local_issuer import LOCAL_ISSUER, LocalIssuer
from mc_pipelines.foundation.ids import PersonId
from mc_pipelines.foundation.tenants import put_person
from mc_pipelines_tests.sla.conftest import World
from mc_pipelines_tests.sla.test_request import ask, counts

pytestmark = pytest.mark.database
ONE_EACH = {"notes": 1, "posted": 1, "leaves": 1, "last": 1}

# Forks a child for every step, so that libraries are loaded once. The child kills itself at its n-th step of a sort:
# before or after a statement, or before a commit. The parent prints what became of it.
ZYGOTE = """
import json, os, signal, sys
from sqlalchemy import event
from mc_pipelines.foundation.clock import FrozenClock, parse_utc
from mc_pipelines.foundation.database import Database
from mc_pipelines.sla.request import create_credit

url, now, contract = sys.argv[1:]
clock = FrozenClock(parse_utc(now, field="now"))

STEPS = {"commit": ["commit"], "any": ["before_cursor_execute", "after_cursor_execute", "commit"]}

def attempt(sort, step):
    left = int(step)
    def tick(*_):
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    database = Database(url)
    for name in STEPS[sort]:
        event.listen(database.engine, name, tick)
    answer = create_credit(database, clock, tenant="acme", service="pipelines",
                           period="2026-01-19/2026-01-25", contract=contract)
    return json.dumps({"status": answer.status, "body": answer.body})

for line in sys.stdin:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, attempt(*line.split()).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    print(said if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0 else "killed", flush=True)
"""


@contextmanager
def zygote(world: World) -> Iterator[Callable[[str, int], str]]:
    """Yield a function (sort, step) -> what a child said that was killed at that step, or "killed"."""
    arguments = [sys.executable, "-c", ZYGOTE, world.database.url, world.clock.now().isoformat(), world.sealed.digest]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        asked, said = running.stdin, running.stdout
        assert asked is not None
        assert said is not None

        def attempt(sort: str, step: int) -> str:
            asked.write(f"{sort} {step}\n")
            asked.flush()
            return said.readline().strip()

        yield attempt
        asked.close()


@pytest.mark.parametrize(
    ("sort", "stride", "least"),
    [("commit", 1, 2), ("any", 11, 66), pytest.param("any", 1, 66, marks=pytest.mark.slow)],
)
def test_killed_at_every_step_there_is_one_truth(world: World, sort: str, stride: int, least: int) -> None:
    """At every commit, and at every statement (by default every eleventh step; before and after it are two)."""
    world.breach()
    draft = world.draft()
    world.approve(world.maker, draft)
    world.approve(world.checker, draft)
    step, reached, said = 0, 0, "killed"
    with zygote(world) as attempt:
        while said == "killed":
            step += stride
            said = attempt(sort, step)
            found = counts(world)
            assert len(set(found.values())) == 1, (step, found)
            reached = step if found["notes"] == 0 else reached
    assert reached >= least, "too few steps before the note stood"
    body = json.loads(said)["body"]
    assert ask(world).body == body
    assert counts(world) == ONE_EACH


@contextmanager
def api(world: World, home: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MC_")}
    environment |= {"MC_DATABASE_URL": world.database.url, "MC_HOME": str(home), "MC_API_PORT": str(port)}
    environment |= {"MC_LOG_LEVEL": "ERROR"}
    with subprocess.Popen([sys.executable, "-m", "mc_pipelines.api"], env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/health", timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise AssertionError("the API does not come up")


@pytest.mark.slow
def test_sixty_four_requests_to_servers_that_are_killed(world: World, tmp_path: Path) -> None:
    """Real API processes on real PostgreSQL: each is killed with -9 a little later; clients retry until answered."""
    world.clock.advance(datetime.now(UTC) - world.clock.now())
    world.breach()
    draft = world.draft()
    world.approve(world.maker, draft)
    world.approve(world.checker, draft)
    clerk = replace(world.maker, person_id=PersonId(type(world.maker.person_id)(int=77)), issuer=LOCAL_ISSUER)
    clerk = replace(clerk, subject="clerk", name="Clerk", public_keys=())
    with world.database.begin() as connection:
        put_person(connection, clerk, now=world.clock.now())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    token = LocalIssuer(tmp_path).issue(
        "clerk", tenants=(), audience="maestro-conductor", now=datetime.now(UTC), lifetime=timedelta(hours=1)
    )
    document = {
        "tenant": "acme",
        "service": "pipelines",
        "period": "2026-01-19/2026-01-25",
        "contract": world.sealed.digest,
    }

    limits = httpx.Limits(max_connections=64)
    client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=30, limits=limits)

    def post(_: int) -> tuple[int, dict[str, Any]]:
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            try:
                answer = client.post("/api/credits", json=document)
            except httpx.HTTPError:
                time.sleep(0.3)
                continue
            if answer.status_code < 500:
                return answer.status_code, answer.json()
        raise AssertionError("no answer")

    with client, ThreadPoolExecutor(64) as pool:
        waiting = [pool.submit(post, number) for number in range(64)]
        for delay in (0.02, 0.1, 0.3, 0.5, 0.8):
            with api(world, tmp_path, port) as process:
                wait_until_ready(url)
                time.sleep(delay)
                os.kill(process.pid, signal.SIGKILL)
            found = counts(world)
            assert len(set(found.values())) == 1, found
        with api(world, tmp_path, port):
            answers = [one.result() for one in waiting]
    assert {status for status, _ in answers} <= {200, 201}
    assert all(body == answers[0][1] for _, body in answers)
    assert counts(world) == ONE_EACH
