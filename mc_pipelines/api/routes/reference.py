"""The API's own description: OpenAPI for machines, a page without scripts for people."""

from __future__ import annotations

from typing import Any

from fastapi import Request, Response
from fastapi.responses import HTMLResponse

from mc_pipelines.api.access import guarded_router
from mc_pipelines.api.openapi import answers
from mc_pipelines.api.reference import render

router = guarded_router("operations")
_HOUR = {"Cache-Control": "public, max-age=3600"}
_PLACES = {"docs": "/docs", "openapi": "/openapi.json", "provenance": "/provenance", "ready": "/ready"}


@router.get("/", summary="Where to look", responses=answers(_PLACES))
def root() -> dict[str, str]:
    """Return the paths that a person who came to the bare address wants."""
    return _PLACES


@router.get("/openapi.json", summary="The OpenAPI document", responses=answers({"openapi": "3.1.0", "paths": {}}))
def openapi(request: Request, response: Response) -> dict[str, Any]:
    """Return all operations with their roles, examples and problems."""
    response.headers.update(_HOUR)
    document: dict[str, Any] = request.app.openapi()
    return document


@router.get(
    "/docs",
    summary="The reference as a page",
    response_class=HTMLResponse,
    responses=answers("<!doctype html>…", media_type="text/html"),
)
def docs(request: Request) -> HTMLResponse:
    """Return the same as a page that loads nothing from anywhere."""
    return HTMLResponse(render(request.app.openapi()), headers=_HOUR)
