"""Every error leaves as RFC 9457 problem details, and never with a stack trace in it."""

from __future__ import annotations

from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from mc_pipelines.foundation.errors import PROBLEM_BASE, InputError, MaestroError, UnauthenticatedError

MEDIA_TYPE = "application/problem+json"
log = structlog.get_logger(__name__)


def problem_response(document: dict[str, Any], headers: dict[str, str] | None = None) -> JSONResponse:
    """Return a problem document with its status and media type."""
    return JSONResponse(document, status_code=document["status"], media_type=MEDIA_TYPE, headers=headers)


def install(app: FastAPI) -> None:
    """Render our errors, validation errors and unforeseen ones as problem documents."""
    app.add_exception_handler(MaestroError, _maestro)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unforeseen)


async def _maestro(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, MaestroError)  # noqa: S101 - FastAPI hands the registered class over
    headers = {"WWW-Authenticate": "Bearer"} if isinstance(error, UnauthenticatedError) else None
    return problem_response(error.problem(instance=request.url.path), headers)


async def _validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"] if part not in {"body", "query", "path"})
    mended = InputError(first["msg"], field=field or "body", value=first.get("input"), mend="see /docs for the shape")
    document = mended.problem(instance=request.url.path)
    document["errors"] = [
        {"field": ".".join(str(part) for part in each["loc"]), "detail": each["msg"]} for each in error.errors()
    ]
    return problem_response(document)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101
    return problem_response(
        {
            "type": f"{PROBLEM_BASE}http-{error.status_code}",
            "title": str(error.detail),
            "status": error.status_code,
            "instance": request.url.path,
        },
        dict(error.headers) if error.headers else None,
    )


async def _unforeseen(request: Request, error: Exception) -> JSONResponse:
    log.error("unforeseen error", path=request.url.path, exc_info=error)
    return problem_response(MaestroError("Something unforeseen happened; the log says more").problem(request.url.path))
