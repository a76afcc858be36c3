"""PROV-JSON (W3C member submission of 2013): executions are activities, all else are entities.

An execution that uses is ``used``; produces is ``wasGeneratedBy`` with its ends swapped; what a package, a bundle or
a manifest uses it ``wasDerivedFrom``; signs and verifies, which PROV has no word for, are ``wasInfluencedBy`` of the
signed by the receipt, with our type beside it. What verifies an activity or an entity stays one influence each.
"""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from mc_pipelines.provenance.formats.notes import incompleteness
from mc_pipelines.provenance.model import EdgeType, Kind
from mc_pipelines.provenance.subgraph import GraphEdge, GraphNode, Subgraph

_NAMESPACE = "https://maestro-conductor.example/provenance/"


def write_prov_json(graph: Subgraph) -> bytes:
    """Return an answer as a PROV-JSON document."""
    nodes = (*graph.nodes, *graph.earlier)
    kinds = {node.id: node.kind for node in nodes}
    document: dict[str, Any] = {
        "prefix": {"mc": _NAMESPACE, "node": f"{_NAMESPACE}node/"},
        "entity": {},
        "activity": {},
    }
    for node in nodes:
        document["activity" if node.kind is Kind.EXECUTION else "entity"][name_of(node.id)] = _record(node)
    for number, edge in enumerate(graph.edges):
        relation, members = _relation(edge, kinds)
        members |= {"mc:type": edge.type.value, "mc:status": edge.status.value}
        document.setdefault(relation, {})[f"_:r{number}"] = members
    note = incompleteness(graph)
    if note is not None:
        document["entity"]["mc:answer"] = {"prov:label": note, "mc:complete": "false"}
    return orjson.dumps(document)


def name_of(identifier: str) -> str:
    """Return the qualified name of a node; ids have characters that such names cannot hold, so it is their digest."""
    return f"node:{hashlib.sha256(identifier.encode()).hexdigest()[:32]}"


def _record(node: GraphNode) -> dict[str, Any]:
    record = {"mc:id": node.id, "mc:kind": node.kind.value, "prov:label": node.label or node.id}
    if node.stub:
        record["mc:stub"] = "true"
    if node.pruned:
        record["mc:pruned"] = "true"
    return record


def _relation(edge: GraphEdge, kinds: dict[str, Kind]) -> tuple[str, dict[str, Any]]:
    source, target = name_of(edge.source), name_of(edge.target)
    if edge.type is EdgeType.USES:
        if kinds[edge.source] is Kind.EXECUTION:
            return "used", {"prov:activity": source, "prov:entity": target}
        return "wasDerivedFrom", {"prov:generatedEntity": source, "prov:usedEntity": target}
    if edge.type is EdgeType.PRODUCES:
        return "wasGeneratedBy", {"prov:entity": target, "prov:activity": source}
    return "wasInfluencedBy", {"prov:influencee": target, "prov:influencer": source}
