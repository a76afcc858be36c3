"""The body of a request as strict JSON: no duplicate members, no NaN, fractions as Decimal."""

from __future__ import annotations

import zlib
from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from mc_pipelines.api.limits import MAXIMUM_BYTES
from mc_pipelines.api.problems import MalformedRequestError, MediaTypeError
from mc_pipelines.foundation.canonical import parse_json
from mc_pipelines.foundation.errors import InputError

_METHODS = frozenset({"POST", "PUT", "PATCH"})
_INLINE_BYTES = 64 * 1024
"""A longer body is parsed in a thread, so that other requests need not wait for it."""


class StrictRequest(Request):
    """A request whose body was read and parsed."""

    content: bytes = b""
    parsed: Any = None

    async def body(self) -> bytes:
        """Return the bytes as they came."""
        return self.content

    async def json(self) -> Any:
        """Return what they say."""
        return self.parsed


async def read_strictly(request: Request) -> Request:
    """Read and parse the body of a request that may have one.

    Raises:
        MediaTypeError: it is not declared to be JSON.
        MalformedRequestError: it is not such JSON.
    """
    if request.method not in _METHODS:
        return request
    content = _unpacked(await request.body(), request.headers.get("content-encoding", "identity"))
    if not content:
        return request
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not _is_json(media_type):
        raise MediaTypeError(
            "The body is read as JSON only", field="Content-Type", value=media_type, mend="send application/json"
        )
    strict = StrictRequest(request.scope, request.receive)
    strict.content = content
    try:
        if len(content) <= _INLINE_BYTES:
            strict.parsed = parse_json(content, what="body")
        else:
            strict.parsed = await run_in_threadpool(parse_json, content, what="body")
    except InputError as error:
        raise MalformedRequestError(error.detail, field="body", mend="send one JSON value, each member once") from error
    return strict


def _unpacked(content: bytes, encoding: str) -> bytes:
    """Return a body without its gzip coding; what it unpacks to is bounded as a plain body is.

    Raises:
        MediaTypeError: another coding.
        MalformedRequestError: cut off, damaged, or more than a body may be.
    """
    if encoding.lower() in {"identity", ""} or not content:
        return content
    if encoding.lower() != "gzip":
        raise MediaTypeError(
            "The body is read plain or as gzip", field="Content-Encoding", value=encoding, mend="send it plain"
        )
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        found = unpacker.decompress(content, MAXIMUM_BYTES + 1)
    except zlib.error as error:
        raise MalformedRequestError("The body is not gzip", field="body", mend="send it plain") from error
    if len(found) > MAXIMUM_BYTES or not unpacker.eof or unpacker.unused_data:
        raise MalformedRequestError(
            f"The gzip body is cut off, or unpacks to more than {MAXIMUM_BYTES} bytes", field="body", mend="send less"
        )
    return found


def _is_json(media_type: str) -> bool:
    return media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))
