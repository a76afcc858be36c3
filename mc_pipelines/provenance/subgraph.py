"""An answer as plain values: what every form but the fastest is written from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mc_pipelines.provenance.evidence import Backing, backing_of, sources_of
from mc_pipelines.provenance.location import Opened, describe
from mc_pipelines.provenance.model import EDGE_TYPES, KINDS, EdgeType, Kind, VerificationStatus
from mc_pipelines.provenance.walk import Reached

_STUB = 8
_NAMED_DOCUMENTS = 5


@dataclass(frozen=True, slots=True)
class GraphNode:
    """A node of an answer.

    Attributes:
        id: its id.
        kind: what it is.
        level: steps from the root.
        stub: named by documents, described by none.
        label: a name for people.
        pruned: whether retention removed claims at it.
        attributes: what its document says about it.
    """

    id: str
    kind: Kind
    level: int = 0
    stub: bool = False
    label: str | None = None
    pruned: bool = False
    attributes: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class GraphEdge:
    """``source`` TYPE ``target``, with what our check of the documents that claim it found.

    Attributes:
        source: id of one end.
        target: id of the other.
        type: what it says.
        status: the best outcome among the documents that claim it.
        claims: how many documents claim it.
        documents: digests of some of them.
    """

    source: str
    target: str
    type: EdgeType
    status: VerificationStatus
    claims: int = 1
    documents: tuple[str, ...] = ()

    @property
    def verified(self) -> bool:
        """Whether a document that we verified claims it."""
        return self.status is VerificationStatus.VERIFIED


@dataclass(frozen=True, slots=True)
class Subgraph:
    """Nodes and edges of an answer, in its order, and what it says of itself.

    Attributes:
        root: where it begins.
        nodes: every end of every edge is among them, or was on an earlier page.
        edges: the edges.
        facts: the members of the answer beside nodes and edges.
        documents: what stands behind the edges, by digest.
        earlier: nodes of earlier pages at which edges of this page end.
    """

    root: str
    nodes: tuple[GraphNode, ...]
    edges: tuple[GraphEdge, ...]
    facts: dict[str, Any] = field(default_factory=dict)
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    earlier: tuple[GraphNode, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether nothing was left out."""
        return bool(self.facts.get("complete", True))

    def document(self) -> dict[str, Any]:
        """Return the answer as JSON members, with the evidence of each edge."""
        return {
            "nodes": [_node_document(node) for node in self.nodes],
            "edges": [
                {
                    "from": edge.source,
                    "to": edge.target,
                    "type": edge.type.value,
                    "status": edge.status.value,
                    "verified": edge.verified,
                    "claims": edge.claims,
                    "documents": list(edge.documents),
                }
                for edge in self.edges
            ],
            "documents": self.documents,
            **self.facts,
        }


def _node_document(node: GraphNode) -> dict[str, Any]:
    document: dict[str, Any] = {"id": node.id, "kind": node.kind.value, "level": node.level}
    further = {"label": node.label, "attributes": node.attributes, "stub": node.stub, "pruned": node.pruned}
    return document | {name: value for name, value in further.items() if value}


def read_subgraph(
    opened: Opened, reached: Reached, facts: dict[str, Any], root: str, *, first: tuple[int, int] = (0, 0)
) -> Subgraph:
    """Return what a walk reached as plain values, with labels and the evidence of each edge.

    Args:
        opened: what may be seen.
        reached: what was walked.
        facts: the members of the answer beside nodes and edges.
        root: id of the node at which it begins.
        first: nodes and edges that were on earlier pages.
    """
    names = [opened.snapshot.id_of(int(number)) for number in reached.nodes]
    backing = backing_of(opened, reached, first_edge=first[1])
    pruned = {each["node"] for each in facts.get("pruned", ())}
    said = describe(opened, names)
    nodes = [_node(reached, place, names[place], said, pruned=pruned) for place in range(len(names))]
    sources = sources_of(opened, {event for each in backing for event in each.events[:_NAMED_DOCUMENTS]})
    edges = [
        _edge(names, reached, row, behind, [sources[event].digest for event in behind.events[:_NAMED_DOCUMENTS]])
        for row, behind in zip(range(first[1], len(reached.lower)), backing, strict=True)
    ]
    used = {end for edge in edges for end in (edge.source, edge.target)}
    return Subgraph(
        root,
        tuple(nodes[first[0] :]),
        tuple(edges),
        facts,
        {each.digest: {"format": each.format, **each.verification} for each in sources.values()},
        tuple(node for node in nodes[: first[0]] if node.id in used),
    )


def _node(reached: Reached, place: int, name: str, said: Any, *, pruned: set[str]) -> GraphNode:
    code = int(reached.kind[place])
    description = said.get(name)
    return GraphNode(
        name,
        KINDS[code & 7],
        int(reached.levels[place]),
        stub=bool(code & _STUB),
        label=None if description is None else description.label,
        pruned=name in pruned,
        attributes=None if description is None else description.attributes,
    )


def _edge(names: Sequence[str], reached: Reached, row: int, behind: Backing, documents: list[str]) -> GraphEdge:
    source, target, code = names[reached.lower[row]], names[reached.upper[row]], int(reached.code[row])
    if code:
        source, target = target, source
    return GraphEdge(source, target, EDGE_TYPES[code], behind.status, len(behind.events), tuple(documents))
