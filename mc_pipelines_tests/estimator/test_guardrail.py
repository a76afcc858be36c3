"""Seed 5.5 as properties."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from mc_pipelines.estimator.guardrail import Reason, clamp, decide

anything = st.floats(allow_nan=True, allow_infinity=True)
positive = st.floats(1e-6, 1e12)


@given(anything, anything | st.none(), anything)
def test_served_is_v1_bit_for_bit_or_lies_within_half_of_it(v1, v2, confidence):
    decision = decide(v1, v2, confidence)
    same = math.isnan(decision.served) if math.isnan(v1) else decision.served == v1
    assert same or v1 * 0.5 <= decision.served <= v1 * 1.5
    if decision.source == "v1":
        assert same
        assert decision.reasons


@given(positive, positive)
def test_the_threshold_is_inclusive(v1, v2):
    assert decide(v1, v2, 0.7).source == "v2"
    assert decide(v1, v2, math.nextafter(0.7, 0.0)).source == "v1"
    assert decide(v1, v2, 0.7).served == min(max(v2, v1 * 0.5), v1 * 1.5)


@given(positive, positive, st.floats(0.7, 1.0))
def test_a_reason_alone_means_v1_whatever_the_confidence(v1, v2, confidence):
    decision = decide(v1, v2, confidence, reasons=(Reason.STALE_MODEL,))
    assert (decision.served, decision.source, decision.reasons) == (v1, "v1", (Reason.STALE_MODEL,))


@given(positive, positive)
def test_clamp_hits_are_told(v1, v2):
    decision = decide(v1, v2, 1.0)
    assert decision.clamped == (decision.served != v2)
    assert clamp(v2, v1) == decision.served


def test_a_useless_v1_does_not_swallow_or_poison_v2():
    for v1 in (0.0, -1.0, math.nan, math.inf):
        decision = decide(v1, 5.0, 1.0)
        assert decision.source == "v1"
        assert Reason.V1_UNUSABLE in decision.reasons
