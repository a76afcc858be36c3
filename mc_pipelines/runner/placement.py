"""Placement: the policy pack says what is allowed and why the rest is not; this ranks what is allowed.

The decision can be replayed: the same input, pack and prices give the same choice. A policy that gives no
verdict allows nothing, and nothing is ever placed outside the tenant's residency.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mc_pipelines.decision.engine import PolicyEngine, Verdict
from mc_pipelines.executions.manifest import Manifest
from mc_pipelines.foundation.canonical import digest_of
from mc_pipelines.foundation.ids import Digest
from mc_pipelines.runner.driver import Capabilities, StartClass

ALLOW, DENY = "data.placement.allow", "data.placement.deny"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A region that could take an execution.

    Attributes:
        micro_usd_per_cpu_hour: price of one vCPU for one hour, in 10**-6 USD.
        price_id: names the price for ever.
        start_p95_ms: how long a start takes there, 95th percentile in milliseconds.
        quota_left: executions of this shape that still fit.
    """

    cloud: str
    region: str
    capabilities: Capabilities
    micro_usd_per_cpu_hour: int
    price_id: str
    start_p95_ms: int = 1_000
    quota_left: int = 1_000
    drained: bool = False

    @property
    def name(self) -> str:
        """``CLOUD/region``, as the placement pack names it."""
        return f"{self.cloud}/{self.region}"

    def document(self) -> dict[str, Any]:
        """Return the candidate as the pack's input."""
        return {
            "cloud": self.cloud,
            "region": self.region,
            "capabilities": {
                "read_only_root": self.capabilities.read_only_root,
                "egress": sorted(str(each) for each in self.capabilities.egress),
            },
            "drained": self.drained,
            "quota_left": self.quota_left,
        }


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an execution goes, or why it goes nowhere.

    Attributes:
        ranked: names of the allowed candidates, best first.
        denials: every reason that the pack gave, as {candidate, rule, why, fix}.
        error: why the pack gave no verdict; then nothing is allowed.
        engine: name and version of what evaluated the pack.
        warning: what a revision that is being rolled out would deny besides, or why it cannot say; None = none warns.
        pointer: version of the policy pointer that named the pack.
    """

    chosen: Candidate | None
    ranked: tuple[str, ...]
    denials: tuple[Mapping[str, str], ...]
    error: str | None
    pack: Digest
    prices: Digest
    question: dict[str, Any]
    verdict: Verdict
    engine: str
    warning: Mapping[str, Any] | None = None
    pointer: int = 0

    @property
    def reason(self) -> str:
        """One sentence for a person."""
        if self.chosen is not None:
            return f"placed on {self.chosen.name}, of {len(self.ranked)} allowed"
        if self.error is not None:
            return f"the placement policy gave no verdict: {self.error}"
        reasons = "; ".join(f"{each['candidate']}: {each['why']} (fix: {each['fix']})" for each in self.denials)
        return f"no candidate is allowed: {reasons or 'there are none'}"

    def document(self) -> dict[str, Any]:
        """Return the decision as the receipt and the record carry it."""
        return {
            "chosen": None if self.chosen is None else self.chosen.name,
            "ranked": list(self.ranked),
            "denied": [dict(each) for each in self.denials],
            "pack": self.pack,
            "prices": self.prices,
            "input": digest_of(self.question),
            "pointer": self.pointer,
            **({"error": self.error} if self.error else {}),
            **({"warning": dict(self.warning)} if self.warning is not None else {}),
        }


def place(
    engine: PolicyEngine,
    pack: Digest,
    manifest: Manifest,
    candidates: Sequence[Candidate],
    *,
    residency: Sequence[str],
    flags: Mapping[str, bool],
    execution: str | None = None,
) -> Placement:
    """Decide where an execution runs.

    Args:
        engine: evaluates the placement pack; used in its own thread only.
        pack: the pack's revision.
        manifest: what is to run.
        candidates: every region that has a driver.
        residency: geographies or regions that the tenant and the manifest allow.
        flags: the flags as evaluated for this tenant.
        execution: its id; part of the question, so that the recorded decision is found again and replays as it is.
    """
    question = {
        "tenant": manifest.tenant,
        "workflow": manifest.workflow,
        **({"execution": execution} if execution is not None else {}),
        "data_class": manifest.data_class,
        "residency": list(residency),
        "needs": {"read_only_root": manifest.needs.read_only_root, "egress": manifest.needs.egress},
        "flags": dict(flags),
        "candidates": [each.document() for each in sorted(candidates, key=lambda each: each.name)],
    }
    prices = digest_of({each.name: [each.price_id, each.micro_usd_per_cpu_hour] for each in candidates})
    allowed = engine.evaluate(ALLOW, question)
    denied = engine.evaluate(DENY, question)
    denials, malformed = _denials(denied)
    error = allowed.error or malformed
    names = {each for each in allowed.value if isinstance(each, str)} if error is None else set()
    ranked = sorted((each for each in candidates if each.name in names), key=lambda each: _rank(each, manifest))
    return Placement(
        chosen=ranked[0] if ranked else None,
        ranked=tuple(each.name for each in ranked),
        denials=denials,
        error=error,
        pack=pack,
        prices=prices,
        question=question,
        verdict=denied if error is None or denied.error else allowed,
        engine=engine.name,
    )


def warned(placed: Placement, engine: PolicyEngine, revision: Digest) -> Placement:
    """Return a placement with the warnings of a revision that does not decide yet; it changes nothing else.

    Args:
        placed: the decision.
        engine: evaluates the revision that warns; used in its own thread only.
        revision: that revision.
    """
    denials, error = _denials(engine.evaluate(DENY, placed.question))
    if error is not None:
        return replace(placed, warning={"revision": revision, "error": error})
    denied = {each["candidate"] for each in placed.denials}
    fresh = [dict(each) for each in denials if each["candidate"] not in denied]
    return replace(placed, warning={"revision": revision, "wouldDeny": fresh})


def _denials(verdict: Verdict) -> tuple[tuple[Mapping[str, str], ...], str | None]:
    """Return a pack's denials in order, or why there are none: what is no set of denials allows nothing."""
    if verdict.error is not None:
        return (), verdict.error
    try:
        found = sorted(verdict.value, key=lambda each: (each["candidate"], each["rule"]))
        if all(isinstance(each[name], str) for each in found for name in ("candidate", "rule", "why", "fix")):
            return tuple(found), None
    except (KeyError, TypeError):
        pass
    return (), "deny is no set of objects with candidate, rule, why and fix"


def _rank(candidate: Candidate, manifest: Manifest) -> tuple[int, int, int, str]:
    """Warm before cold where a deadline is near; then the cheapest; then the quickest start; then by name."""
    cold = int(manifest.deadline is not None and candidate.capabilities.start_class is StartClass.COLD)
    price = candidate.micro_usd_per_cpu_hour * manifest.resources.cpu_millis
    return cold, price, candidate.start_p95_ms, candidate.name
