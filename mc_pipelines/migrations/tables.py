"""Imports every capability's records, so that the one MetaData is complete."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from mc_pipelines.foundation.database import metadata

_RECORDS = (
    "foundation",
    "attest",
    "keys",
    "decision",
    "executions",
    "runner",
    "policy",
    "sla",
    "showback",
    "provenance",
    "estimator",
    "api",
)
for _capability in _RECORDS:
    if find_spec(f"mc_pipelines.{_capability}.records") is not None:
        import_module(f"mc_pipelines.{_capability}.records")

__all__ = ["metadata"]
