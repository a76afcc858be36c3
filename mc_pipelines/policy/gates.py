"""The gates of a rollout: tests that stay valid however often one looks.

Every decision is evaluated under both packs, so the evidence is paired: b decisions went from allow to
deny (harm), c from deny to allow (widening). Each test is an e-process, a mixture of likelihood ratios
over a fixed grid of alternatives; by Ville's inequality the chance that it ever reaches 1/alpha while
its null hypothesis holds is at most alpha, at any stopping time (Ville 1939; Ramdas et al. 2023, "Game-
theoretic statistics and safe anytime-valid inference", section 3). A fixed threshold looked at every
window has no such promise: it aborts most low-traffic rollouts and lets harmful packs through.

What the promise needs: given the past, each trial harms with at most the bound's probability. Decisions do
not keep that: what one workflow asks within minutes shares its fate, so five hundred questions of it are one
trial and not five hundred. A trial is therefore a *unit*, all that a (tenant, workflow) asked in one window.
A unit counts against the pack where all of its decisions are harmed (their share is then at least what is
counted, so the promise on aborting holds however its decisions depend on each other), and keeps the pack from
advancing where any is. Advancing takes both: the units, and the decisions, so that no heavy workflow is
overlooked because it is only one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from fractions import Fraction
from typing import Any

GRID_VERSION = 2
ABORT_GRID = (1.5, 2.0, 3.0, 5.0, 10.0, 25.0)
"""Multiples of the bound on harm that the abort test bets on."""
ADVANCE_GRID = (0.0, 0.1, 0.25, 0.5, 0.75)
"""Multiples of the bound on harm that the advance test bets on."""
SLOW_GRID = (1.5, 2.0, 3.0, 5.0, 10.0)
"""Multiples of the bound on slow evaluations."""
SPIKE_STAKES = (0.05, 0.1, 0.2, 0.3, 0.45)
"""Stakes of the deny-spike test, each below 1/2 so that no decision can ruin the bet."""

_UNREPLAYABLE = Fraction(1, 1000)
_HIGHEST_RATE = 0.99
"""Alternatives above it are bet on at it: a rate of 1 would be ruined by the first miss."""


@dataclass(frozen=True)
class Bounds:
    """What a rollout promises; the defaults are the seed's (section 5.8).

    Attributes:
        harm: highest share of decisions that may turn from allow to deny.
        slow: highest share of evaluations slower than 50 ms, so that p95 is at or below 50 ms.
        abort_alpha: chance of aborting a rollout that keeps its promise, over its whole life.
        advance_alpha: chance of advancing one that does not.
        false_discovery: share of tenants named as harmed that are not.
    """

    harm: Fraction = Fraction(2, 1000)
    slow: Fraction = Fraction(5, 100)
    abort_alpha: Fraction = Fraction(1, 1000)
    advance_alpha: Fraction = Fraction(1, 100)
    false_discovery: Fraction = Fraction(5, 100)


@dataclass(frozen=True, slots=True)
class Counts:
    """Sufficient statistics of paired decisions.

    Attributes:
        decisions: n, unique decisions.
        harmed: b, allowed under the old pack and denied under the new one.
        widened: c, denied under the old pack and allowed under the new one.
        undeclared: the part of ``widened`` that the change did not declare.
        reasons_changed: denied under both, for other rules.
        errors: the new pack gave no value where the old one did.
        denied_old: denied under the old pack.
        denied_new: denied under the new pack.
        denied_both: denied under both.
        slow: evaluations of the new pack that took more than 50 ms.
        units: (tenant, workflow) in a window; what one asks shares its fate.
        units_harmed: all of its decisions harmed.
        units_touched: at least one of its decisions harmed.
        units_denied_old: at least one decision denied under the old pack.
        units_denied_new: all denied under the new pack.
        units_denied_both: both of that.
        units_slow: all slow.
        unreplayable: recorded decisions of which the whole input is not there; nobody knows what they would be.
    """

    decisions: int = 0
    harmed: int = 0
    widened: int = 0
    undeclared: int = 0
    reasons_changed: int = 0
    errors: int = 0
    denied_old: int = 0
    denied_new: int = 0
    denied_both: int = 0
    slow: int = 0
    units: int = 0
    units_harmed: int = 0
    units_touched: int = 0
    units_denied_old: int = 0
    units_denied_new: int = 0
    units_denied_both: int = 0
    units_slow: int = 0
    unreplayable: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))


class Decision(StrEnum):
    """What a gate says. Thin evidence is HOLD, never ADVANCE."""

    ABORT = "abort"
    ADVANCE = "advance"
    HOLD = "hold"


@dataclass(frozen=True)
class Gate:
    """A gate's verdict with all that is needed to compute it again."""

    decision: Decision
    reason: str
    harmed_tenants: tuple[str, ...] = ()
    statistics: dict[str, Any] = field(default_factory=dict)


