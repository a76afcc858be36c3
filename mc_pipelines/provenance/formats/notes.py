"""What an answer says of itself in one sentence, for forms that have no member for it."""

from __future__ import annotations

from mc_pipelines.provenance.subgraph import Subgraph


def incompleteness(graph: Subgraph) -> str | None:
    """Return why an answer is not whole, None where it is."""
    if graph.complete:
        return None
    reasons = []
    cut = graph.facts.get("truncated")
    if cut:
        reasons.append(f"it stopped at a cap ({cut['reason']}) with {cut['frontierCount']} nodes not followed")
    if graph.facts.get("fanOutCount"):
        reasons.append(f"{graph.facts['fanOutCount']} nodes have more neighbours than were followed")
    if graph.facts.get("pruned"):
        reasons.append(f"retention removed claims at {len({each['node'] for each in graph.facts['pruned']})} nodes")
    return "Not complete: " + "; ".join(reasons or ["something was left out"]) + "."
