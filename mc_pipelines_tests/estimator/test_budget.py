"""An estimate meets its budget in the pack that decides."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from mc_pipelines.decision.packs import load_pack
from mc_pipelines.decision.regorus_engine import RegorusEngine
from mc_pipelines.estimator.budget import budget_input
from mc_pipelines.estimator.serving import Estimate
from mc_pipelines.foundation.canonical import digest_of
from mc_pipelines.foundation.money import Money

SURE = Estimate(
    run_id="r", workflow="w", submitted_at=datetime(2026, 1, 19, tzinfo=UTC), cost=Decimal("12.40"),
    low=Decimal("9.10"), high=Decimal("19.80"), v1=Decimal("11.00"), v2=Decimal("12.40"), currency="USD",
    price_id="default", resource_seconds=1.0, confidence=0.9, source="v2", reasons=("served-v2",), model_id=None,
    features_digest=digest_of({}),
)  # fmt: skip
UNKNOWN = replace(SURE, cost=None, high=None, source="v1", confidence=0.0)


@pytest.fixture(scope="module")
def engine():
    return RegorusEngine(load_pack("budget"))


@pytest.mark.parametrize(
    ("estimate", "left", "allow", "deny", "review"),
    [
        (SURE, "19.80", True, set(), set()),
        (SURE, "19.79", False, set(), {"unsure"}),
        (SURE, "12.39", False, {"over"}, set()),
        (SURE, "-1.00", False, {"over"}, set()),
        (replace(SURE, confidence=0.5, source="v1"), "1.00", False, set(), {"unsure"}),
        (UNKNOWN, "100.00", False, set(), {"unknown"}),
        (replace(SURE, currency="EUR"), "100.00", False, {"currency"}, set()),
    ],
)
def test_the_gate_reads_bound_and_confidence(engine, estimate, left, allow, deny, review):
    document = budget_input(asdict(estimate), Money.of(left, "USD"))
    assert engine.evaluate("data.budget.allow", document).require() is allow
    for name, expected in (("deny", deny), ("review", review)):
        found = engine.evaluate(f"data.budget.{name}", document).require()
        assert {entry["rule"] for entry in found} == expected
        assert all(entry["why"] and entry["fix"] for entry in found)
