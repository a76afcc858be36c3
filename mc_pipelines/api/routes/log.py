"""The audit log over HTTP in the C2SP tlog-tiles layout, below ``/api/log``: a checkpoint, tiles, proofs.

Hashes say nothing about what they are hashes of, so every signed-in caller may read them and follow the tree. Entries
name tenants and incidents, so only those may who may see all tenants.
"""

from __future__ import annotations

from fastapi import Response

from mc_pipelines.api.access import ContextOf, guarded_router
from mc_pipelines.api.openapi import answers
from mc_pipelines.attest.log import inclusion_proof, latest_checkpoint
from mc_pipelines.attest.tiles import ENTRIES, read_tile
from mc_pipelines.foundation.errors import NotFoundError

router = guarded_router("log")

_TEXT = "text/plain; charset=utf-8"
_BYTES = "application/octet-stream"
_FOREVER = {"Cache-Control": "private, max-age=31536000, immutable"}
_CHECKPOINT = "maestro-conductor.example/audit-log\n42\nqU…=\n\n— maestro-conductor.example/audit-log …\n"


@router.get(
    "/api/log/checkpoint",
    summary="The newest signed head of the audit log",
    responses=answers(_CHECKPOINT, 404, media_type="text/plain"),
    response_class=Response,
)
def checkpoint(context: ContextOf) -> Response:
    """Return a signed note of origin, size and root, with the lines of the witnesses that have cosigned it."""
    with context.database.begin() as connection:
        note = latest_checkpoint(connection)
    if note is None:
        raise NotFoundError("The log is empty", field="checkpoint", mend="act first")
    return Response(note, media_type=_TEXT)


@router.get(
    "/api/log/tile/entries/{path:path}",
    summary="A bundle of 256 entries",
    responses=answers("", 404, media_type=_BYTES),
    response_class=Response,
)
def entries(path: str, context: ContextOf) -> Response:
    """Return entries, each behind its length in two bytes."""
    with context.database.begin() as connection:
        return Response(read_tile(connection, ENTRIES, path), media_type=_BYTES, headers=_FOREVER)


@router.get(
    "/api/log/tile/{level}/{path:path}",
    summary="A tile of 256 hashes",
    responses=answers("", 404, media_type=_BYTES),
    response_class=Response,
)
def tile(level: str, path: str, context: ContextOf) -> Response:
    """Return the hashes of one level, 32 bytes each; a tile never changes."""
    with context.database.begin() as connection:
        return Response(read_tile(connection, level, path), media_type=_BYTES, headers=_FOREVER)


@router.get(
    "/api/log/proof/{leaf}",
    summary="The proof that an act is in the log",
    responses=answers("c2sp.org/tlog-proof@v1\n…", 404, 409, media_type="text/plain"),
    response_class=Response,
)
def proof(leaf: str, context: ContextOf) -> Response:
    """Return a C2SP tlog-proof with the entry in its extra line; 409 while the act has no index."""
    with context.database.begin() as connection:
        return Response(str(inclusion_proof(connection, leaf)), media_type=_TEXT)