def log_mixture(logarithms: Iterable[float]) -> float:
    """Return the logarithm of the mean of e-values given by their logarithms."""
    values = tuple(logarithms)
    highest = max(values)
    if highest == -math.inf:
        return -math.inf
    return highest + math.log(sum(math.exp(value - highest) for value in values) / len(values))


def log_ratio_process(trials: int, hits: int, bound: Fraction, grid: Sequence[float]) -> float:
    """Return log E of ``hits`` in ``trials`` against "the rate is at the bound", bet on multiples of it.

    With multiples above 1 it tests "at or below the bound", with multiples below 1 "at or above".
    """
    null = float(bound)
    terms = []
    for multiple in grid:
        rate = min(multiple * null, _HIGHEST_RATE)
        misses = (trials - hits) * (math.log1p(-rate) - math.log1p(-null))
        won = hits * math.log(rate / null) if rate else (-math.inf if hits else 0.0)
        terms.append(won + misses)
    return log_mixture(terms)


def log_spike_process(counts: Counts) -> float:
    """Return log E against "the new pack denies at most twice what the old one denies".

    Each unit pays x = new - 2 * old (1 if it denies): +1, -2 or -1, with a mean at or below 0 under
    the null hypothesis, so that the product of (1 + stake * x) is a non-negative supermartingale.
    """
    gained = counts.units_denied_new - counts.units_denied_both
    lost = counts.units_denied_old - counts.units_denied_both
    return log_mixture(
        gained * math.log1p(stake) + counts.units_denied_both * math.log1p(-stake) + lost * math.log1p(-2 * stake)
        for stake in SPIKE_STAKES
    )


def harmed_tenants(tenants: Mapping[str, Counts], bounds: Bounds) -> tuple[str, ...]:
    """Return the tenants harmed beyond the bound, by e-BH (Wang and Ramdas 2022): false discoveries bounded."""
    logs = {name: log_ratio_process(c.units, c.units_harmed, bounds.harm, ABORT_GRID) for name, c in tenants.items()}
    ranked = sorted(logs, key=lambda name: (-logs[name], name))
    chosen = 0
    for rank, name in enumerate(ranked, start=1):
        if logs[name] >= math.log(len(ranked) / (rank * float(bounds.false_discovery))):
            chosen = rank
    return tuple(sorted(ranked[:chosen]))


def judge(
    tenants: Mapping[str, Counts],
    *,
    bounds: Bounds,
    budget_stable: bool | None,
    enforcing: bool = False,
) -> Gate:
    """Judge the evidence of one step.

    Args:
        tenants: counts of each tenant since the step began.
        bounds: what the rollout promises.
        budget_stable: whether the error budget burns at or below its pace; None = nobody knows.
        enforcing: whether the new pack denies people's work already. A burst that harms many decisions of few
            workflows then aborts, although it may be chance: the error goes towards the old pack.

    Returns:
        ABORT with certainty beyond ``abort_alpha``, or at the first undeclared widening; ADVANCE when the
        harm is shown to be below its bound and nothing speaks against it; else HOLD.
    """
    total = sum(tenants.values(), Counts())
    logs = _logarithms(tenants, total, bounds)
    harmed = harmed_tenants(tenants, bounds) if tenants else ()
    statistics: dict[str, Any] = {
        "grid": GRID_VERSION,
        "totals": asdict(total),
        "tenants": len(tenants),
        "log_e": {name: round(value, 9) if math.isfinite(value) else None for name, value in logs.items()},
        "abort_at": round(-math.log(bounds.abort_alpha), 9),
        "advance_at": round(-math.log(bounds.advance_alpha), 9),
        "budget_stable": budget_stable,
        "enforcing": enforcing,
    }
    decision, reason = _decide(total, logs, bounds, harmed, budget_stable, enforcing=enforcing)
    return Gate(decision, reason, harmed, statistics)


