"""`mc runner`: serve the queue on this machine."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from mc_pipelines.cli.output import Json, print_json

app = typer.Typer(help="Serve the queue: place, drive, seal.", no_args_is_help=True)


@app.command()
def serve(
    lease: Annotated[float, typer.Option(help="Seconds after which a silent runner's work is taken over.", min=1)] = 30,
    capacity: Annotated[int, typer.Option(help="Most executions held at once.", min=1, max=100_000)] = 64,
    metrics_port: Annotated[
        int | None, typer.Option(help="Serve this process's latencies on loopback.", min=0, max=65_535)
    ] = None,
    json: Json = False,
) -> None:
    """Run executions as they are published, until Ctrl-C; what runs then goes back to the queue.

    Beside the queue it flushes facts into the lake, enters receipts into the audit log by the minute, and signs the
    log's checkpoints. Any number may run.

    Example: mc runner serve --lease 10
    """
    import asyncio
    import signal
    from datetime import timedelta

    from mc_pipelines.cli.context import open_context
    from mc_pipelines.composition import local_runner
    from mc_pipelines.foundation.logs import configure
    from mc_pipelines.runner import service

    context = open_context()
    configure(context.settings)
    context.database.refuse_privileged_role()
    if metrics_port is not None:
        _serve_metrics(metrics_port)

    async def run() -> int:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        dispatcher = local_runner(context, lease=timedelta(seconds=lease), capacity=capacity)
        print(f"{dispatcher.owner} serves the queue; Ctrl-C stops it", file=sys.stderr, flush=True)
        return await service.serve(dispatcher, lambda: context.signer, stop)

    ended = asyncio.run(run())
    if json:
        print_json({"ended": ended})
    else:
        print(f"{ended} executions ended here")
    context.database.dispose()


@app.command()
def drain(json: Json = False) -> None:
    """Run everything that is due, then end.

    Example: mc runner drain
    """
    import asyncio

    from mc_pipelines.cli.context import open_context
    from mc_pipelines.composition import local_runner
    from mc_pipelines.foundation.logs import configure

    context = open_context()
    configure(context.settings)
    context.database.refuse_privileged_role()

    async def run() -> int:
        return await local_runner(context).run_until_idle()

    ended = asyncio.run(run())
    if json:
        print_json({"ended": ended})
    else:
        print(f"{ended} execution{'' if ended == 1 else 's'} ended; `mc executions ls`")


@app.command()
def status(json: Json = False) -> None:
    """Say how many executions wait and are held, and how many rows of facts wait for the lake.

    Example: mc runner status
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.runner.lake import waiting
    from mc_pipelines.runner.queue import depth

    with open_context().database.begin() as connection:
        found = depth(connection)
        facts, _, since = waiting(connection)
    if json:
        print_json(found | {"factsWaiting": facts, "factsWaitingSince": since})
    else:
        print(f"{found['queued']} queued, {found['claimed']} claimed; {facts} rows of facts wait for the lake")


def _serve_metrics(port: int) -> None:
    from prometheus_client import start_http_server

    from mc_pipelines.foundation.metrics import registry
    from mc_pipelines.foundation.processes import require_free_port

    if port:
        require_free_port("127.0.0.1", port, field="--metrics-port")
    server, _ = start_http_server(port, addr="127.0.0.1", registry=registry)
    print(f"metrics  http://127.0.0.1:{server.server_port}/metrics", file=sys.stderr, flush=True)
