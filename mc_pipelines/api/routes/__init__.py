"""One module of routes per capability; each calls the domain and returns its records."""

from __future__ import annotations

from importlib import import_module

from fastapi import APIRouter

_MODULES = ("health", "credits", "rollouts", "provenance")


def all_routers() -> list[APIRouter]:
    """Return the routers of all capabilities, in the order of the OpenAPI document."""
    return [import_module(f"{__name__}.{module}").router for module in _MODULES]
