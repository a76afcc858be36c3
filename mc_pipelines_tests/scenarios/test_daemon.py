"""Through the real daemon: a run that fails reaches a person, and a run that is killed frees its place."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from benchmarks.outbox import publish, wait_for
from mc_pipelines.cli.instance import environment
from mc_pipelines.composition import Context, open_context
from mc_pipelines.foundation import embedded
from mc_pipelines.foundation.settings import Settings

pytestmark = [pytest.mark.database, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that keeps what is posted to it."""
    posted: list[dict[str, Any]] = []

    class Keep(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Keep)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/alerts", posted
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Context, dict[str, str]]]:
    settings = Settings(home=tmp_path_factory.mktemp("s") / "h")
    context = open_context(settings)
    try:
        yield context, environment(settings, embedded.ensure_running(settings))
    finally:
        context.database.dispose()
        embedded.stop(settings)


def daemon(variables: dict[str, str]) -> subprocess.Popen[bytes]:
    workspace = f"{variables['DAGSTER_HOME']}/workspace.yaml"
    with Path(variables["MC_HOME"], "daemon.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "dagster._daemon", "run", "-w", workspace],
            env=variables,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def end(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_failing_run_reaches_the_webhook_once(
    home: tuple[Context, dict[str, str]], webhook: tuple[str, list[dict[str, Any]]]
) -> None:
    context, variables = home
    url, posted = webhook
    (context.settings.home_path / "objects").write_text("a file where the store's folder should be")
    publish(context, 0, 3)
    process = daemon(variables | {"MC_WEBHOOK_URL": url})
    try:
        wait_for("the webhook was called", lambda: bool(posted))
        time.sleep(20)  # a sensor that forgot where it was would post the same run at its next tick
    finally:
        end(process)
    assert len({message["run_id"] for message in posted}) == len(posted)
    assert posted[0] | {"run_id": ""} == {
        "event": "dagster.run.failed",
        "run_id": "",
        "job": "record_executions",
        "steps": ["recorded_executions"],
    }


@pytest.fixture
def runs(home: tuple[Context, dict[str, str]]) -> Iterator[Callable[[], list[str]]]:
    """Returns a function -> the status of every run, oldest first."""
    engine = create_engine(embedded.ensure_running(home[0].settings).dagster)

    def statuses() -> list[str]:
        with engine.connect() as connection:
            if connection.execute(text("select to_regclass('runs')")).scalar_one() is None:
                return []
            return list(connection.execute(text("select status from runs order by id")).scalars())

    yield statuses
    engine.dispose()


STUCK = """
import dagster as dg
from mc_pipelines.dagster_ext.orphans import PROCESS_TAG, this_process

@dg.op(pool="provenance_generation")
def forever():
    print("held", flush=True)
    import time
    time.sleep(600)

@dg.job
def stuck():
    forever()

with dg.DagsterInstance.get() as instance:
    stuck.execute_in_process(instance=instance, tags={PROCESS_TAG: this_process()})
"""


def test_a_killed_process_gives_its_pool_back_to_the_next(
    home: tuple[Context, dict[str, str]], runs: Callable[[], list[str]]
) -> None:
    _, variables = home
    victim = subprocess.Popen(
        [sys.executable, "-c", STUCK], env=variables, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert victim.stdout is not None
    assert victim.stdout.readline() == b"held\n"
    victim.kill()
    victim.wait()
    victim.stdout.close()
    assert runs() == ["STARTED"]
    subprocess.run(
        [sys.executable, "-m", "mc_pipelines.dagster_ext.materialize", "assets:provenance_edges,provenance_generation"],
        env=variables,
        check=True,
        timeout=120,
        stdout=subprocess.DEVNULL,
    )
    assert runs() == ["FAILURE", "SUCCESS"]


def test_a_killed_run_is_found_and_its_place_is_given_away(
    home: tuple[Context, dict[str, str]], runs: Callable[[], list[str]]
) -> None:
    context, variables = home
    publish(context, 0, 3)
    for _ in range(2):  # as many as may run at once: with both places lost, nothing would ever run again
        process = daemon(variables)
        try:
            wait_for("a run has started", lambda: "STARTED" in runs()[-1:])
        finally:
            end(process)
    process = daemon(variables)
    try:
        wait_for("a run has succeeded", lambda: "SUCCESS" in runs())
        wait_for("the killed ones are known to have failed", lambda: "STARTED" not in runs())
    finally:
        end(process)
