"""Paired evidence: the same decision under the old and the new pack, and what differs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mc_pipelines.decision.engine import PolicyEngine, Verdict
from mc_pipelines.foundation.canonical import digest_of
from mc_pipelines.foundation.ids import Digest
from mc_pipelines.policy.gates import Counts

SLOW_NS = 50_000_000
"""50 ms, the seed's bound on an evaluation."""
_TRIES = 3
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
        input_digest: of what was asked; a retry asks the same again.
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
    old: PolicyEngine,
    new: PolicyEngine,
    query: str,
    input_document: Any,
    *,
    tenant: str,
    workflow: str,
    input_digest: Digest | None = None,
) -> Pair:
    """Evaluate a decision under both packs.

    Args:
        old: decides now.
        new: shall decide.
        query: names a set of denials.
        input_document: what was asked.
        tenant: whose decision it is.
        workflow: what asked.
        input_digest: what tells a retry from a new question; default: the digest of the whole input.
    """
    return compare(
        old.evaluate(query, input_document),
        _at_its_quickest(new, query, input_document),
        tenant=tenant,
        workflow=workflow,
        input_digest=input_digest or digest_of(input_document),
    )


def _at_its_quickest(engine: PolicyEngine, query: str, input_document: Any) -> Verdict:
    """Return the verdict; a slow one is tried again, because a machine that stalls says nothing about a pack."""
    verdict = engine.evaluate(query, input_document)
    for _ in range(_TRIES - 1):
        if verdict.elapsed_ns <= SLOW_NS:
            break
        verdict = min(verdict, engine.evaluate(query, input_document), key=lambda one: one.elapsed_ns)
    return verdict


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
    """Count the pairs of one window for each tenant.

    A (tenant, workflow, input) counts once. What one workflow asked in the window is one unit, however many questions
    it were: they share their fate, so a burst of them is no more evidence than one.
    """
    allowed = tuple(declared)
    units: dict[tuple[str, str], dict[Digest, Pair]] = {}
    for pair in pairs:
        units.setdefault((pair.tenant, pair.workflow), {}).setdefault(pair.input_digest, pair)
    totals: dict[str, Counts] = {}
    for (tenant, _), distinct in units.items():
        totals[tenant] = totals.get(tenant, Counts()) + _unit(tuple(distinct.values()), allowed)
    return totals


def _unit(pairs: Sequence[Pair], declared: tuple[Widening, ...]) -> Counts:
    harmed = [bool(pair.newly_denied) for pair in pairs]
    denied_new = all(pair.denied_new for pair in pairs)
    denied_old = any(pair.denied_old for pair in pairs)
    return Counts(
        decisions=len(pairs),
        harmed=sum(harmed),
        widened=sum(bool(pair.newly_allowed) for pair in pairs),
        undeclared=sum(pair.undeclared(declared) for pair in pairs),
        reasons_changed=sum(pair.reasons_changed for pair in pairs),
        errors=sum(pair.error for pair in pairs),
        denied_old=sum(pair.denied_old for pair in pairs),
        denied_new=sum(pair.denied_new for pair in pairs),
        denied_both=sum(pair.denied_old and pair.denied_new for pair in pairs),
        slow=sum(pair.slow for pair in pairs),
        units=1,
        units_harmed=int(all(harmed)),
        units_touched=int(any(harmed)),
        units_denied_old=int(denied_old),
        units_denied_new=int(denied_new),
        units_denied_both=int(denied_old and denied_new),
        units_slow=int(all(pair.slow for pair in pairs)),
    )
