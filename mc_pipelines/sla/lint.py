"""Finds what is wrong, or merely odd, in a contract before anybody is paid by it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from itertools import pairwise
from typing import Any

from mc_pipelines.foundation.money import exact
from mc_pipelines.sla.calendar import Cycle, period_containing
from mc_pipelines.sla.contract import HOUR_MS, MINUTE_MS, Contract, EmptySlice, Measure, Objective, Source
from mc_pipelines.sla.document import document_of, percent_text
from mc_pipelines.sla.slices import EDGES_MS

_SLICES_MS = (MINUTE_MS, 5 * MINUTE_MS, 15 * MINUTE_MS, HOUR_MS)
_MANY = 2


class Severity(StrEnum):
    """Whether a contract with this finding may be used."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong or odd: where, what, and how to mend it."""

    severity: Severity
    field: str
    message: str
    mend: str


def lint(contract: Contract) -> list[Finding]:
    """Return all findings, errors first."""
    found = [*_tiers(contract), *_measure(contract), *_sampling(contract), *_units(contract)]
    return sorted(found, key=lambda finding: finding.severity)


def _error(field: str, message: str, mend: str) -> Finding:
    return Finding(Severity.ERROR, field, message, mend)


def _warning(field: str, message: str, mend: str) -> Finding:
    return Finding(Severity.WARNING, field, message, mend)


def _tiers(contract: Contract) -> Iterator[Finding]:
    field = "x-credit.tiers"
    if contract.free_hour_above_ms is not None:
        yield _warning("x-credit.freeHourAbove", "No credit is drafted for a free hour", "let billing not charge it")
    if not contract.tiers:
        if contract.free_hour_above_ms is None:
            yield _error(field, "There is no tier, so nothing is ever owed", "add a tier or freeHourAbove")
        return
    for higher, lower in pairwise(contract.tiers):
        if lower.below == higher.below:
            yield _error(field, f"Two tiers overlap: both begin below {percent_text(lower.below)}", "keep one of them")
        elif lower.below > higher.below:
            yield _error(field, "Tiers are not in order", "write them from the highest threshold to the lowest")
        if lower.credit < higher.credit:
            yield _error(field, "A worse month would pay less", "let credits rise as thresholds fall")
        elif lower.credit == higher.credit:
            yield _warning(field, f"Two tiers pay the same {percent_text(lower.credit)} per cent", "join them")
    yield from _first_and_last(contract)


def _first_and_last(contract: Contract) -> Iterator[Finding]:
    field = "x-credit.tiers"
    first = contract.tiers[0].below
    if first < contract.target:
        yield _error(
            field,
            f"A gap: between {percent_text(first)} and the target of {percent_text(contract.target)} nothing is owed",
            "let the first tier begin below the target",
        )
    elif first > contract.target:
        yield _error(field, "The first tier pays above the target, where nothing is broken", "lower it to the target")
    if contract.tiers[-1].credit > contract.cap:
        yield _warning("x-credit.cap", "The cap cuts the last tier", "raise the cap or lower the tier")


def _measure(contract: Contract) -> Iterator[Finding]:
    sliced = contract.measure in {Measure.SLICE_MEAN, Measure.BAD_RUNS}
    if sliced and contract.slice_ms not in _SLICES_MS:
        yield _error("x-credit.slice", "This measure needs slices of 1m, 5m, 15m or 1h", "add slice")
    if not sliced and contract.slice_ms is not None:
        yield _error("x-credit.slice", "This measure has no slices", "remove slice")
    if (contract.measure is Measure.BAD_RUNS) != (contract.bad_slice is not None):
        yield _error("x-credit.badSlice", "badSlice belongs to bad-runs, and bad-runs needs it", "add or remove it")
    if contract.counts_slices == (contract.source is Source.INCIDENTS):
        yield _error(
            "x-credit.source",
            f"{contract.measure.value} cannot be measured on {contract.source.value}",
            "measure downtime on incidents, events and slices on executions or probes",
        )
    if (contract.objective is Objective.LATENCY) != (contract.threshold_ms is not None):
        yield _error("objectives.value", "A latency objective, and only that, has a threshold", "add or remove value")
    if contract.objective is Objective.LATENCY and contract.measure is not Measure.EVENTS:
        yield _error("x-credit.measure", "Latency is the share of events under a threshold", "use events")
    if contract.threshold_ms is not None and contract.threshold_ms > EDGES_MS[-1]:
        yield _error("objectives.value", "A threshold beyond a week cannot be measured", "check the unit: milliseconds")
    if sliced and contract.empty_slice is EmptySlice.GOOD:
        yield _warning("x-credit.emptySlice", "A slice without data counts as good", "use unknown to hold such months")


