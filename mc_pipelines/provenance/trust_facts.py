"""From the graph to facts about trust: which verified documents say who built what from what.

Only claims of documents that we verified are read, and a derivation is taken only where one document says all of it:
that the receipt signs the node, that it signs the execution, and that the execution produced the node. Two documents
of different signers are never combined into a claim that neither made.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from numpy.typing import NDArray

from mc_pipelines.provenance.access import View
from mc_pipelines.provenance.evidence import Claims, Event, claims_at, sources_of
from mc_pipelines.provenance.location import Opened, describe
from mc_pipelines.provenance.model import TYPE_CODE, VerificationStatus
from mc_pipelines.provenance.trust_logic import Derivation
from mc_pipelines.provenance.walk import ANCESTORS

Array = NDArray[Any]
MAXIMUM_BUILT = 2000
"""Nodes whose derivations are gathered for one question."""
_USES, _PRODUCES, _SIGNS, _VERIFIES = (TYPE_CODE[name] for name in ("uses", "produces", "signs", "verifies"))


@dataclass(frozen=True, slots=True)
class Gathered:
    """Facts about a node and what it was built from.

    Attributes:
        facts: derivations by node id.
        conflicts: nodes that several executions claim to have produced, by any document, with those.
        touched: ids of all nodes that the facts stand on, by the node whose facts they are.
        inputs: ids of the built inputs of each node.
        left: ids of nodes whose facts were left out.
    """

    facts: dict[str, tuple[Derivation, ...]]
    conflicts: dict[str, list[str]]
    touched: dict[str, frozenset[str]]
    inputs: dict[str, frozenset[str]]
    left: frozenset[str]

    @property
    def whole(self) -> bool:
        """Whether nothing was left out."""
        return not self.left

    def all_touched(self) -> frozenset[str]:
        """Return the ids of all nodes that any of the facts stands on."""
        return frozenset[str]().union(*self.touched.values())


_Derived = tuple[int, int, tuple[int, ...], frozenset[Event]]
"""(receipt, execution or -1, built inputs, events) of one way in which verified documents tell of a node."""


def gather_facts(
    opened: Opened, starts: Sequence[int], *, built: Array | None = None, maximum: int = MAXIMUM_BUILT
) -> Gathered:
    """Return what the graph says about trust in nodes and, recursively, in the built inputs of their executions.

    Args:
        opened: what may be seen.
        starts: numbers of the nodes.
        built: a flag per number, whether an execution claims to have produced it; None = looked up one by one.
        maximum: nodes whose facts are gathered.
    """
    verified = verified_only(opened)
    raw: dict[int, list[_Derived]] = {}
    conflicts: dict[int, list[int]] = {}
    waiting, left = list(starts), set[int]()
    is_built = (lambda node: _is_built(opened, node)) if built is None else (lambda node: bool(built[node]))
    while waiting:
        node = waiting.pop()
        if node in raw:
            continue
        if len(raw) >= maximum:
            left.add(node)
            continue
        producers = _towards(claims_at(opened, ANCESTORS, node), _PRODUCES)
        if len(producers) > 1:
            conflicts[node] = sorted(producers)
        raw[node] = _derivations(verified, node, is_built)
        waiting += [below for _, _, inputs, _ in raw[node] for below in inputs if below not in raw]
    return _named(opened, verified, raw, conflicts, left)


def verified_only(opened: Opened) -> Opened:
    """Return the same view, kept to documents that we verified."""
    allowed = opened.allowed.narrowed([VerificationStatus.VERIFIED])
    view: View = opened.store.view(
        opened.tenant, opened.snapshot, allowed, valid_at=opened.valid_at, position=opened.view.position
    )
    return replace(opened, view=view, allowed=allowed)


def _towards(claims: Claims, code: int) -> dict[int, set[Event]]:
    return {entry >> 2: set(events) for entry, events in claims.items() if entry & 3 == code}


def _derivations(verified: Opened, node: int, is_built: Callable[[int], bool]) -> list[_Derived]:
    above = claims_at(verified, ANCESTORS, node)
    receipts, executions = _towards(above, _SIGNS), _towards(above, _PRODUCES)
    found: list[_Derived] = []
    told: set[int] = set()
    for execution, produced_by in sorted(executions.items()):
        around = claims_at(verified, ANCESTORS, execution)
        signed_by = _towards(around, _SIGNS)
        for receipt, signed in sorted(receipts.items()):
            together = frozenset(signed & produced_by & signed_by.get(receipt, set()))
            if together:
                inputs = [each for each, events in _towards(around, _USES).items() if events & together]
                built = tuple(sorted(each for each in inputs if is_built(each)))
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
    raw: dict[int, list[_Derived]],
    conflicts: dict[int, list[int]],
    left: set[int],
) -> Gathered:
    name = lru_cache(maxsize=None)(opened.snapshot.id_of)
    receipts = {receipt for many in raw.values() for receipt, _, _, _ in many}
    records: dict[int, list[int]] = {
        receipt: sorted(_towards(claims_at(verified, ANCESTORS, receipt), _VERIFIES)) for receipt in receipts
    }
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
    touched = {
        node: frozenset(map(name, (node, *(one for way in many for one in way[:2] if one >= 0))))
        for node, many in raw.items()
    }
    return Gathered(
        {node: tuple(sorted(set(many))) for node, many in facts.items()},
        {name(node): [name(each) for each in makers] for node, makers in conflicts.items()},
        {name(node): names for node, names in touched.items()},
        {
            name(node): frozenset(name(each) for _, _, inputs, _ in many for each in inputs)
            for node, many in raw.items()
        },
        frozenset(map(name, left)),
    )
