"""Paired evidence: the same decision under the old and the new pack, and what differs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mc_pipelines.decision.engine import PolicyEngine, Verdict
from mc_pipelines.foundation.canonical import digest_of
from mc_pipelines.foundation.ids import Digest
from mc_pipelines.policy.gates import Counts

SLOW_NS = 50_000_000
"""50 ms, the seed's bound on an evaluation."""
WITHOUT_VALUE = "error"
"""The rule that stands for "the old pack gave no value", which denies everything."""


@dataclass(frozen=True)
class Widening:
    """A widening that a change declares.

    Attributes:
        rule: the deny rule that may stop denying.
        tenant: for whom; None = for all.
    """

    rule: str
    tenant: str | None = None


@dataclass(frozen=True)
class Pair:
    """One decision under both packs.

    Attributes:
        tenant: whose it is.
        workflow: what asked; with the input's digest it tells retries apart from new decisions.
        input_digest: of the whole input.
        newly_denied: what only the new pack denies (a candidate's name, or "" for the whole).
        newly_allowed: what only the old pack denied, each with the rules that did.
        reasons_changed: denied by both, for other rules.
        error: the new pack gave no value, the old one did.
        denied_old, denied_new: whether anything was denied.
        slow: the new pack took longer than :data:`SLOW_NS`.
    """

    tenant: str
    workflow: str
    input_digest: Digest
    newly_denied: frozenset[str]
    newly_allowed: frozenset[tuple[str, frozenset[str]]]
    reasons_changed: bool
    error: bool
    denied_old: bool
    denied_new: bool
    slow: bool

    def undeclared(self, declared: Iterable[Widening]) -> bool:
        """Whether something became allowed that the change did not declare."""
        rules = {widening.rule for widening in declared if widening.tenant in {None, self.tenant}}
        return any(not denied_by <= rules for _, denied_by in self.newly_allowed)


def evaluate_pair(
    old: PolicyEngine, new: PolicyEngine, query: str, input_document: Any, *, tenant: str, workflow: str
) -> Pair:
    """Evaluate a decision under both packs; ``query`` names a set of denials."""
    return compare(
        old.evaluate(query, input_document),
        new.evaluate(query, input_document),
        tenant=tenant,
        workflow=workflow,
        input_digest=digest_of(input_document),
    )


def compare(old: Verdict, new: Verdict, *, tenant: str, workflow: str, input_digest: Digest) -> Pair:
    """Compare the verdicts of two packs on one input; a verdict without a value denies the whole."""
    before, after = _denials(old), _denials(new)
    return Pair(
        tenant=tenant,
        workflow=workflow,
        input_digest=input_digest,
        newly_denied=frozenset(after.keys() - before.keys()),
        newly_allowed=frozenset((subject, before[subject]) for subject in before.keys() - after.keys()),
        reasons_changed=any(before[subject] != after[subject] for subject in before.keys() & after.keys()),
        error=not new.defined and old.defined,
        denied_old=bool(before),
        denied_new=bool(after),
        slow=new.elapsed_ns > SLOW_NS,
    )


def _denials(verdict: Verdict) -> dict[str, frozenset[str]]:
    if not verdict.defined or not isinstance(verdict.value, list):
        return {"": frozenset({WITHOUT_VALUE})}
    found: dict[str, set[str]] = {}
    for denial in verdict.value:
        document = denial if isinstance(denial, dict) else {"rule": str(denial)}
        found.setdefault(str(document.get("candidate", "")), set()).add(str(document.get("rule", "?")))
    return {subject: frozenset(rules) for subject, rules in found.items()}


def count(pairs: Iterable[Pair], declared: Iterable[Widening]) -> dict[str, Counts]:
    """Count the pairs of one window for each tenant; a (tenant, workflow, input) counts once."""
    allowed = tuple(declared)
    totals: dict[str, Counts] = {}
    seen: set[tuple[str, str, Digest]] = set()
    for pair in pairs:
        key = (pair.tenant, pair.workflow, pair.input_digest)
        if key not in seen:
            seen.add(key)
            totals[pair.tenant] = totals.get(pair.tenant, Counts()) + _one(pair, allowed)
    return totals


def _one(pair: Pair, declared: tuple[Widening, ...]) -> Counts:
    return Counts(
        decisions=1,
        harmed=int(bool(pair.newly_denied)),
        widened=int(bool(pair.newly_allowed)),
        undeclared=int(pair.undeclared(declared)),
        reasons_changed=int(pair.reasons_changed),
        errors=int(pair.error),
        denied_old=int(pair.denied_old),
        denied_new=int(pair.denied_new),
        denied_both=int(pair.denied_old and pair.denied_new),
        slow=int(pair.slow),
    )
