"""The HTTP application: routes of every capability over one context."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from mc_pipelines import __version__
from mc_pipelines.api import problems
from mc_pipelines.api.auth import TokenVerifier, open_verifier
from mc_pipelines.api.limits import BodyLimit
from mc_pipelines.api.local_issuer import LocalIssuer
from mc_pipelines.api.routes import all_routers
from mc_pipelines.composition import Context

_DESCRIPTION = """
The governance plane of a multi-cloud workflow platform: credits, rollouts, provenance.

Errors are problem details (RFC 9457) with the field at fault and the mend. Every POST may be repeated.
"""


def create_app(context: Context, verifier: TokenVerifier | None = None) -> FastAPI:
    """Return the application.

    Args:
        context: what the routes work with; closed when the application shuts down.
        verifier: checks bearer tokens; default: what the settings name.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        context.database.dispose()

    app = FastAPI(
        title="Maestro Conductor", version=__version__, description=_DESCRIPTION, lifespan=lifespan, redoc_url=None
    )
    app.state.context = context
    app.state.verifier = verifier or open_verifier(context.settings)
    app.add_middleware(BodyLimit)
    problems.install(app)
    for router in all_routers():
        app.include_router(router)
    if context.settings.oidc_issuer is None:
        issuer = LocalIssuer(context.settings.home_path)
        app.add_api_route("/.well-known/jwks.json", issuer.jwks, tags=["operations"], summary="Keys of local tokens")
    return app
