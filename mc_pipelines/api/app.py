"""The HTTP application: routes of every capability over one context."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.routing import APIRoute

from mc_pipelines import __version__
from mc_pipelines.api import openapi, problems
from mc_pipelines.api.auth import TokenVerifier, open_verifier
from mc_pipelines.api.exchange import Exchange
from mc_pipelines.api.limits import BodyLimit
from mc_pipelines.api.routes import all_routers
from mc_pipelines.api.turns import Turns, given_away
from mc_pipelines.composition import Context, register_metrics
from mc_pipelines.decision.engine import PolicyEngine, open_engine
from mc_pipelines.decision.packs import loaded

_DESCRIPTION = """
The governance plane of a multi-cloud workflow platform: credits, rollouts, provenance.

Errors are problem details (RFC 9457) with the field at fault and the mend. Every POST may be repeated.
"""
_REMEMBERED = 4096
"""Decisions of the access pack that are kept: operations times callers."""


def create_app(context: Context, verifier: TokenVerifier | None = None, engine: PolicyEngine | None = None) -> FastAPI:
    """Return the application.

    Args:
        context: what the routes work with; closed when the application shuts down.
        verifier: checks bearer tokens; default: what the settings name.
        engine: evaluates the access pack; default: what the settings name.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        context.graph_store.waiting = given_away
        context.graph_store.watch()
        yield
        app.state.questions.close()
        app.state.surveys.close()
        context.graph_store.close()
        context.database.dispose()

    app = FastAPI(
        title="Maestro Conductor",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        openapi_url=None,  # documents are routes like all others, and pages load nothing from elsewhere
        redirect_slashes=False,
    )
    pack = loaded("access")
    register_metrics()
    app.state.context = context
    app.state.verifier = verifier or open_verifier(context.settings)
    app.state.questions, app.state.surveys = Turns("question"), Turns("survey")
    app.state.engine = engine or open_engine(context.settings, pack, remember=_REMEMBERED)
    routers = all_routers(context.settings)
    for router in routers:
        app.include_router(router)
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    problems.install(app, lambda path: _methods(routes, path))
    openapi.install(app, pack.data["operations"])
    app.add_middleware(BodyLimit)
    app.add_middleware(Exchange)
    return app


def _methods(routes: list[APIRoute], path: str) -> frozenset[str]:
    found = {method for route in routes if route.path_regex.match(path) for method in route.methods or ()}
    return frozenset(found | ({"HEAD"} if "GET" in found else set()))
