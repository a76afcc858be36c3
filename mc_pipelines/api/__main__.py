"""`python -m mc_pipelines.api`: serve the API until TERM."""

from __future__ import annotations

import gc

import uvicorn

from mc_pipelines.api.app import create_app
from mc_pipelines.composition import open_context
from mc_pipelines.foundation.logs import configure


def main() -> None:
    """Serve on the address and port of the settings."""
    context = open_context()
    configure(context.settings)
    app = create_app(context)
    # Modules, routes and tables live as long as the process: a full collection need not look at them while a
    # request waits.
    gc.collect()
    gc.freeze()
    uvicorn.run(
        app,
        host=context.settings.api_host,
        port=context.settings.api_port,
        log_level=context.settings.log_level.lower(),
        access_log=False,  # every request is logged once, with its id and without its query
        timeout_graceful_shutdown=5,
        server_header=False,
    )


if __name__ == "__main__":
    main()
