"""Reads and writes contracts as documents: YAML by people, RFC 8785 JSON for hashing and signing.

The form is an OpenSLO v1 ``SLO`` with one extension, ``spec.x-credit``. Numbers are decimal text in the
canonical form, so that 0.9999 is exactly that and never a float. An unknown field is refused: a misspelt
field would otherwise silently change what is owed.
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Any, TypeVar

import yaml

from mc_pipelines.foundation.canonical import canonical_json, parse_json, sha256_digest
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.ids import ServiceId, parse_name
from mc_pipelines.foundation.money import Money, decimal_text, exact, minor_unit_exponent
from mc_pipelines.sla.calendar import Cycle, zone_of
from mc_pipelines.sla.contract import (
    BadSlice,
    Contract,
    EmptySlice,
    Exclusion,
    Measure,
    Objective,
    PartialPeriod,
    Restatement,
    Signed,
    Source,
    Tier,
)
from mc_pipelines.sla.fields import Fields

API_VERSION = "openslo/v1"
KIND = "SLO"
ANNOTATION = "maestro-conductor.example/"
_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"([1-9][0-9]*)(ms|s|m|h|d)")
_BUDGETING = {
    Measure.DOWNTIME: "Timeslices",
    Measure.DEPLOYED_DOWNTIME: "Timeslices",
    Measure.EVENTS: "Occurrences",
    Measure.SLICE_MEAN: "RatioTimeslices",
    Measure.BAD_RUNS: "Timeslices",
}
_Choice = TypeVar("_Choice", bound=StrEnum)


class _ExactLoader(yaml.SafeLoader):
    """Loads numbers with a point as Decimal text and refuses a key that stands twice."""


def _construct_mapping(loader: _ExactLoader, node: yaml.MappingNode) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str) or key in found:
            raise InputError("A key must be text and stand once", field="contract", value=key)
        found[key] = loader.construct_object(value_node, deep=True)
    return found


def _construct_text(_loader: _ExactLoader, node: yaml.ScalarNode) -> str:
    return str(node.value)


_ExactLoader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)
for _tag in ("float", "timestamp"):
    _ExactLoader.add_constructor(f"tag:yaml.org,2002:{_tag}", _construct_text)


def load_contract(content: bytes | str) -> Signed:
    """Read a contract from YAML or JSON text.

    Returns:
        The contract, its canonical document and its digest. Two spellings of one contract have one digest.

    Raises:
        InputError: the text is malformed, a field is unknown, missing or means nothing.
    """
    try:
        value = yaml.load(content, Loader=_ExactLoader)  # noqa: S506 - a subclass of SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"The contract is not valid YAML: {str(error).splitlines()[0]}", field="contract") from error
    return seal_contract(contract_of(value))


def seal_contract(contract: Contract) -> Signed:
    """Return a contract with its canonical document and digest."""
    document = canonical_json(document_of(contract))
    return Signed(contract, document, sha256_digest(document))


def parse_canonical(document: bytes) -> Signed:
    """Read a contract from its canonical document.

    Raises:
        InputError: the bytes are not the canonical form of a contract.
    """
    sealed = seal_contract(contract_of(parse_json(document, what="contract")))
    if sealed.document != document:
        raise InputError("The contract is not in its canonical form", field="contract", value=sha256_digest(document))
    return sealed


def contract_of(value: Any) -> Contract:
    """Build a contract from a parsed document.

    Raises:
        InputError: a field is unknown, missing or means nothing.
    """
    root = Fields(value, "contract")
    root.constant("apiVersion", API_VERSION)
    root.constant("kind", KIND)
    metadata, spec = root.section("metadata"), root.section("spec")
    root.done()
    annotations = metadata.section("annotations", optional=True)
    windows = spec.sections("timeWindow")
    objectives = spec.sections("objectives")
    if len(windows) != 1 or len(objectives) != 1:
        raise InputError(
            "A contract has exactly one time window and one objective",
            field="spec",
            mend="write one document per objective",
        )
    credit = spec.section("x-credit")
    indicator = spec.section("indicator")
    contract = _build(metadata, spec, windows[0], objectives[0], credit, indicator, annotations)
    for part in (metadata, annotations, spec, windows[0], objectives[0], credit, indicator):
        part.done()
    return contract


def _build(
    metadata: Fields,
    spec: Fields,
    window: Fields,
    objective: Fields,
    credit: Fields,
    indicator: Fields,
    annotations: Fields,
) -> Contract:
    calendar = window.section("calendar")
    window.constant("isRolling", expected=False)
    zone = calendar.text("timeZone")
    zone_of(zone)
    start = calendar.text("startTime")
    calendar.done()
    measure = _choice(Measure, credit.text("measure"), "x-credit.measure")
    spec.constant("budgetingMethod", _BUDGETING[measure])
    currency = credit.text("currency")
    minor_unit_exponent(currency)
    credit.constant("rounding", "half-up")
    kind = _choice(Objective, indicator.section("metadata").text("name"), "indicator.metadata.name")
    threshold = objective.get("value")
    if threshold is not None:
        objective.constant("op", "lte")
    minimum = credit.get("minimumAbove")
    return Contract(
        name=parse_name(metadata.text("name"), field="metadata.name"),
        version=credit.integer("version", at_least=1),
        title=metadata.text("displayName"),
        service=ServiceId(parse_name(spec.text("service"), field="spec.service")),
        objective=kind,
        measure=measure,
        source=_choice(Source, credit.text("source"), "x-credit.source"),
        target=_percent(objective.take("target"), "objectives.target", scale=100),
        cycle=_choice(Cycle, window.text("duration"), "timeWindow.duration"),
        zone=zone,
        currency=currency,
        tiers=tuple(_tier(tier) for tier in credit.sections("tiers")),
        cap=_percent(credit.get("cap", "100"), "x-credit.cap"),
        minimum=None if minimum is None else _money(minimum, currency, "x-credit.minimumAbove"),
        slice_ms=parse_duration(credit.get("slice"), "x-credit.slice"),
        empty_slice=_choice(EmptySlice, credit.get("emptySlice", "unknown"), "x-credit.emptySlice"),
        bad_slice=_bad_slice(credit.section("badSlice", optional=True)),
        exclusion=_choice(Exclusion, credit.text("exclusions"), "x-credit.exclusions"),
        partial=_choice(PartialPeriod, credit.get("partialPeriods", "whole"), "x-credit.partialPeriods"),
        restatement=_choice(Restatement, credit.get("restatement", "symmetric"), "x-credit.restatement"),
        threshold_ms=None if threshold is None else _integer(threshold, "objectives.value"),
        probe_ms=parse_duration(credit.get("probeInterval"), "x-credit.probeInterval"),
        free_hour_above_ms=parse_duration(credit.get("freeHourAbove"), "x-credit.freeHourAbove"),
        close_after=timedelta(milliseconds=parse_duration(credit.get("closeAfter", "2d"), "x-credit.closeAfter") or 0),
        claim_window=credit.get("claimWindow"),
        source_text=annotations.get(ANNOTATION + "source"),
        source_date=annotations.get(ANNOTATION + "source-date"),
        effective=_start_date(start),
    )


def document_of(contract: Contract) -> dict[str, Any]:
    """Return the document of a contract, ready for canonical JSON; absent options are left out."""
    bad = contract.bad_slice
    annotations = {
        ANNOTATION + "source": contract.source_text,
        ANNOTATION + "source-date": contract.source_date,
    }
    credit = {
        "version": contract.version,
        "measure": contract.measure.value,
        "source": contract.source.value,
        "currency": contract.currency,
        "rounding": "half-up",
        "tiers": [{"below": percent_text(t.below), "credit": percent_text(t.credit)} for t in contract.tiers],
        "cap": percent_text(contract.cap),
        "minimumAbove": None if contract.minimum is None else decimal_text(contract.minimum.amount),
        "slice": duration_text(contract.slice_ms),
        "emptySlice": contract.empty_slice.value,
        "badSlice": None
        if bad is None
        else {
            "errorRateAbove": percent_text(bad.error_rate_above),
            "minimumRun": bad.minimum_run,
            "minimumSample": bad.minimum_sample,
        },
        "exclusions": contract.exclusion.value,
        "partialPeriods": contract.partial.value,
        "restatement": contract.restatement.value,
        "probeInterval": duration_text(contract.probe_ms),
        "freeHourAbove": duration_text(contract.free_hour_above_ms),
        "closeAfter": duration_text(contract.close_after // timedelta(milliseconds=1)),
        "claimWindow": contract.claim_window,
    }
    objective: dict[str, Any] = {"target": percent_text(contract.target / 100)}
    if contract.threshold_ms is not None:
        objective |= {"op": "lte", "value": contract.threshold_ms}
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": _present(
            {
                "name": contract.name,
                "displayName": contract.title,
                "annotations": _present(annotations) or None,
            }
        ),
        "spec": {
            "service": contract.service,
            "indicator": {"metadata": {"name": contract.objective.value}},
            "timeWindow": [
                {
                    "duration": contract.cycle.value,
                    "isRolling": False,
                    "calendar": {"startTime": f"{contract.effective.isoformat()} 00:00:00", "timeZone": contract.zone},
                }
            ],
            "budgetingMethod": _BUDGETING[contract.measure],
            "objectives": [objective],
            "x-credit": _present(credit),
        },
    }


def percent_text(value: Fraction) -> str:
    """Return a fraction that has a finite decimal form as that decimal, without an exponent.

    Raises:
        InputError: the fraction has no finite decimal form.
    """
    digits = 0
    while (value * 10**digits).denominator != 1:
        digits += 1
        if digits > 30:  # noqa: PLR2004 - no contract states a percentage to thirty places
            raise InputError("Not a finite decimal number", field="percentage", value=str(value))
    return decimal_text(Decimal((0, Decimal((value * 10**digits).numerator).as_tuple().digits, -digits)))


def parse_duration(value: Any, field: str) -> int | None:
    """Return ``5m`` in milliseconds; None stays None.

    Raises:
        InputError: the text is no duration.
    """
    if value is None:
        return None
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise InputError(
            "Not a duration", field=field, value=value, mend="write a whole number and ms, s, m, h or d, such as 5m"
        )
    return int(found[1]) * _UNITS_MS[found[2]]


def duration_text(milliseconds: int | None) -> str | None:
    """Return milliseconds in the largest unit that divides them."""
    if milliseconds is None:
        return None
    unit = next(name for name in ("d", "h", "m", "s", "ms") if milliseconds % _UNITS_MS[name] == 0)
    return f"{milliseconds // _UNITS_MS[unit]}{unit}"


def _tier(fields: Fields) -> Tier:
    tier = Tier(_percent(fields.take("below"), "tiers.below"), _percent(fields.take("credit"), "tiers.credit"))
    fields.done()
    return tier


def _bad_slice(fields: Fields) -> BadSlice | None:
    if fields.absent:
        return None
    bad = BadSlice(
        error_rate_above=_percent(fields.take("errorRateAbove"), "badSlice.errorRateAbove"),
        minimum_run=fields.integer("minimumRun", at_least=1),
        minimum_sample=fields.integer("minimumSample", at_least=1),
    )
    fields.done()
    return bad


def _percent(value: Any, field: str, *, scale: int = 1) -> Fraction:
    try:
        percent = exact(value, field=field) * scale
    except InputError as error:
        raise InputError("Not a decimal number", field=field, value=value) from error
    if not 0 <= percent <= 100:  # noqa: PLR2004 - per cent
        raise InputError(
            "A percentage lies between 0 and 100",
            field=field,
            value=str(value),
            mend="a target is a fraction of 1, tiers, cap and error rates are per cent",
        )
    return percent


def _money(value: Any, currency: str, field: str) -> Money:
    amount = exact(value, field=field)
    money = Money.of(amount, currency)
    if exact(money.amount, field=field) != amount or amount < 0:
        raise InputError("Not an amount in the currency's minor unit", field=field, value=str(value))
    return money


def _integer(value: Any, field: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError("Not a positive whole number", field=field, value=value)
    return value


def _choice(kind: type[_Choice], value: Any, field: str) -> _Choice:
    try:
        return kind(value)
    except ValueError as error:
        raise InputError(
            "Not one of the allowed words",
            field=field,
            value=value,
            mend="use one of " + ", ".join(word.value for word in kind),
        ) from error


def _start_date(text: str) -> date:
    try:
        return date.fromisoformat(text.removesuffix(" 00:00:00"))
    except ValueError as error:
        raise InputError(
            "Not the first instant of a day",
            field="timeWindow.calendar.startTime",
            value=text,
            mend="write 2026-01-01 00:00:00",
        ) from error


def _present(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
