"""`mc runner`: serve the queue on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from mc_pipelines.cli.output import Json, print_json

if TYPE_CHECKING:
    from mc_pipelines.composition import Context
    from mc_pipelines.runner.dispatcher import Dispatcher

app = typer.Typer(help="Serve the queue: place, drive, seal.", no_args_is_help=True)


@app.command()
def serve() -> None:
    """Run executions as they are published, until Ctrl-C; what runs then goes back to the queue.

    Example: mc runner serve
    """
    import asyncio
    import signal

    from mc_pipelines.cli.context import open_context

    context = open_context()
    context.database.refuse_privileged_role()

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        await _dispatcher(context).serve(stop)

    asyncio.run(run())


@app.command()
def drain(json: Json = False) -> None:
    """Run everything that is queued, then end.

    Example: mc runner drain
    """
    import asyncio

    from mc_pipelines.cli.context import open_context

    context = open_context()
    context.database.refuse_privileged_role()

    async def run() -> int:
        return await _dispatcher(context).run_until_idle()

    ended = asyncio.run(run())
    if json:
        print_json({"ended": ended})
    else:
        print(f"{ended} executions ended; `mc executions ls`")


@app.command()
def status(json: Json = False) -> None:
    """Say how many executions wait and how many are held.

    Example: mc runner status
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.runner.queue import depth

    with open_context().database.begin() as connection:
        found = depth(connection)
    if json:
        print_json(found)
    else:
        print(f"{found['queued']} queued, {found['claimed']} claimed")


def _dispatcher(context: Context) -> Dispatcher:
    from mc_pipelines.runner.local import local_dispatcher

    return local_dispatcher(
        context.settings,
        database=context.database,
        store=context.object_store,
        sealed=context.encrypted_store,
        signer=lambda: context.signer,
        clock=context.clock,
    )