def _logarithms(tenants: Mapping[str, Counts], total: Counts, bounds: Bounds) -> dict[str, float]:
    each = [log_ratio_process(c.units, c.units_harmed, bounds.harm, ABORT_GRID) for c in tenants.values()]
    pooled = log_ratio_process(total.units, total.units_harmed, bounds.harm, ABORT_GRID)
    return {
        # The mean of e-processes is one, however the tenants depend on each other: no small tenant is drowned.
        "harm": log_mixture((pooled, log_mixture(each))) if each else 0.0,
        "burst": log_ratio_process(total.decisions, total.harmed, bounds.harm, ABORT_GRID),
        "advance": min(
            log_ratio_process(total.decisions, total.harmed, bounds.harm, ADVANCE_GRID),
            log_ratio_process(total.units, total.units_touched, bounds.harm, ADVANCE_GRID),
        ),
        "spike": log_spike_process(total),
        "slow": log_ratio_process(total.units, total.units_slow, bounds.slow, SLOW_GRID),
    }


def _decide(
    total: Counts,
    logs: Mapping[str, float],
    bounds: Bounds,
    harmed: tuple[str, ...],
    budget_stable: bool | None,
    *,
    enforcing: bool,
) -> tuple[Decision, str]:
    certain = -math.log(bounds.abort_alpha)
    if total.undeclared:
        return Decision.ABORT, f"{total.undeclared} decisions were widened from deny to allow without being declared"
    aborts = {
        "harm": f"more than {float(bounds.harm):.2%} of decisions turn from allow to deny",
        "spike": "the new pack denies more than twice what the old one denies",
        "slow": f"more than {float(bounds.slow):.0%} of evaluations take longer than 50 ms",
    }
    for name, reason in aborts.items():
        if logs[name] >= certain:
            return Decision.ABORT, f"{reason} (evidence {_shown(logs[name])} to 1)"
    burst = (
        f"{total.harmed} decisions of only {total.units_touched} of {total.units} units are harmed: a burst, or harm"
    )
    if enforcing and logs["burst"] >= certain:
        return Decision.ABORT, burst
    unknown = total.unreplayable > _UNREPLAYABLE * (total.decisions + total.unreplayable)
    holds = (
        (unknown, f"{total.unreplayable} recorded decisions cannot be replayed, more than 1 in 1,000"),
        (logs["burst"] >= certain, burst),
        (not total.decisions, "there is no evidence yet"),
        (total.errors > 0, f"the new pack gave no value in {total.errors} decisions where the old one did"),
        (bool(harmed), f"harmed tenants: {', '.join(harmed[:5])}"),
        (budget_stable is None, "nobody knows whether the error budget is stable"),
        (budget_stable is False, "the error budget is not stable"),
        (
            logs["advance"] < -math.log(bounds.advance_alpha),
            f"evidence is thin: {total.decisions} decisions in {total.units} units",
        ),
    )
    for holds_here, reason in holds:
        if holds_here:
            return Decision.HOLD, reason
    return Decision.ADVANCE, f"harm below {float(bounds.harm):.2%} (evidence {_shown(logs['advance'])} to 1)"


def _shown(logarithm: float) -> str:
    return f"{math.exp(logarithm):.0f}" if logarithm < math.log(1e6) else f"10^{logarithm / math.log(10):.0f}"
