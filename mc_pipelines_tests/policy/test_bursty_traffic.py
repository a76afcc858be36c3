"""The gates on traffic that is not independent: bursts, waves, and the same few workflows again and again."""

import math

import pytest

from benchmarks.rollout_gates import TRAFFIC, by_decisions, by_units, run
from mc_pipelines.policy.gates import Bounds, Counts, Decision, judge


def sure(promise: float, rollouts: int) -> float:
    """The promised share plus three standard errors."""
    return promise + 3 * math.sqrt(promise / rollouts)


@pytest.mark.parametrize("name", ["bursts", "waves", "recurring"])
def test_harm_is_found_and_its_absence_too(name):
    assert run(TRAFFIC[name], by_units, 0.0, rollouts=5, seed=1).advance == 1.0
    assert run(TRAFFIC[name], by_units, 0.01, rollouts=10, seed=1).abort == 1.0


def test_single_decisions_are_no_evidence_of_their_own():
    """What the gates were before: on bursts they abort good packs and advance bad ones."""
    assert run(TRAFFIC["bursts"], by_decisions, 0.001, rollouts=100, seed=3).abort > 0.01
    assert run(TRAFFIC["bursts"], by_decisions, 0.004, rollouts=50, seed=3).advance > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TRAFFIC))
def test_both_promises_hold_on_every_traffic(name):
    rollouts = 500
    at_the_bound = run(TRAFFIC[name], by_units, 0.002, rollouts=rollouts, seed=11)
    assert at_the_bound.abort <= sure(1e-3, rollouts)
    assert at_the_bound.advance <= sure(1e-2, rollouts)
    assert run(TRAFFIC[name], by_units, 0.004, rollouts=200, seed=12).advance <= sure(1e-2, 200)


@pytest.mark.parametrize(("enforcing", "decision"), [(False, Decision.HOLD), (True, Decision.ABORT)])
def test_a_burst_of_one_workflow_holds_and_where_it_already_hurts_aborts(enforcing, decision):
    """Five hundred harmed decisions of one workflow: chance or harm, nobody can tell yet."""
    counts = Counts(3_000, harmed=500, denied_new=500, units=400, units_harmed=1, units_touched=1, units_denied_new=1)
    gate = judge({"acme": counts}, bounds=Bounds(), budget_stable=True, enforcing=enforcing)
    assert gate.decision is decision
    assert gate.reason == "500 decisions of only 1 of 400 units are harmed: a burst, or harm"


def test_many_decisions_of_few_workflows_are_thin_evidence():
    gate = judge({"acme": Counts(100_000, units=20)}, bounds=Bounds(), budget_stable=True)
    assert gate.decision is Decision.HOLD
    assert gate.reason == "evidence is thin: 100000 decisions in 20 units"


def test_a_unit_that_is_partly_harmed_keeps_from_advancing_and_does_not_abort():
    counts = Counts(30_000, harmed=30, units=3_000, units_touched=30)
    gate = judge({"acme": counts}, bounds=Bounds(), budget_stable=True)
    assert gate.decision is Decision.HOLD
