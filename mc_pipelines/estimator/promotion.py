"""What a challenger must show before it may become champion; every check blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mc_pipelines.estimator.backtest import Backtest
from mc_pipelines.estimator.drift import State
from mc_pipelines.estimator.history import History
from mc_pipelines.estimator.poisson import fit_poisson
from mc_pipelines.estimator.shadow import ShadowReport

COVERAGE_TOLERANCE = 0.015
LARGEST_CLAMP_SHARE = 0.30
"""A bimodal workflow is clamped often and rightly so (docs/estimator/experiments.md); beyond this v1 is no anchor."""
LARGEST_WAPE_LOSS = 0.01
LEAST_SHADOW_DAYS = 7.0
LARGEST_IMBALANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Check:
    """One blocking check."""

    name: str
    passed: bool
    detail: str


def promotion_checks(
    challenger: Backtest, champion: Backtest | None, *, imbalance: float, shadow: ShadowReport | None
) -> tuple[Check, ...]:
    """Compare a challenger with the champion on the same window.

    Args:
        challenger: its backtest.
        champion: of the champion's setting; None where v1 alone serves, then v1 is what must be beaten.
        imbalance: largest in-sample drift of any workflow before shrinkage.
        shadow: of the two frozen models on runs that neither has seen; None where there is no champion.
    """
    served = challenger.scores["served"]
    bar = champion.scores["served"].wape if champion is not None else challenger.scores["v1"].wape
    drifting = [row.workflow for row in challenger.workflows if row.state is State.DRIFT]
    return (
        Check("top-ten-drift", not drifting, f"DRIFT: {', '.join(drifting) or 'none'}"),
        _not_worse(challenger, champion),
        Check("wape", served.wape <= bar * (1 + LARGEST_WAPE_LOSS), f"{served.wape:.4f} against {bar:.4f}"),
        Check(
            "coverage",
            abs(challenger.coverage90 - 0.9) <= COVERAGE_TOLERANCE,
            f"{challenger.coverage90:.3f} of nominal 0.900",
        ),
        Check("clamp-share", challenger.clamp_share <= LARGEST_CLAMP_SHARE, f"{challenger.clamp_share:.3f}"),
        Check("balance", imbalance <= LARGEST_IMBALANCE, f"largest in-sample drift {imbalance:.1e}"),
        *_shadow_checks(shadow),
    )


def _shadow_checks(shadow: ShadowReport | None) -> tuple[Check, ...]:
    if shadow is None:
        return (Check("shadow", passed=True, detail="there is no champion to stand beside"),)
    worse = shadow.challenger_wape / shadow.champion_wape - 1.0 if shadow.champion_wape > 0.0 else 0.0
    said = f"{worse:+.1%} on {shadow.runs} runs, 95 % interval {shadow.low:+.1%} to {shadow.high:+.1%}"
    return (
        Check("shadow", shadow.days >= LEAST_SHADOW_DAYS, f"{shadow.days:.1f} of {LEAST_SHADOW_DAYS:.1f} days"),
        Check("shadow-wape", worse <= LARGEST_WAPE_LOSS, said),
    )


def _not_worse(challenger: Backtest, champion: Backtest | None) -> Check:
    """No workflow of the top ten drifts more than before, beyond its own interval."""
    before = {row.workflow: row for row in (champion.workflows if champion is not None else challenger.workflows_v1)}
    worse = [
        row.workflow
        for row in challenger.workflows
        if row.workflow in before
        and abs(row.drift) > abs(before[row.workflow].drift)
        and not row.low <= before[row.workflow].drift <= row.high
        and abs(row.drift) > max(abs(before[row.workflow].low), abs(before[row.workflow].high))
    ]
    return Check("no-workflow-worse", not worse, f"worse: {', '.join(worse) or 'none'}")


def imbalance_of(history: History, features: np.ndarray) -> float:
    """Return the largest in-sample drift of the unpenalised Poisson fit: its balance, as a checked invariant.

    Args:
        history: training runs.
        features: their standardised inputs.
    """
    usable = np.isfinite(features).all(axis=1)
    rows = np.flatnonzero(usable)
    target, workflow = history.resource_seconds[rows], history.workflow[rows]
    offset = np.log(history.resources[rows])
    count = len(history.workflow_names)
    fit = fit_poisson(features[rows], target, offset, workflow, count)
    level = np.where(np.isfinite(fit.levels), fit.levels, 0.0)
    fitted = np.bincount(workflow, np.exp(offset + level[workflow] + features[rows] @ fit.slopes), count)
    actual = np.bincount(workflow, target, count)
    paid = actual > 0
    return float(np.abs(fitted[paid] / actual[paid] - 1.0).max()) if paid.any() else 0.0


def passed(checks: Sequence[Check]) -> bool:
    """Tell whether every check passed."""
    return all(check.passed for check in checks)
