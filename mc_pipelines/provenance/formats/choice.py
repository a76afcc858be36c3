"""Which form a reader wants: an explicit name wins, then the Accept header (RFC 9110, section 12.5.1)."""

from __future__ import annotations

from enum import StrEnum

from mc_pipelines.foundation.errors import InputError


class NotAcceptableError(InputError):
    """None of the forms asked for can be made."""

    slug, title, status = "not-acceptable", "Not acceptable", 406


class Form(StrEnum):
    """A form of an answer."""

    JSON = "json"
    CYTOSCAPE = "cytoscape"
    DOT = "dot"
    GRAPHML = "graphml"
    MERMAID = "mermaid"
    PROV_JSON = "prov-json"
    CSV = "csv"
    SVG = "svg"

    @property
    def media_type(self) -> str:
        """The media type under which the form is sent."""
        return _MEDIA_TYPES[self]


_MEDIA_TYPES = {
    Form.JSON: "application/json",
    Form.CYTOSCAPE: "application/vnd.cytoscape.cyjs+json",
    Form.DOT: "text/vnd.graphviz; charset=utf-8",
    Form.GRAPHML: "application/graphml+xml",
    Form.MERMAID: "text/vnd.mermaid; charset=utf-8",
    Form.PROV_JSON: "application/prov+json",
    Form.CSV: "text/csv; charset=utf-8",
    Form.SVG: "image/svg+xml",
}


def choose_form(name: str | None, accept: str | None) -> Form:
    """Return the form that a reader wants.

    Args:
        name: of the parameter ``format``.
        accept: the Accept header; the form of highest weight wins, the earlier of two alike.

    Raises:
        NotAcceptableError: none of the forms asked for can be made.
    """
    mend = f"use format={', '.join(Form)}, or one of their media types"
    if name is not None:
        if name not in set(Form):
            raise NotAcceptableError("There is no such form", field="format", value=name, mend=mend)
        return Form(name)
    if accept is None or not accept.strip():
        return Form.JSON
    best, weight = None, 0.0
    ranges = [_range(part) for part in accept.split(",") if part.strip()]
    for form in Form:
        found = max((each for each in ranges if _fits(form, each[0])), key=lambda each: _precise(each[0]), default=None)
        if found is not None and found[1] > weight:
            best, weight = form, found[1]
    if best is None:
        raise NotAcceptableError(
            "None of the media types asked for can be made", field="Accept", value=accept, mend=mend
        )
    return best


def _range(part: str) -> tuple[str, float]:
    media, *parameters = (each.strip().lower() for each in part.split(";"))
    weight = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                weight = min(1.0, max(0.0, float(value)))
            except ValueError:
                weight = 0.0
    return media, weight


def _fits(form: Form, media: str) -> bool:
    own = form.media_type.partition(";")[0]
    return media in {own, "*/*", f"{own.partition('/')[0]}/*"}


def _precise(media: str) -> int:
    return 2 - media.count("*")
