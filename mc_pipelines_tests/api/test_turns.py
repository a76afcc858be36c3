"""Who computes when: as many at once as there are threads, first come first served, in the caller's own context."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

import pytest
from fastapi import FastAPI, Request, Response
from fastapi.testclient import TestClient

from mc_pipelines.api.access import AccessOf, ContextOf, QuestionRoute, guarded_router
from mc_pipelines.api.routes import provenance
from mc_pipelines.api.turns import Queue, Turns, given_away
from mc_pipelines.foundation.errors import MaestroError
from mc_pipelines.foundation.ids import TenantId

WHO: ContextVar[str] = ContextVar("who", default="nobody")


def test_no_more_compute_at_once_than_there_are_turns() -> None:
    turns, lock = Turns("test", 2), threading.Lock()
    at_once, most = 0, 0
    proceed = threading.Barrier(2)

    def work(number: int) -> str:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        proceed.wait(10)  # both threads are in here, so a third one would be seen
        with lock:
            at_once -= 1
        proceed.wait(10)
        return f"{WHO.get()}{number}"

    async def everybody() -> list[str]:
        async def one(number: int) -> str:
            WHO.set("caller")
            return await turns.run(work, number)

        return await asyncio.gather(*(one(number) for number in range(8)))

    assert asyncio.run(everybody()) == [f"caller{number}" for number in range(8)]
    assert most == 2
    turns.close()


def test_a_turn_goes_to_who_has_waited_longest() -> None:
    queue, order = Queue(1), []
    queue.take()

    def work(number: int) -> None:
        queue.take()
        order.append(number)
        queue.give()

    with ThreadPoolExecutor(5) as pool:
        for number in range(5):
            pool.submit(work, number)
            while len(queue._waiting) <= number:
                time.sleep(0.001)
        queue.give()
    assert order == [0, 1, 2, 3, 4]
    queue.take()  # it is free again
    assert not queue._free


def test_who_waits_gives_the_turn_away_and_takes_one_again() -> None:
    turns = Turns("test", 1)
    opened, order = threading.Event(), []

    def opens() -> str:
        with given_away():
            assert opened.wait(10), "the other never had its turn"
        order.append("opened")
        return "first"

    def quick() -> str:
        order.append("quick")
        opened.set()
        return "second"

    async def both() -> list[str]:
        return await asyncio.gather(turns.run(opens), turns.run(quick))

    assert asyncio.run(both()) == ["first", "second"]
    assert order == ["quick", "opened"]
    with given_away():  # without a turn there is nothing to give
        assert asyncio.run(turns.run(len, "again")) == 5
    turns.close()


@pytest.mark.database
def test_a_graph_that_is_being_opened_keeps_nobody_elses_waiting(app: FastAPI, client: TestClient, bearer) -> None:
    """More requests wait for one tenant's graph than there are turns; another tenant's question is answered."""
    store = app.state.context.graph_store
    slow = store._entry(TenantId("acme"))
    asked = "/api/provenance/snapshots"
    with ThreadPoolExecutor(9) as pool:
        with slow.lock:  # as if it were being opened
            waiting = [pool.submit(client.get, asked, headers=bearer("rita", "acme")) for _ in range(8)]
            other = pool.submit(client.get, asked, headers=bearer("rita", "globex")).result(20)
            assert not any(each.done() for each in waiting)
        assert other.status_code == 200
        assert {each.result(20).status_code for each in waiting} == {200}


def test_an_error_is_the_callers() -> None:
    turns = Turns("test", 1)

    def fail() -> None:
        raise MaestroError("no")

    with pytest.raises(MaestroError, match="no"):
        asyncio.run(turns.run(fail))
    assert asyncio.run(turns.run(len, "goes on")) == 7
    turns.close()


@pytest.mark.database
def test_quick_questions_do_not_wait_behind_surveys(app, client: TestClient, bearer) -> None:
    """Every thread for surveys is held, and a quick question is answered all the same."""
    held = threading.Event()
    for _ in range(32):
        app.state.surveys._pool.submit(held.wait, 30)
    answer = client.get("/api/provenance/snapshots", headers=bearer("rita", "acme"))
    held.set()
    assert answer.status_code == 200


def test_surveys_are_marked() -> None:

    marked = {
        route.path.rpartition("/")[2] for route in provenance.router.routes if hasattr(route.endpoint, "mc_survey")
    }
    assert marked == {"nodes", "diff", "gaps", "explain", "what-if", "proof"}
    assert all(isinstance(route, QuestionRoute) for route in provenance.router.routes)


@pytest.mark.database
def test_an_answer_without_a_decision_about_the_tenant_is_not_sent(app: FastAPI, bearer) -> None:
    """A question whose code forgets to ask about the tenant fails, and does not send what it read."""
    router = guarded_router("provenance", QuestionRoute)

    @router.get("/api/provenance/gaps")
    def careless(request: Request, access: AccessOf, context: ContextOf) -> Response:
        return Response("secret")

    careful = FastAPI()
    careful.state = app.state
    careful.include_router(router)
    with TestClient(careful) as running, pytest.raises(MaestroError, match="without a decision about the tenant"):
        running.get("/api/provenance/gaps", headers=bearer("rita", "acme"))
