"""The gate's ruling on many bundles at once: what :func:`mc_pipelines.provenance.gate.rule` says of each, told apart.

Bundles share what they were built from. Facts are gathered once, trust is one fixed point over all of them (a node's
trust depends on its own derivations and inputs alone), and what closes a gate or leaves it in doubt is handed on from
inputs to what was built from them, once for all bundles.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc_pipelines.provenance.ancestry import Ancestry, ancestry
from mc_pipelines.provenance.considered import flagged
from mc_pipelines.provenance.gate import FAILED, PASSED, UNKNOWN
from mc_pipelines.provenance.identity import node_key
from mc_pipelines.provenance.location import Opened, pruned_keys
from mc_pipelines.provenance.model import TYPE_CODE
from mc_pipelines.provenance.trust_facts import Gathered, gather_facts
from mc_pipelines.provenance.trust_logic import GatePolicy, trusted

Array = NDArray[Any]
MAXIMUM_BUILT = 200_000
"""Nodes whose derivations are gathered for all bundles together."""
_PRODUCES = TYPE_CODE["produces"]


@dataclass(frozen=True, slots=True)
class Rulings:
    """What the gate says of each of some bundles.

    Attributes:
        results: passed, failed or unknown, by node id.
        gathered: the facts that it was said on.
    """

    results: dict[str, str]
    gathered: Gathered


def rule_all(opened: Opened, numbers: Sequence[int], policy: GatePolicy) -> Rulings:
    """Rule on the nodes of ``numbers``."""
    above = ancestry(opened.snapshot, opened.view.visible, numbers)
    gathered = gather_facts(opened, numbers, built=_built(opened, above), maximum=MAXIMUM_BUILT)
    gone = pruned_keys(opened)
    removed = {node for node, names in gathered.touched.items() if any(node_key(each) in gone for each in names)}
    doubted = _from_inputs(gathered.inputs, removed | gathered.left)
    against = set(gathered.conflicts)
    if policy.inputs:
        against = _from_inputs(gathered.inputs, against)
    forbidden, unsure = _forbidden(opened, above, policy, gone)
    standing = trusted(gathered.facts, policy)
    results = {}
    for number in numbers:
        node = opened.snapshot.id_of(number)
        place = above.place[number]
        doubt = node in doubted or bool(unsure[place])
        if node in against or forbidden[place] or (node not in standing and not doubt):
            results[node] = FAILED
        else:
            results[node] = UNKNOWN if doubt else PASSED
    return Rulings(results, gathered)


def _built(opened: Opened, above: Ancestry) -> Array:
    """Return a flag per number of the snapshot: whether an execution claims to have produced it."""
    flags = np.zeros(opened.snapshot.nodes, dtype=np.bool_)
    flags[above.nodes[above.lower[above.code == _PRODUCES]]] = True
    return flags


def _from_inputs(inputs: Mapping[str, frozenset[str]], nodes: Iterable[str]) -> set[str]:
    """Return ``nodes`` and all that was built from them, over any number of steps."""
    users: dict[str, list[str]] = defaultdict(list)
    for node, below in inputs.items():
        for each in below:
            users[each].append(node)
    found = set(nodes)
    waiting = list(found)
    while waiting:
        for user in users.get(waiting.pop(), ()):
            if user not in found:
                found.add(user)
                waiting.append(user)
    return found


def _forbidden(opened: Opened, above: Ancestry, policy: GatePolicy, gone: frozenset[bytes]) -> tuple[Array, Array]:
    """Return, per place, whether it stands on a forbidden node, and whether that cannot be told."""
    nothing = np.zeros(len(above.nodes), dtype=np.bool_)
    if not policy.forbidden:
        return nothing, nothing
    stands = above.below(flagged(opened, above, [node_key(each) for each in policy.forbidden]))
    if not above.whole:
        return stands, ~nothing
    return stands, above.below(flagged(opened, above, list(gone)))
