"""The largest request body that is read: a longer one is refused before it fills the memory."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mc_pipelines.api.problems import problem_response
from mc_pipelines.foundation.errors import PROBLEM_BASE

MAXIMUM_BYTES = 4 * 1024 * 1024


class _TooLargeError(Exception):
    """The body went over the limit while it was read."""


class BodyLimit:
    """ASGI middleware: 413 for a body beyond the limit, whether or not it was announced."""

    def __init__(self, app: ASGIApp, maximum: int = MAXIMUM_BYTES) -> None:
        self._app = app
        self._maximum = maximum

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counting its bytes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > self._maximum:
            await self._refuse(scope, receive, send)
            return
        seen = 0
        started = False

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._maximum:
                raise _TooLargeError
            return message

        async def observed(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, counted, observed)
        except _TooLargeError:
            if not started:
                await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = problem_response(
            {
                "type": PROBLEM_BASE + "body-too-large",
                "title": "Body too large",
                "status": 413,
                "detail": f"The body is larger than {self._maximum} bytes.",
                "instance": scope["path"],
                "mend": "send it in parts, or ingest the file with the command line",
            },
            {"Connection": "close"},
        )
        await response(scope, receive, send)
