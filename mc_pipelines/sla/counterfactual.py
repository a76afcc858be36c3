"""What a period would have come to under the published contracts of three clouds: the same facts, other terms."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

from mc_pipelines.foundation.money import Money
from mc_pipelines.sla.contract import Contract, Measure, Objective, Source
from mc_pipelines.sla.document import duration_text, percent_text
from mc_pipelines.sla.evidence import Evidence
from mc_pipelines.sla.facts import Kind
from mc_pipelines.sla.judgement import judge
from mc_pipelines.sla.library import template, template_names


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """A period under a published contract.

    Args:
        template: name of the published contract.
        source: where its terms were taken from.
        state: kept, broken or no data; None where it cannot be told.
        shown: the percentage, rounded down.
        percent: per cent of the charge.
        credit: what would be due; None on hold or where it cannot be told.
        reason: why nothing would be due, or why it cannot be told.
    """

    template: str
    source: str | None
    state: str | None
    shown: Decimal | None
    percent: Fraction | None
    credit: Money | None
    reason: str | None

    def to_document(self) -> dict[str, Any]:
        """Return it as JSON members."""
        return {
            "template": self.template,
            "source": self.source,
            "state": self.state,
            "shown": None if self.shown is None else str(self.shown),
            "creditPercent": None if self.percent is None else percent_text(self.percent),
            "credit": None if self.credit is None else str(self.credit),
            "reason": self.reason,
        }


def counterfactuals(contract: Contract, evidence: Evidence) -> list[Counterfactual]:
    """Judge a period of an availability contract under every published contract that has tiers, by name.

    Service, calendar and currency stay those of the real contract; measure, exclusions, tiers, cap and minimum are the
    published ones. A minimum in another currency is left out. A contract whose slices are shorter than what was
    counted, or whose deployed time nobody recorded, cannot be told, and says so.
    """
    if contract.objective is not Objective.AVAILABILITY:
        return []
    published = [(name, template(name).contract) for name in template_names()]
    return [_under(name, terms, contract, evidence) for name, terms in published if terms.tiers]


def _under(name: str, terms: Contract, contract: Contract, evidence: Evidence) -> Counterfactual:
    same_currency = terms.minimum is not None and terms.minimum.currency == contract.currency
    asked = replace(
        terms,
        service=contract.service,
        zone=contract.zone,
        cycle=contract.cycle,
        currency=contract.currency,
        minimum=terms.minimum if same_currency else None,
    )
    why = _untold(asked, contract, evidence)
    if why is not None:
        return Counterfactual(name, terms.source_text, None, None, None, None, why)
    judgement = judge(asked, replace(evidence, earlier=()))
    decision = judgement.decision
    return Counterfactual(
        name,
        terms.source_text,
        judgement.state.value,
        judgement.attainment.shown,
        None if decision is None else decision.percent,
        None if decision is None else decision.credit,
        judgement.reason,
    )


def _untold(asked: Contract, own: Contract, evidence: Evidence) -> str | None:
    if asked.counts_slices and not evidence.slices:
        on_incidents = own.source is Source.INCIDENTS
        return "nothing was counted" + (": the contract is measured on incidents" if on_incidents else " in the period")
    if asked.slice_ms is not None and any(asked.slice_ms % day.granule_ms for day in evidence.slices):
        return f"needs slices of {duration_text(asked.slice_ms)}, and longer ones were counted"
    if asked.measure is Measure.DEPLOYED_DOWNTIME and not evidence.of_kind(Kind.DEPLOYMENT):
        return "nobody recorded when it was deployed"
    return None
