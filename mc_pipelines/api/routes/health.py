"""Health, readiness and metrics: what a platform team's probes and Prometheus ask."""

from __future__ import annotations

import hmac
from importlib import import_module
from importlib.util import find_spec

from fastapi import Request, Response
from pydantic import BaseModel

from mc_pipelines import __version__
from mc_pipelines.api.access import ContextOf, guarded_router
from mc_pipelines.api.auth import bearer_token
from mc_pipelines.api.openapi import answers
from mc_pipelines.foundation import metrics
from mc_pipelines.foundation.errors import MaestroError, UnauthenticatedError, UnavailableError
from mc_pipelines.migrations.upgrade import current, head

router = guarded_router("operations")
PROMETHEUS_TEXT = "text/plain; version=0.0.4; charset=utf-8"
_CAPABILITIES = ("executions", "keys", "policy", "runner", "sla", "showback", "provenance", "estimator", "privacy")
_EXAMPLE = """# HELP mc_policy_rollout_phase Where each active rollout stands
# TYPE mc_policy_rollout_phase gauge
mc_policy_rollout_phase{pack="placement",phase="warn"} 1.0
"""


class Health(BaseModel):
    """The process lives."""

    status: str
    version: str


class Readiness(BaseModel):
    """Requests can be served."""

    status: str
    revision: str


def register_metrics() -> None:
    """Import the module of each capability that registers its business metrics, where it has one."""
    for capability in _CAPABILITIES:
        name = f"mc_pipelines.{capability}.metrics"
        if find_spec(name) is not None:
            import_module(name)


register_metrics()


@router.get("/health", summary="Whether the process lives", responses=answers({"status": "ok", "version": __version__}))
def health() -> Health:
    """Answer at once, without looking at anything else."""
    return Health(status="ok", version=__version__)


@router.get(
    "/ready", summary="Whether requests can be served", responses=answers({"status": "ready", "revision": "0012_api"})
)
def ready(context: ContextOf) -> Readiness:
    """Check the database, its revision and the object store."""
    with context.database.begin() as connection:
        revision = current(connection)
    if revision is None or revision != head():
        raise UnavailableError(
            "The database's schema is not the one this version needs",
            field="revision",
            value=revision or "none",
            mend="run `mc db upgrade`",
        )
    try:
        context.object_store.exists("ready")
    except MaestroError as error:
        raise UnavailableError(
            f"The object store does not answer: {error.detail}", field="MC_OBJECT_STORE_URL"
        ) from error
    except OSError as error:
        raise UnavailableError(f"The object store does not answer: {error}", field="MC_OBJECT_STORE_URL") from error
    return Readiness(status="ready", revision=revision)


@router.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses=answers(_EXAMPLE, 401, media_type="text/plain"),
)
def prometheus(request: Request, context: ContextOf) -> Response:
    """Business figures come from the database, latencies from this process.

    Where MC_METRICS_TOKEN is set, it has to come as the bearer token.
    """
    expected = context.settings.metrics_token
    if expected is not None:
        given = bearer_token(request.headers.get("authorization"))
        if not hmac.compare_digest(given.encode(), expected.get_secret_value().encode()):
            raise UnauthenticatedError("The metrics token is refused", field="Authorization")
    return Response(metrics.render(context.database), media_type=PROMETHEUS_TEXT)
