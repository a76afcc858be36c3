"""The gates keep their promises: against simulation, and case by case."""

import math
from fractions import Fraction

import numpy as np
import pytest

from mc_pipelines.policy.gates import (
    ABORT_GRID,
    ADVANCE_GRID,
    SLOW_GRID,
    Bounds,
    Counts,
    Decision,
    harmed_tenants,
    judge,
    log_mixture,
    log_ratio_process,
    log_spike_process,
)

HARM = Fraction(2, 1000)


def independent(decisions: int = 0, **more: int) -> Counts:
    """Counts where every decision is a unit of its own."""
    of_units = {
        "units": decisions,
        "units_harmed": more.get("harmed", 0),
        "units_touched": more.get("harmed", 0),
        "units_denied_old": more.get("denied_old", 0),
        "units_denied_new": more.get("denied_new", 0),
        "units_denied_both": more.get("denied_both", 0),
        "units_slow": more.get("slow", 0),
    }
    return Counts(decisions, **more, **of_units)


def verdict(counts: Counts, *, budget_stable: bool | None = True, **tenants: Counts):
    return judge({"acme": counts} | tenants, bounds=Bounds(), budget_stable=budget_stable)


@pytest.mark.parametrize("bound", [HARM, Fraction(5, 100)])
@pytest.mark.parametrize("multiple", [*ABORT_GRID, *ADVANCE_GRID])
def test_each_bet_is_fair_under_the_null(bound, multiple):
    """E[likelihood ratio] = 1 at the bound, exactly: the definition of an e-value."""
    trials = 40
    rate = float(bound)
    expectation = sum(
        math.comb(trials, hits)
        * rate**hits
        * (1 - rate) ** (trials - hits)
        * math.exp(log_ratio_process(trials, hits, bound, (multiple,)))
        for hits in range(trials + 1)
    )
    assert expectation == pytest.approx(1.0, rel=1e-9)


def test_spike_bet_is_fair_at_twice_the_old_rate():
    """New pack denies exactly twice as often: P(only new) = 2 P(old) - P(both) in expectation."""
    only_new, only_old, both = 0.05, 0.01, 0.03
    assert only_new + both == pytest.approx(2 * (only_old + both))
    neither = 1 - only_new - only_old - both

    def counts(new: int, old: int, shared: int) -> Counts:
        return independent(1, denied_new=new + shared, denied_old=old + shared, denied_both=shared)

    expectation = (
        only_new * math.exp(log_spike_process(counts(1, 0, 0)))
        + only_old * math.exp(log_spike_process(counts(0, 1, 0)))
        + both * math.exp(log_spike_process(counts(0, 0, 1)))
        + neither
    )
    assert expectation == pytest.approx(1.0, rel=1e-12)


def run(rate: float, window: int, *, rollouts: int, windows: int = 60, seed: int = 7):
    """Share aborted, share advanced, decisions to the verdict, with a look after every window."""
    generator = np.random.default_rng(seed)
    outcomes, delays = [], []
    for _ in range(rollouts):
        harmed = 0
        outcome, delay = "hold", None
        for look, more in enumerate(generator.binomial(window, rate, size=windows), start=1):
            harmed += int(more)
            trials = look * window
            if log_ratio_process(trials, harmed, HARM, ABORT_GRID) >= math.log(1_000):
                outcome, delay = "abort", trials
            elif log_ratio_process(trials, harmed, HARM, ADVANCE_GRID) >= math.log(100):
                outcome, delay = "advance", trials
            if delay is not None:
                delays.append(delay)
                break
        outcomes.append(outcome)
    share = {kind: outcomes.count(kind) / rollouts for kind in ("abort", "advance", "hold")}
    return share, (float(np.median(delays)) if delays else None)


