"""Health, readiness and metrics: what a platform team's probes and Prometheus ask."""

from __future__ import annotations

import hmac
from typing import Any

from fastapi import APIRouter, Request, Response

from mc_pipelines import __version__
from mc_pipelines.api.auth import bearer_token
from mc_pipelines.foundation import metrics
from mc_pipelines.foundation.errors import MaestroError, UnauthenticatedError, UnavailableError
from mc_pipelines.migrations.upgrade import current, head

router = APIRouter(tags=["operations"])
PROMETHEUS_TEXT = "text/plain; version=0.0.4; charset=utf-8"


@router.get("/health", summary="Whether the process lives")
def health() -> dict[str, str]:
    """Answer at once, without looking at anything else."""
    return {"status": "ok", "version": __version__}


@router.get("/ready", summary="Whether requests can be served")
def ready(request: Request) -> dict[str, Any]:
    """Check the database, its revision and the object store."""
    context = request.app.state.context
    with context.database.begin() as connection:
        revision = current(connection)
    if revision != head():
        raise UnavailableError(
            "The database's schema is not the one this version needs",
            field="revision",
            value=revision,
            mend="run `mc db upgrade`",
        )
    try:
        context.object_store.exists("ready")
    except MaestroError:
        raise
    except OSError as error:
        raise UnavailableError(f"The object store does not answer: {error}", field="MC_OBJECT_STORE_URL") from error
    return {"status": "ready", "revision": revision}


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
def prometheus(request: Request) -> Response:
    """Business figures come from the database, latencies from this process."""
    context = request.app.state.context
    expected = context.settings.metrics_token
    if expected is not None:
        given = bearer_token(request.headers.get("authorization"))
        if not hmac.compare_digest(given.encode(), expected.get_secret_value().encode()):
            raise UnauthenticatedError("The metrics token is refused", field="Authorization")
    return Response(metrics.render(context.database), media_type=PROMETHEUS_TEXT)
