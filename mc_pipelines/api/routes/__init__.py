"""One module of routes per capability; each calls the domain and returns its records."""

from __future__ import annotations

from importlib import import_module

from fastapi import APIRouter

from mc_pipelines.foundation.settings import Settings

_MODULES = (
    "health",
    "reference",
    "executions",
    "rollouts",
    "credits",
    "sla",
    "log",
    "provenance",
    "graph_page",
    "lineage",
)


def all_routers(settings: Settings) -> list[APIRouter]:
    """Return the routers of all capabilities, in the order of the OpenAPI document.

    Args:
        settings: where they name no OIDC issuer, the local issuer publishes its key.
    """
    names = _MODULES if settings.oidc_issuer else (*_MODULES, "local_keys")
    return [import_module(f"{__name__}.{module}").router for module in names]
