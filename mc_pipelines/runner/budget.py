"""The budget of a manifest at publish: what is surely too dear is refused, with the pack's reason and mend.

The pack ``budget`` compares the estimate's middle and 90 % bound with the manifest's ``budget``. A guess never denies:
what the pack would show to a person goes ahead, and stands in the execution's first step. A manifest without a
budget is not asked about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from threading import Lock
from typing import Any

from mc_pipelines.decision.engine import PolicyEngine
from mc_pipelines.estimator.budget import budget_input
from mc_pipelines.executions.manifest import Manifest
from mc_pipelines.foundation.errors import ForbiddenError
from mc_pipelines.foundation.ids import Digest
from mc_pipelines.foundation.money import Money

PACK = "budget"
DENY, REVIEW = f"data.{PACK}.deny", f"data.{PACK}.review"


@dataclass
class BudgetGate:
    """Asks the pack.

    Args:
        open_engine: opens the pack's engine, when the first manifest with a budget comes; one thread at a time asks it.
        revision: of the pack.
    """

    open_engine: Callable[[], PolicyEngine]
    revision: Digest
    _engine: PolicyEngine | None = field(default=None, init=False, repr=False)
    _lock: Lock = field(default_factory=Lock, init=False, repr=False)

    def judge(self, manifest: Manifest, estimate: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Return what was decided and by which revision, for the execution's first step; None without a budget.

        Args:
            manifest: what is to be published.
            estimate: as of ``Estimator.at_publish``; None where nothing is known.

        Raises:
            ForbiddenError: the estimate is surely past the budget, or the two cannot be compared.
            UnavailableError: the pack gave no verdict, so nothing goes ahead.
        """
        if manifest.budget is None:
            return None
        left = Money.of(manifest.budget.amount, manifest.budget.currency)
        document = budget_input(estimate, left)
        with self._lock:
            self._engine = self._engine or self.open_engine()
            denied = self._engine.evaluate(DENY, document).require()
            unsure = self._engine.evaluate(REVIEW, document).require()
        if denied:
            first = min(denied, key=lambda reason: str(reason["rule"]))
            raise ForbiddenError(
                f"The budget does not allow this execution: {first['why']}",
                field="budget",
                value=f"{manifest.budget.amount} {manifest.budget.currency}",
                mend=f"{first['fix']}; the estimate: {_shown(estimate)}",
            )
        return {"pack": self.revision, "review": sorted((dict(one) for one in unsure), key=lambda one: one["rule"])}


def _shown(estimate: Mapping[str, Any] | None) -> str:
    if estimate is None or estimate["high"] is None:
        return "none"
    return f"{Decimal(estimate['cost'])} {estimate['currency']}, 90 % of runs up to {Decimal(estimate['high'])}"