@pytest.mark.parametrize(
    ("rate", "window", "outcome", "median"),
    [
        (0.0, 1_000, "advance", 3_000),
        (0.0, 200, "advance", 2_800),
        (0.0005, 1_000, "advance", 7_000),
        (0.004, 1_000, "abort", 12_000),
        (0.01, 1_000, "abort", 2_000),
        (0.01, 200, "abort", 1_200),
        (0.05, 200, "abort", 200),
    ],
)
def test_delay_to_the_right_verdict(rate, window, outcome, median):
    share, delay = run(rate, window, rollouts=150, windows=60 if window == 1_000 else 300)
    assert share[outcome] == 1.0
    assert median / 1.3 <= delay <= median * 1.3


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_error_rates_over_many_rollouts(seed):
    """Harm on the line: aborted in at most 1 of 1,000 (plus 3 standard errors), advanced in at most 1 of 100."""
    rollouts = 4_000
    share, _ = run(0.002, 1_000, rollouts=rollouts, seed=seed)
    assert share["abort"] <= 1e-3 + 3 * math.sqrt(1e-3 / rollouts)
    assert share["advance"] <= 1e-2 + 3 * math.sqrt(1e-2 / rollouts)
    share, _ = run(0.004, 1_000, rollouts=rollouts, seed=seed)
    assert share["advance"] <= 1e-2


@pytest.mark.parametrize(("share", "caught"), [(0.15, True), (0.03, False)])
def test_slow_evaluations(share, caught):
    generator = np.random.default_rng(11)
    found = 0
    for _ in range(200):
        slow = np.cumsum(generator.binomial(50, share, size=60))
        found += any(
            log_ratio_process(50 * look, int(hits), Fraction(5, 100), SLOW_GRID) >= math.log(1_000)
            for look, hits in enumerate(slow, start=1)
        )
    assert found == (200 if caught else 0)


def test_thin_evidence_holds():
    assert verdict(Counts()).decision is Decision.HOLD
    assert verdict(independent(2_700)).decision is Decision.HOLD
    assert verdict(independent(2_800)).decision is Decision.ADVANCE
    assert verdict(independent(10, harmed=1, denied_new=1)).decision is Decision.HOLD


def test_first_undeclared_widening_aborts():
    gate = verdict(independent(1_000_000, widened=1, undeclared=1, denied_old=1))
    assert gate.decision is Decision.ABORT
    assert "without being declared" in gate.reason
    assert verdict(independent(1_000_000, widened=1, denied_old=1)).decision is Decision.ADVANCE


@pytest.mark.parametrize("budget_stable", [None, False])
def test_an_error_budget_that_is_unstable_or_unknown_holds(budget_stable):
    assert verdict(independent(10_000), budget_stable=budget_stable).decision is Decision.HOLD


def test_an_error_of_the_new_pack_holds():
    gate = verdict(independent(1_000_000, errors=1, harmed=1, denied_new=1))
    assert gate.decision is Decision.HOLD
    assert "gave no value" in gate.reason


def test_more_than_twice_the_denials_abort_though_few():
    """0.05 % of decisions become denied: below the bound on harm, but six times the old rate."""
    counts = independent(100_000, harmed=50, denied_old=10, denied_new=60, denied_both=10)
    gate = verdict(counts)
    assert gate.decision is Decision.ABORT
    assert "twice" in gate.reason
    fewer = independent(100_000, harmed=8, denied_old=10, denied_new=18, denied_both=10)
    assert verdict(fewer).decision is Decision.ADVANCE


def test_one_small_tenant_wholly_harmed_aborts_among_many():
    quiet = {f"t{number}": independent(10_000) for number in range(50)}
    gate = judge(quiet | {"small": independent(20, harmed=20, denied_new=20)}, bounds=Bounds(), budget_stable=True)
    assert gate.decision is Decision.ABORT
    assert gate.harmed_tenants == ("small",)


def test_harmed_tenants_are_named_with_few_false_names():
    generator = np.random.default_rng(3)
    false = 0
    for _ in range(100):
        tenants = {f"t{n}": independent(500, harmed=int(generator.binomial(500, 0.002))) for n in range(40)}
        false += bool(harmed_tenants(tenants, Bounds()))
    assert false <= 5
    assert harmed_tenants({"a": independent(100, harmed=9), "b": independent(100)}, Bounds()) == ("a",)


def test_a_verdict_can_be_computed_again_from_its_statistics():
    gate = verdict(independent(5_000, harmed=2, denied_old=3, denied_new=5, denied_both=3, slow=1))
    totals = Counts(**gate.statistics["totals"])
    again = judge({"acme": totals}, bounds=Bounds(), budget_stable=gate.statistics["budget_stable"])
    assert again.statistics["log_e"] == gate.statistics["log_e"]


def test_mixture_of_impossible_bets():
    assert log_mixture([-math.inf, -math.inf]) == -math.inf
    assert log_mixture([0.0, -math.inf]) == pytest.approx(math.log(0.5))
