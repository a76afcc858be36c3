"""When a bundle may be trusted, as logic over facts: derivations, the smallest evidence, and what alone breaks it.

A node is trusted if one of its derivations holds: a verified receipt of an approved signer that signs it, made by an
execution of an approved builder, and, where the policy asks for it, inputs that are trusted themselves. That is
monotone: more evidence never takes trust away. So trust is the least fixed point (what stands only on itself is not
trusted), minimal evidence sets exist, and one that is broken by a revocation is found by leaving it out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from mc_pipelines.foundation.canonical import digest_of
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.ids import Digest

MAXIMUM_SETS = 64
"""Minimal evidence sets that are kept per node; where there are more, the smallest is found among these."""


@dataclass(frozen=True, slots=True)
class GatePolicy:
    """What a gate asks for.

    Attributes:
        builders: patterns of approved builder ids; ``*`` stands for any text.
        signers: patterns of approved signers.
        inputs: whether inputs that were built themselves must pass too.
        forbidden: ids of nodes that nothing trusted may stand on.
    """

    builders: tuple[str, ...] = ("*",)
    signers: tuple[str, ...] = ("*",)
    inputs: bool = False
    forbidden: tuple[str, ...] = ()

    def to_document(self) -> dict[str, Any]:
        """Return the policy as JSON members."""
        return {
            "builders": list(self.builders),
            "signers": list(self.signers),
            "inputs": self.inputs,
            "forbidden": list(self.forbidden),
        }

    @property
    def digest(self) -> Digest:
        """Names what it asks for."""
        return digest_of(self.to_document())

    @classmethod
    def from_document(cls, document: Any) -> GatePolicy:
        """Read a policy strictly.

        Raises:
            InputError: a member is unknown or of another type.
        """
        if not isinstance(document, dict):
            raise InputError("A gate policy is a JSON object", field="policy")
        unknown = set(document) - {"builders", "signers", "inputs", "forbidden"}
        if unknown:
            raise InputError("Not a member of a gate policy", field=min(unknown))
        for name in ("builders", "signers", "forbidden"):
            value = document.get(name, [])
            if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
                raise InputError("Not a list of texts", field=f"policy.{name}", value=value)
        if not isinstance(document.get("inputs", False), bool):
            raise InputError("Neither true nor false", field="policy.inputs", value=document["inputs"])
        return cls(
            tuple(document.get("builders", ["*"])),
            tuple(document.get("signers", ["*"])),
            document.get("inputs", False),
            tuple(document.get("forbidden", ())),
        )


@dataclass(frozen=True, slots=True, order=True)
class Derivation:
    """One way in which a node may come to be trusted.

    Attributes:
        receipt: the verified receipt that signs the node.
        signer: who signed it, as proved.
        key: the key that verified.
        execution: what produced the node, by the same document; empty where the receipt tells of none.
        builder: who ran it; empty where unknown.
        inputs: what the execution used that was built itself.
        record: our verification record.
        documents: digests of the documents that say all this.
    """

    receipt: str
    signer: str = ""
    key: str = ""
    execution: str = ""
    builder: str = ""
    inputs: tuple[str, ...] = ()
    record: str = field(default="", compare=False)
    documents: tuple[str, ...] = field(default=(), compare=False)


Facts = Mapping[str, tuple[Derivation, ...]]
"""Derivations of each node, before any policy."""


@dataclass(frozen=True, slots=True)
class Revoked:
    """What no longer counts."""

    receipts: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    builders: frozenset[str] = frozenset()


NOTHING = Revoked()


def allows(policy: GatePolicy, derivation: Derivation, revoked: Revoked = NOTHING) -> bool:
    """Tell whether a policy lets a derivation count, leaving its inputs aside."""
    if derivation.receipt in revoked.receipts or derivation.builder in revoked.builders:
        return False
    if derivation.key in revoked.keys or derivation.signer in revoked.keys:
        return False
    return (
        _matches(derivation.signer, policy.signers)
        and bool(derivation.execution)
        and _matches(derivation.builder, policy.builders)
    )


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def trusted(facts: Facts, policy: GatePolicy, revoked: Revoked = NOTHING) -> dict[str, int]:
    """Return the trusted nodes, each with the round in which it came to be (the least fixed point).

    Each derivation waits for its inputs and is looked at again only when one of them came to be: linear in the facts.
    """
    missing: list[int] = []
    concludes: list[str] = []
    users: dict[str, list[int]] = defaultdict(list)
    ready: list[int] = []
    for node, derivations in facts.items():
        for each in derivations:
            if not allows(policy, each, revoked):
                continue
            inputs = set(each.inputs) if policy.inputs else ()
            for name in inputs:
                users[name].append(len(missing))
            if not inputs:
                ready.append(len(missing))
            missing.append(len(inputs))
            concludes.append(node)
    rounds: dict[str, int] = {}
    number = 0
    while ready:
        fresh = [node for node in dict.fromkeys(concludes[each] for each in ready) if node not in rounds]
        rounds |= dict.fromkeys(fresh, number)
        ready = []
        for node in fresh:
            for waiting in users.get(node, ()):
                missing[waiting] -= 1
                if not missing[waiting]:
                    ready.append(waiting)
        number += 1
    return rounds


@dataclass(frozen=True, slots=True)
class Evidence:
    """A smallest set of receipts that is enough.

    Attributes:
        receipts: their ids.
        exact: whether no smaller set can exist; False where more minimal sets were met than are kept.
    """

    receipts: frozenset[str]
    exact: bool


def smallest_evidence(facts: Facts, policy: GatePolicy, node: str) -> Evidence | None:
    """Return a smallest set of receipts on which a node is trusted, the first by id of several; None if it is not.

    Why-provenance: each node's minimal sets, grown round by round until nothing changes; a set with a smaller one
    inside is dropped.
    """
    sets: dict[str, list[frozenset[str]]] = {name: [] for name in facts}
    exact = True
    changed = True
    while changed:
        changed = False
        for name, derivations in facts.items():
            found = list(sets[name])
            for each in derivations:
                if allows(policy, each):
                    found += _joined(sets, each, policy)
            kept, whole = _minimal(found)
            exact &= whole
            if kept != sets[name]:
                sets[name] = kept
                changed = True
    return Evidence(sets[node][0], exact) if sets.get(node) else None


def _joined(
    sets: Mapping[str, list[frozenset[str]]], derivation: Derivation, policy: GatePolicy
) -> list[frozenset[str]]:
    joined = [frozenset({derivation.receipt})]
    for name in derivation.inputs if policy.inputs else ():
        joined = [one | other for one in joined for other in sets.get(name, [])]
        joined, _ = _minimal(joined)
    return joined


def _minimal(sets: Iterable[frozenset[str]]) -> tuple[list[frozenset[str]], bool]:
    kept: list[frozenset[str]] = []
    for each in sorted(set(sets), key=lambda one: (len(one), sorted(one))):
        if not any(other <= each for other in kept):
            kept.append(each)
    return kept[:MAXIMUM_SETS], len(kept) <= MAXIMUM_SETS


def proof_tree(facts: Facts, policy: GatePolicy, node: str, receipts: Collection[str]) -> dict[str, Derivation]:
    """Return one derivation per node of a proof that uses only ``receipts``; inputs come before what stands on them.

    Raises:
        InputError: the node is not trusted on them.
    """
    all_receipts = {each.receipt for derivations in facts.values() for each in derivations}
    left_out = Revoked(receipts=frozenset(all_receipts) - frozenset(receipts))
    rounds = trusted(facts, policy, left_out)
    if node not in rounds:
        raise InputError("The node is not trusted on this evidence", field="node", value=node)
    proof: dict[str, Derivation] = {}

    def prove(name: str) -> None:
        if name in proof:
            return
        chosen = min(
            each
            for each in facts[name]
            if allows(policy, each, left_out)
            and (not policy.inputs or all(rounds.get(below, len(facts)) < rounds[name] for below in each.inputs))
        )
        for below in chosen.inputs if policy.inputs else ():
            prove(below)
        proof[name] = chosen

    prove(node)
    return proof


def single_points(facts: Facts, policy: GatePolicy, node: str) -> dict[str, list[str]]:
    """Return each receipt, key and builder whose revocation alone ends the trust in a trusted node."""
    derivations = [each for many in facts.values() for each in many if allows(policy, each)]
    candidates = {
        "receipts": {each.receipt for each in derivations},
        "keys": {each.key for each in derivations if each.key},
        "builders": {each.builder for each in derivations if each.builder},
    }
    return {
        sort: [
            name for name in sorted(names) if node not in trusted(facts, policy, Revoked(**{sort: frozenset({name})}))
        ]
        for sort, names in candidates.items()
    }
