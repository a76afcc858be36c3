"""What every question of the graph ends in: bytes, a strong ETag, and whether the answer is whole."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from prometheus_client import Histogram

from mc_pipelines.foundation.metrics import registry
from mc_pipelines.provenance.formats import Form
from mc_pipelines.provenance.location import Opened
from mc_pipelines.provenance.request import Scope

GRAPH_QUERY_MS = Histogram(
    "mc_graph_query_ms",
    "Milliseconds from a graph query to its bytes, by operation; never by tenant or node.",
    ["operation"],
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 200, 350, 500, 1000, 5000),
    registry=registry,
)
Precondition = Collection[str]
"""ETags that the reader holds."""


@contextmanager
def timed(operation: str) -> Iterator[None]:
    """Observe how long a question took, whatever came of it."""
    started = time.perf_counter()
    try:
        yield
    finally:
        GRAPH_QUERY_MS.labels(operation).observe((time.perf_counter() - started) * 1000)


@dataclass(frozen=True, slots=True)
class Answer:
    """Bytes of an answer.

    Attributes:
        body: the answer in its form; None where the reader holds it already.
        etag: strong, quoted.
        media_type: of the body.
        nodes: nodes in the body.
        edges: edges in the body.
        complete: whether nothing was left out.
        cursor: continues a truncated answer.
    """

    body: bytes
    etag: str
    media_type: str
    nodes: int = 0
    edges: int = 0
    complete: bool = True
    cursor: str | None = None
    changed: bool = True

    @classmethod
    def unchanged(cls, etag: str, form: Form) -> Answer:
        """Return the answer to a reader who holds it."""
        return cls(b"", etag, form.media_type, changed=False)


def etag_of(opened: Opened, query: Scope, cursor: str | None, form: Form) -> str:
    """Return the tag of an answer before it is made: of the events, the query, the filter and the form."""
    view = opened.view
    key = [
        query.canonical(),
        cursor,
        list(view.position),
        opened.snapshot.own.seq if len(opened.snapshot.own.closures.seq) else 0,
        view.since,
        opened.allowed.digest,
        opened.tenant,
        form.value,
    ]
    # Not RFC 8785, which costs more than a small answer: nobody else makes these tags, and the order is the code's.
    return f'"{hashlib.blake2b(orjson.dumps(key), digest_size=16).hexdigest()}"'


def tagged(document: Mapping[str, Any], *, cursor: str | None = None) -> Answer:
    """Return an answer in JSON, tagged by its bytes."""
    body = orjson.dumps(dict(document))
    return Answer(
        body,
        f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"',
        Form.JSON.media_type,
        len(document.get("nodes", ())),
        len(document.get("edges", ())),
        bool(document.get("complete", True)),
        cursor,
    )
