"""`mc up`: database, Dagster UI and daemon, API, runner and sequencer on this machine, until Ctrl-C."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from json import dumps
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from mc_pipelines.cli.output import Json

if TYPE_CHECKING:
    from mc_pipelines.foundation.processes import Supervisor

app = typer.Typer(help="Start database, Dagster UI and API on this machine.")

_START_SECONDS = 120


@app.command()
def up(
    ui: Annotated[bool, typer.Option(help="Serve the Dagster UI and its daemon.")] = True,
    api: Annotated[bool, typer.Option(help="Serve the HTTP API.")] = True,
    runner: Annotated[bool, typer.Option(help="Serve the execution queue.")] = True,
    json: Json = False,
) -> None:
    """Serve on loopback until Ctrl-C; then no process is left within 15 seconds.

    Example: MC_UI_PORT=3001 mc up
    """
    from mc_pipelines.cli.instance import environment
    from mc_pipelines.composition import open_context
    from mc_pipelines.foundation import embedded
    from mc_pipelines.foundation.logs import configure
    from mc_pipelines.foundation.processes import Supervisor, require_free_port
    from mc_pipelines.foundation.settings import load_settings

    _interrupt_on_term()
    settings = load_settings()
    embedded_before = settings.database_url is not None or embedded.is_running(settings)
    context = open_context(settings)
    configure(settings)
    if ui:
        require_free_port("127.0.0.1", settings.ui_port, field="MC_UI_PORT")
    if api:
        require_free_port(settings.api_host, settings.api_port, field="MC_API_PORT")
    variables = environment(settings, embedded.ensure_running(settings))
    supervisor = Supervisor(settings.home_path / "logs")
    started = time.monotonic()
    try:
        for name, command in _commands(variables["DAGSTER_HOME"], settings.ui_port, ui=ui, api=api, runner=runner):
            supervisor.start(name, command, variables)
        addresses = {}
        if api:
            supervisor.wait_for_port(settings.api_host, settings.api_port, seconds=_START_SECONDS)
            addresses["API"] = f"http://{settings.api_host}:{settings.api_port}/docs"
        if ui:
            supervisor.wait_for_port("127.0.0.1", settings.ui_port, seconds=_START_SECONDS)
            addresses["Dagster UI"] = f"http://127.0.0.1:{settings.ui_port}/asset-groups"
        _say_up(addresses, supervisor.log_folder, time.monotonic() - started, json=json)
        _wait_for_an_end(supervisor)
    except KeyboardInterrupt:
        print("\nstopping", file=sys.stderr, flush=True)
    finally:
        supervisor.stop()
        context.database.dispose()
        if not embedded_before:
            embedded.stop(settings)
        elif settings.database_url is None:
            print("the database ran before and runs on; `mc db stop` stops it", file=sys.stderr, flush=True)


def _say_up(addresses: dict[str, str], logs: Path, seconds: float, *, json: bool) -> None:
    if json:
        document = {"addresses": addresses, "logs": str(logs), "seconds": round(seconds, 1)}
        print(dumps(document), flush=True)
        return
    for name, address in addresses.items():
        print(f"{name:11} {address}")
    if "API" in addresses:
        print("token       mc token --subject omar   (whoever `mc people ls` lists)")
    print(f"logs        {logs}")
    print(f"up after {seconds:.1f} s; Ctrl-C stops all", flush=True)


def _commands(dagster_home: str, ui_port: int, *, ui: bool, api: bool, runner: bool) -> Iterator[tuple[str, list[str]]]:
    from mc_pipelines.cli.instance import python

    workspace = f"{dagster_home}/workspace.yaml"
    if ui:
        serve = ["-m", "dagster_webserver", "-w", workspace, "-h", "127.0.0.1", "-p", str(ui_port)]
        yield "dagster-ui", [python(), *serve]
        yield "dagster-daemon", [python(), "-m", "dagster._daemon", "run", "-w", workspace]
    if api:
        yield "api", [python(), "-m", "mc_pipelines.api"]
    if runner:
        yield "runner", [python(), "-m", "mc_pipelines.cli.main", "runner", "serve"]


def _wait_for_an_end(supervisor: Supervisor) -> None:
    from mc_pipelines.foundation.errors import UnavailableError
    from mc_pipelines.foundation.processes import last_lines

    while (ended := supervisor.ended()) is None:
        time.sleep(0.5)
    raise UnavailableError(
        f"{ended.name} ended with exit code {ended.process.returncode}: {last_lines(ended.log)}",
        mend=f"read {ended.log}",
    )


def _interrupt_on_term() -> None:
    """Treat TERM as Ctrl-C, and listen to INT even where the shell made us ignore it (a background job)."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGINT, interrupt)