def _sampling(contract: Contract) -> Iterator[Finding]:
    allowed = 1 - contract.target / 100
    if allowed == 0:
        yield _warning("objectives.target", "A target of 100 leaves no budget: one bad moment breaches", "lower it")
        return
    period = period_containing(contract.effective, contract.cycle, contract.zone).interval.length
    yield from _probing(contract, allowed * period)
    if contract.measure not in {Measure.SLICE_MEAN, Measure.BAD_RUNS} or not contract.slice_ms:
        return
    run = contract.bad_slice.minimum_run if contract.bad_slice else 1
    budget = allowed * period / contract.slice_ms
    if run > budget * _MANY:
        yield _warning(
            "x-credit.badSlice.minimumRun",
            f"The shortest run that counts spends more than twice the budget of {float(budget):.1f} slices",
            "shorten minimumRun or slice",
        )
    if budget < 1:
        yield _warning(
            "x-credit.slice",
            f"One bad slice is more than the whole budget of {float(budget):.2f} slices: the target cannot be seen",
            "use shorter slices",
        )


def _probing(contract: Contract, budget_ms: Fraction) -> Iterator[Finding]:
    field = "x-credit.probeInterval"
    if (contract.source is Source.PROBES) != (contract.probe_ms is not None):
        yield _error(
            field, "A contract measured on probes, and only that, says how often they look", "add or remove it"
        )
    if contract.probe_ms is None:
        return
    probes = budget_ms / contract.probe_ms
    if probes < _MANY:
        yield _warning(
            field,
            f"The budget is {float(probes):.2f} probes: one that is lost decides, so the target cannot be seen",
            "probe more often",
        )
    sample = contract.bad_slice.minimum_sample if contract.bad_slice else 1
    if contract.slice_ms is not None and sample * contract.probe_ms > contract.slice_ms:
        yield _error(
            field,
            f"A slice of {contract.slice_ms // 1000} s never holds the {sample} probes that make it count",
            "probe more often, or lower minimumSample",
        )


def _units(contract: Contract) -> Iterator[Finding]:
    if 0 < contract.target < 1:
        yield _error("objectives.target", "The target is below one per cent", "write a fraction of 1, such as 0.999")
    for tier in contract.tiers:
        if tier.below <= 1:
            yield _warning("x-credit.tiers.below", "A threshold of one per cent or less", "thresholds are per cent")
    if contract.minimum is not None and exact(contract.minimum.amount, field="minimumAbove") == 0:
        yield _warning("x-credit.minimumAbove", "A minimum of nothing has no effect", "remove it")
    if contract.cycle is Cycle.DAY:
        yield _warning("timeWindow.duration", "A billing period of one day", "most contracts bill by month")


def diff(before: Contract, after: Contract) -> list[tuple[str, Any, Any]]:
    """Return what changed between two contracts, as (field, before, after), by field."""
    left, right = (dict(_flat(document_of(contract), "")) for contract in (before, after))
    return [
        (name, left.get(name), right.get(name))
        for name in sorted(set(left) | set(right))
        if left.get(name) != right.get(name)
    ]


def _flat(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _flat(item, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _flat(item, f"{path}[{index}]")
    else:
        yield path, value
