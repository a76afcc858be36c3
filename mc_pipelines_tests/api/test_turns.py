"""Who computes when: as many at once as there are threads, first come first served, in the caller's own context."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar

import pytest
from fastapi import FastAPI, Request, Response
from fastapi.testclient import TestClient

from mc_pipelines.api.access import AccessOf, ContextOf, QuestionRoute, guarded_router
from mc_pipelines.api.routes import provenance
from mc_pipelines.api.turns import Turns
from mc_pipelines.foundation.errors import MaestroError

WHO: ContextVar[str] = ContextVar("who", default="nobody")


def test_turns_are_taken_in_order_and_never_more_than_there_are_threads() -> None:
    turns, lock = Turns("test", 2), threading.Lock()
    begun: list[int] = []
    at_once, most = 0, 0
    proceed = threading.Barrier(2)

    def work(number: int) -> str:
        nonlocal at_once, most
        with lock:
            begun.append(number)
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
    assert [set(begun[place : place + 2]) for place in range(0, 8, 2)] == [{0, 1}, {2, 3}, {4, 5}, {6, 7}]
    turns.close()


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
    assert marked == {"diff", "gaps", "explain", "what-if"}
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
