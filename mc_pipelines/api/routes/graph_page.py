"""A page to look at the graph with: it holds no data, and asks the API with the reader's own token."""

from __future__ import annotations

from importlib.resources import files

from fastapi import Response

from mc_pipelines.api.access import guarded_router
from mc_pipelines.api.openapi import answers
from mc_pipelines.foundation.errors import NotFoundError

router = guarded_router("provenance")
_STATIC = files("mc_pipelines.api") / "static"
_HEADERS = {
    "Cache-Control": "public, max-age=300",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; img-src 'self' blob: data:;"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}


@router.get(
    "/provenance",
    summary="Look at the graph",
    responses=answers("<!doctype html>…", media_type="text/html"),
    response_class=Response,
)
def page() -> Response:
    """Return the page; what it shows it asks for with the token that is typed into it."""
    return Response((_STATIC / "graph.html").read_bytes(), media_type="text/html; charset=utf-8", headers=_HEADERS)


@router.get(
    "/provenance/graph.js",
    summary="The script of the page",
    responses=answers("…", media_type="text/javascript"),
    response_class=Response,
)
def script() -> Response:
    """Return our script."""
    return Response((_STATIC / "graph.js").read_bytes(), media_type="text/javascript", headers=_HEADERS)


@router.get(
    "/provenance/cytoscape.js",
    summary="Cytoscape.js, where it was built in",
    responses=answers("…", 404, media_type="text/javascript"),
    response_class=Response,
)
def cytoscape() -> Response:
    """Return the library, with its licence before it; without it the page shows the picture that the server draws."""
    vendor = _STATIC / "vendor"
    library, licence = vendor / "cytoscape.min.js", vendor / "cytoscape.LICENSE"
    if not library.is_file() or not licence.is_file():
        raise NotFoundError("Cytoscape.js is not built in", field="path", mend="`make page` fetches it from npm")
    notice = licence.read_bytes().replace(b"*/", b"* /")
    content = b"/*!\n" + notice + b"*/\n" + library.read_bytes()
    return Response(content, media_type="text/javascript", headers=_HEADERS)
