"""How kinds and edges look in every picture: by shape and by colour, so that neither alone has to be told apart."""

from __future__ import annotations

from dataclasses import dataclass

from mc_pipelines.provenance.model import Kind

CLAIMED, VERIFIED, PRUNED = "#6b7280", "#15803d", "#9ca3af"
_LONGEST = 36


@dataclass(frozen=True, slots=True)
class Look:
    """Shape (in Graphviz' words) and fill colour of a kind; dark text is readable on each."""

    shape: str
    fill: str


LOOKS: dict[Kind, Look] = {
    Kind.MANIFEST: Look("note", "#fde68a"),
    Kind.PACKAGE: Look("box", "#bfdbfe"),
    Kind.EXECUTION: Look("ellipse", "#fecaca"),
    Kind.RECEIPT: Look("hexagon", "#bbf7d0"),
    Kind.BUNDLE: Look("house", "#ddd6fe"),
}


def short_name(identifier: str, label: str | None) -> str:
    """Return a name that fits into a shape: the label, else the id with its middle left out."""
    name = label or identifier
    if len(name) <= _LONGEST:
        return name
    if label is None and identifier.startswith("pkg:"):
        tail = identifier.rpartition("/")[2].partition("?")[0]
        if len(tail) <= _LONGEST:
            return tail
    return f"{name[:20]}…{name[-12:]}"
