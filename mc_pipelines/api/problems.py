"""Every error leaves as problem details (RFC 9457), and never with a stack trace in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException

from mc_pipelines.foundation.errors import (
    PROBLEM_BASE,
    InputError,
    MaestroError,
    UnauthenticatedError,
    UnavailableError,
)

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 5
"""What a caller is told to wait after a 503."""
_BAD_REQUEST = 400
_UNAVAILABLE = 503
_PARAMETERS = frozenset({"query", "path", "header"})


class Problem(BaseModel):
    """Problem details (RFC 9457); further members say more about some problems."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="a stable name of the kind of problem")
    title: str = Field(description="the kind of problem in words")
    status: int = Field(description="the HTTP status")
    detail: str | None = Field(None, description="what is wrong this time, in one sentence")
    instance: str | None = Field(None, description="the path asked for")
    field: str | None = Field(None, description="the parameter or member at fault")
    value: str | None = Field(None, description="what was found there, shortened")
    mend: str | None = Field(None, description="what to do about it")


class MalformedRequestError(InputError):
    """A request that cannot be read: broken JSON, or a parameter of the wrong form."""

    slug, title, status = "malformed-request", "Malformed request", 400


class MediaTypeError(InputError):
    """A body that is not JSON."""

    slug, title, status = "unsupported-media-type", "Unsupported media type", 415


def problem_response(document: dict[str, Any], headers: dict[str, str] | None = None) -> JSONResponse:
    """Return a problem document with its status and media type."""
    return JSONResponse(document, status_code=document["status"], media_type=MEDIA_TYPE, headers=headers)


def install(app: FastAPI, allowed: Callable[[str], frozenset[str]]) -> None:
    """Render our errors, validation errors and the framework's own as problem documents.

    Args:
        app: the application.
        allowed: tells which methods a path takes, for the Allow header of a 405 (RFC 9110 section 15.5.6).
    """

    async def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)  # noqa: S101 - FastAPI hands the registered class over
        methods = sorted(allowed(request.url.path)) if error.status_code == 405 else ()  # noqa: PLR2004
        headers = dict(error.headers or {}) | ({"Allow": ", ".join(methods)} if methods else {})
        return problem_response(_http_document(error, request.url.path), headers)

    app.add_exception_handler(MaestroError, _maestro)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(OperationalError, _database)


async def _maestro(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, MaestroError)  # noqa: S101
    headers: dict[str, str] = {}
    if isinstance(error, UnauthenticatedError):
        headers["WWW-Authenticate"] = "Bearer"
    if error.status == _UNAVAILABLE:
        headers["Retry-After"] = str(RETRY_SECONDS)
    return problem_response(error.problem(instance=request.url.path), headers)


async def _database(request: Request, error: Exception) -> JSONResponse:
    structlog.get_logger(__name__).warning("the database failed a request", path=request.url.path, exc_info=error)
    return await _maestro(request, UnavailableError("The database did not finish this; nothing was changed"))


async def _validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    found = error.errors()
    first = found[0]
    kind = MalformedRequestError if first["loc"][0] in _PARAMETERS else InputError
    value = first.get("input")
    mended = kind(
        _sentence(first),
        field=_field(first["loc"]),
        value=value if isinstance(value, str | int) else None,
        mend="see /docs for the shape",
        errors=[{"field": _field(each["loc"]), "detail": _sentence(each)} for each in found],
    )
    return problem_response(mended.problem(instance=request.url.path))


def _field(location: tuple[Any, ...]) -> str:
    return ".".join(str(part) for part in location[1:]) or str(location[0])


def _sentence(error: dict[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        return "Not a member of this request"
    if error["type"] == "missing":
        return "The request lacks this"
    return str(error["msg"]).removeprefix("Value error, ")


def _http_document(error: HTTPException, path: str) -> dict[str, Any]:
    return {
        "type": f"{PROBLEM_BASE}http-{error.status_code}",
        "title": str(error.detail),
        "status": error.status_code,
        "instance": path,
    }


def unforeseen(path: str) -> JSONResponse:
    """Return the problem of an error that nobody foresaw; what it was stands in the log only."""
    mistake = MaestroError(
        "Something unforeseen happened; the log says more", mend="report it with the X-Request-Id of this answer"
    )
    return problem_response(mistake.problem(path))
