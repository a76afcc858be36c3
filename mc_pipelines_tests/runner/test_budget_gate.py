"""A manifest's budget at publish: surely too dear is refused and nothing is queued; a guess goes ahead and is noted."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text

from mc_pipelines.decision.packs import load_pack
from mc_pipelines.decision.regorus_engine import RegorusEngine
from mc_pipelines.executions.manifest import manifest_of
from mc_pipelines.executions.records import get_transitions
from mc_pipelines.foundation.errors import ForbiddenError
from mc_pipelines.foundation.tenants import Tenant, put_tenant
from mc_pipelines.runner.budget import BudgetGate
from mc_pipelines.runner.publish import publish

pytestmark = pytest.mark.database
NOW = datetime(2026, 1, 19, 17, tzinfo=UTC)


class Told:
    """Says what it was told to."""

    def __init__(self, **members: Any) -> None:
        self.members = members

    def at_publish(self, *_: object, **__: object) -> dict[str, Any] | None:
        return {
            "id": "e", "cost": "12.40", "low": "9.10", "high": "19.80", "currency": "USD", "confidence": "0.9",
            "source": "v2", "reasons": [],
        } | self.members  # fmt: skip


@pytest.fixture(scope="module")
def gate():
    pack = load_pack("budget")
    return BudgetGate(lambda: RegorusEngine(pack), pack.revision)


def publish_with(database, gate, budget, estimator):
    members = {"tenant": "acme", "workflow": "nightly", "argv": ["true"]}
    manifest = manifest_of(members | ({} if budget is None else {"budget": {"amount": budget, "currency": "USD"}}))
    with database.app.begin() as connection:
        put_tenant(connection, Tenant("acme", "UTC", "USD"), now=NOW)
        execution_id, _ = publish(connection, manifest, now=NOW, estimator=estimator, gate=gate)
        return get_transitions(connection, execution_id)[0].detail


def test_surely_too_dear_is_refused_with_its_reason_and_nothing_is_queued(database, gate):
    with pytest.raises(ForbiddenError, match="past what is left") as caught:
        publish_with(database, gate, "12.39", Told())
    assert (caught.value.field, caught.value.value) == ("budget", "12.39 USD")
    assert "19.80" in str(caught.value.mend)
    with pytest.raises(ForbiddenError, match="the budget in USD"):
        publish_with(database, gate, "99", Told(currency="EUR"))
    with database.app.begin() as connection:
        assert connection.execute(text("select count(*) from execution")).scalar() == 0


def test_a_guess_goes_ahead_and_says_so(database, gate):
    rules = {
        None: publish_with(database, gate, None, Told()).get("budget"),
        "fits": publish_with(database, gate, "19.80", Told())["budget"]["review"],
        "perhaps": publish_with(database, gate, "13", Told())["budget"]["review"][0]["rule"],
        "v1": publish_with(database, gate, "1", Told(source="v1", confidence="0.0"))["budget"]["review"][0]["rule"],
        "unknown": publish_with(database, gate, "2", None)["budget"]["review"][0]["rule"],
    }
    assert rules == {None: None, "fits": [], "perhaps": "unsure", "v1": "unsure", "unknown": "unknown"}
