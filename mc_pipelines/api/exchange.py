"""What every exchange of the API gets: an id, headers that keep browsers safe, a latency, HEAD for every GET."""

from __future__ import annotations

import time
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any

import structlog
from prometheus_client import Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mc_pipelines.api.problems import unforeseen
from mc_pipelines.foundation.ids import uuid7
from mc_pipelines.foundation.metrics import registry

REQUEST_ID = b"x-request-id"
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
)
_PRIVATE = (b"cache-control", b"no-store")
"""Unless a route says otherwise: answers are about one caller."""
_SERVER_ERROR = 500
log = structlog.get_logger(__name__)

LATENCY = Histogram(
    "mc_http_request_seconds",
    "Seconds from the first byte of a request to the last of its answer; routes by template, never by id.",
    ("method", "route", "status"),
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 1, 2.5, 5, 10),
    registry=registry,
)


class Exchange:
    """ASGI middleware around everything else."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and finish its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = str(uuid7(datetime.now(UTC)))
        head = scope["method"] == "HEAD"
        inner: MutableMapping[str, Any] = dict(scope) | ({"method": "GET"} if head else {})
        status, started = _SERVER_ERROR, False
        begun = time.perf_counter()

        async def finish(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = message["status"], True
                message = {**message, "headers": _finished(message.get("headers", ()), request_id)}
            elif head:
                message = {**message, "body": b""}
            await send(message)

        structlog.contextvars.bind_contextvars(request_id=request_id)
        try:
            await self._app(inner, receive, finish)
        except Exception:
            log.exception("unforeseen error", path=scope["path"])
            if started:
                raise  # the answer is cut off, so the server must end the connection
            await unforeseen(scope["path"])(inner, receive, finish)
        finally:
            structlog.contextvars.unbind_contextvars("request_id")
            seconds = time.perf_counter() - begun
            # The router leaves the matched route in the scope; an unmatched path is no label of its own.
            route = getattr(inner.get("route"), "path_format", "none")
            LATENCY.labels(_method(scope["method"]), route, str(status)).observe(seconds)
            log.info("request", method=scope["method"], route=route, status=status, ms=round(seconds * 1000, 1))


def _method(name: str) -> str:
    """Any word may stand as a method; only those that mean something become a label."""
    return name if name in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} else "other"


def _finished(headers: Any, request_id: str) -> list[tuple[bytes, bytes]]:
    given = list(headers)
    names = {name.lower() for name, _ in given}
    added = [pair for pair in (*_HEADERS, _PRIVATE) if pair[0] not in names]
    return [*given, *added, (REQUEST_ID, request_id.encode())]
