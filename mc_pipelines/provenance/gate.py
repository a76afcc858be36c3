"""Whether a bundle may be released, with three answers: ``passed``, ``failed`` and ``unknown``; only the first opens.

``unknown`` stands where something that matters was pruned or left out: a gate that guessed would be no gate. Several
executions that claim the same product fail it, whoever claims so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.access import Filter
from mc_pipelines.provenance.answer import Answer, tagged, timed
from mc_pipelines.provenance.cone import cone, is_whole, kinds_of
from mc_pipelines.provenance.location import Found, Opened, PrunedError, find_node, open_view, tombstones, tombstones_at
from mc_pipelines.provenance.model import KINDS
from mc_pipelines.provenance.request import BundleQuery
from mc_pipelines.provenance.store import GraphStore
from mc_pipelines.provenance.trust_facts import Gathered, gather_facts
from mc_pipelines.provenance.trust_logic import (
    Derivation,
    GatePolicy,
    proof_tree,
    single_points,
    smallest_evidence,
    trusted,
)
from mc_pipelines.provenance.walk import ANCESTORS

PASSED, FAILED, UNKNOWN = "passed", "failed", "unknown"


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a gate says.

    Attributes:
        result: passed, failed or unknown.
        reasons: why, one sentence each.
        gathered: the facts it was said on.
        forbidden: forbidden nodes that it stands on.
    """

    result: str
    reasons: tuple[str, ...]
    gathered: Gathered
    forbidden: tuple[str, ...] = ()


def rule(opened: Opened, number: int, policy: GatePolicy) -> Ruling:
    """Rule on the node of a number."""
    gathered = gather_facts(opened, [number])
    node = opened.snapshot.id_of(number)
    asked = set(gathered.facts) if policy.inputs else {node}
    forbidden, looked_at_all = _forbidden(opened, number, policy)
    proved = [
        f"{len(makers)} executions claim to have produced {each}."
        for each, makers in sorted(gathered.conflicts.items())
        if each in asked
    ]
    proved += [f"It stands on {each}, which is forbidden." for each in forbidden]
    missing = []
    if node not in trusted(gathered.facts, policy):
        missing.append(f"No verified receipt of an approved signer and builder vouches for {node}.")
    doubts = []
    gone = {each["node"] for each in tombstones(opened, gathered.all_touched())}
    if gone:
        doubts.append(f"Retention removed claims at {len(gone)} of the nodes that matter.")
    if not gathered.whole or not looked_at_all:
        doubts.append("There is more to look at than one question may.")
    # What is proved against it stays proved; what is missing may be among what was removed.
    if proved or (missing and not doubts):
        return Ruling(FAILED, (*proved, *missing), gathered, forbidden)
    if doubts:
        return Ruling(UNKNOWN, (*doubts, *missing), gathered)
    return Ruling(PASSED, ("A verified receipt of an approved signer and builder vouches for it.",), gathered)


def _forbidden(opened: Opened, number: int, policy: GatePolicy) -> tuple[tuple[str, ...], bool]:
    if not policy.forbidden:
        return (), True
    reached = cone(opened, number, ANCESTORS)
    inside = set(reached.nodes.tolist())
    found = tuple(sorted(each for each in policy.forbidden if opened.snapshot.find(each) in inside))
    return found, is_whole(reached) and not tombstones_at(opened, reached.nodes)


def gate_answer(
    store: GraphStore, tenant: TenantId, query: BundleQuery, allowed: Filter, policy: GatePolicy
) -> tuple[Answer, str, dict[str, Any]]:
    """Return a gate's answer, its result, and the answer as members.

    A bundle whose claims were pruned altogether is ``unknown``, not absent.

    Raises:
        NotFoundError: no such node, or none that this reader may know of.
    """
    with timed("gate"):
        opened = open_view(store, tenant, query, allowed)
        try:
            found = find_node(opened, query.node, query.resolve, field="bundle")
        except PrunedError as error:
            document = _document(opened, query.node, UNKNOWN, (error.detail + ".",), policy)
            return tagged(document), UNKNOWN, document
        ruling = rule(opened, found.number, policy)
        document = _document(opened, found.node, ruling.result, ruling.reasons, policy) | _proof(ruling, found, policy)
        document["nodes"] = _nodes(opened, found, document)
        return tagged(document), ruling.result, document


def _document(opened: Opened, node: str, result: str, reasons: tuple[str, ...], policy: GatePolicy) -> dict[str, Any]:
    return {
        "nodes": [],
        "edges": [],
        "bundle": node,
        "result": result,
        "reasons": list(reasons),
        "policy": policy.to_document() | {"digest": policy.digest},
        "snapshot": {"seq": opened.view.position[0], "shared": opened.view.position[1]},
        "complete": result != UNKNOWN,
    }


def _proof(ruling: Ruling, found: Found, policy: GatePolicy) -> dict[str, Any]:
    """Return the proof tree on the smallest evidence, and what alone would break it."""
    facts = ruling.gathered.facts
    conflicts = [{"node": node, "producers": makers} for node, makers in sorted(ruling.gathered.conflicts.items())]
    evidence = smallest_evidence(facts, policy, found.node)
    if evidence is None:
        return {"proof": None, "evidence": None, "singlePoints": None, "conflicts": conflicts}
    tree = proof_tree(facts, policy, found.node, evidence.receipts)
    return {
        "proof": [_step(node, each, policy) for node, each in tree.items()],
        "evidence": {
            "receipts": sorted(evidence.receipts),
            "keys": sorted({each.key for each in tree.values() if each.key}),
            "smallest": evidence.exact,
        },
        "singlePoints": single_points(facts, policy, found.node),
        "conflicts": conflicts,
    }


def _step(node: str, derivation: Derivation, policy: GatePolicy) -> dict[str, Any]:
    return {
        "node": node,
        "receipt": derivation.receipt,
        "record": derivation.record,
        "signer": derivation.signer,
        "key": derivation.key,
        "execution": derivation.execution,
        "builder": derivation.builder,
        "inputs": list(derivation.inputs) if policy.inputs else [],
        "documents": list(derivation.documents),
    }


def _nodes(opened: Opened, found: Found, document: dict[str, Any]) -> list[dict[str, Any]]:
    steps = document.get("proof") or []
    names = dict.fromkeys([found.node, *(step[each] for step in steps for each in ("node", "receipt", "execution"))])
    numbers = np.array([opened.snapshot.find(name) for name in names])
    kinds = kinds_of(opened, numbers).tolist()
    return [{"id": name, "kind": KINDS[kind].value} for name, kind in zip(names, kinds, strict=True)]
