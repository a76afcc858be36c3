"""From the graph to facts about trust: which verified documents say who built what from what.

Only claims of documents that we verified are read, and a derivation is taken only where one document says all of it:
that the receipt signs the node, that it signs the execution, and that the execution produced the node. Two documents
of different signers are never combined into a claim that neither made.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any

from mc_pipelines.provenance.access import View
from mc_pipelines.provenance.evidence import Claims, Event, claims_at, sources_of
from mc_pipelines.provenance.location import Opened, describe
from mc_pipelines.provenance.model import TYPE_CODE, VerificationStatus
from mc_pipelines.provenance.trust_logic import Derivation
from mc_pipelines.provenance.walk import ANCESTORS

MAXIMUM_BUILT = 2000
"""Nodes whose derivations are gathered for one question."""
_USES, _PRODUCES, _SIGNS, _VERIFIES = (TYPE_CODE[name] for name in ("uses", "produces", "signs", "verifies"))


@dataclass(frozen=True, slots=True)
class Gathered:
    """Facts about a node and what it was built from.

    Attributes:
        facts: derivations by node id.
        conflicts: nodes that several executions claim to have produced, by any document, with those.
        touched: ids of all nodes that the facts stand on.
        whole: whether nothing was left out.
    """

    facts: dict[str, tuple[Derivation, ...]]
    conflicts: dict[str, list[str]]
    touched: frozenset[str]
    whole: bool


def gather_facts(opened: Opened, start: int) -> Gathered:
    """Return what the graph says about trust in a node and, recursively, in the built inputs of its executions.

    Args:
        opened: what may be seen.
        start: number of the node.
    """
    verified = verified_only(opened)
    raw: dict[int, list[tuple[int, int, tuple[int, ...], frozenset[Event]]]] = {}
    conflicts: dict[int, list[int]] = {}
    waiting, whole = [start], True
    while waiting:
        node = waiting.pop()
        if node in raw:
            continue
        if len(raw) >= MAXIMUM_BUILT:
            whole = False
            break
        producers = _towards(claims_at(opened, ANCESTORS, node), _PRODUCES)
        if len(producers) > 1:
            conflicts[node] = sorted(producers)
        raw[node] = _derivations(opened, verified, node)
        waiting += [below for _, _, inputs, _ in raw[node] for below in inputs if below not in raw]
    return _named(opened, verified, raw, conflicts, whole=whole)


def verified_only(opened: Opened) -> Opened:
    """Return the same view, kept to documents that we verified."""
    allowed = opened.allowed.narrowed([VerificationStatus.VERIFIED])
    view: View = opened.store.view(
        opened.tenant, opened.snapshot, allowed, valid_at=opened.valid_at, position=opened.view.position
    )
    return replace(opened, view=view, allowed=allowed)


def _towards(claims: Claims, code: int) -> dict[int, set[Event]]:
    return {entry >> 2: set(events) for entry, events in claims.items() if entry & 3 == code}


def _derivations(
    opened: Opened, verified: Opened, node: int
) -> list[tuple[int, int, tuple[int, ...], frozenset[Event]]]:
    """Return (receipt, execution or -1, built inputs, events) of each way in which verified documents tell of it."""
    above = claims_at(verified, ANCESTORS, node)
    receipts, executions = _towards(above, _SIGNS), _towards(above, _PRODUCES)
    found: list[tuple[int, int, tuple[int, ...], frozenset[Event]]] = []
    told: set[int] = set()
    for execution, produced_by in sorted(executions.items()):
        around = claims_at(verified, ANCESTORS, execution)
        signed_by = _towards(around, _SIGNS)
        for receipt, signed in sorted(receipts.items()):
            together = frozenset(signed & produced_by & signed_by.get(receipt, set()))
            if together:
                inputs = [each for each, events in _towards(around, _USES).items() if events & together]
                built = tuple(sorted(each for each in inputs if _is_built(opened, each)))
                found.append((receipt, execution, built, together))
                told.add(receipt)
    found += [
        (receipt, -1, (), frozenset(events)) for receipt, events in sorted(receipts.items()) if receipt not in told
    ]
    return found


def _is_built(opened: Opened, node: int) -> bool:
    return bool(_towards(claims_at(opened, ANCESTORS, node), _PRODUCES))


def _named(
    opened: Opened,
    verified: Opened,
    raw: dict[int, list[tuple[int, int, tuple[int, ...], frozenset[Event]]]],
    conflicts: dict[int, list[int]],
    *,
    whole: bool,
) -> Gathered:
    name = opened.snapshot.id_of
    receipts = {receipt for many in raw.values() for receipt, _, _, _ in many}
    records: dict[int, list[int]] = {
        receipt: sorted(_towards(claims_at(verified, ANCESTORS, receipt), _VERIFIES)) for receipt in receipts
    }
    executions = {execution for many in raw.values() for _, execution, _, _ in many if execution >= 0}
    # A record says what was read from the signed bytes; what a node is called, the first document to name it says.
    ids = {name(record) for many in records.values() for record in many}
    said: dict[str, Any] = {key: each.attributes or {} for key, each in describe(verified, ids).items()}
    sources = sources_of(opened, {event for many in raw.values() for _, _, _, events in many for event in events})
    facts: dict[str, list[Derivation]] = defaultdict(list)
    for node, many in raw.items():
        facts[name(node)] = []
        for receipt, execution, inputs, events in many:
            made_by = name(execution) if execution >= 0 else ""
            for record in records[receipt]:
                attributes = said.get(name(record), {})
                facts[name(node)].append(
                    Derivation(
                        name(receipt),
                        str(attributes.get("signer") or ""),
                        str(attributes.get("keyId") or ""),
                        made_by,
                        str(attributes.get("builder") or ""),
                        tuple(name(each) for each in inputs),
                        name(record),
                        tuple(sorted(sources[event].digest for event in events)),
                    )
                )
    touched = {name(each) for each in (*raw, *receipts, *executions)}
    return Gathered(
        {node: tuple(sorted(set(many))) for node, many in facts.items()},
        {name(node): [name(each) for each in makers] for node, makers in conflicts.items()},
        frozenset(touched),
        whole,
    )
