"""The error budget of rollouts: two windows must burn together, and silence is not stability."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from mc_pipelines.policy.error_budget import budget_stable

NOW = datetime(2026, 1, 19, 17, tzinfo=UTC)


def facts(*rows: tuple[timedelta, str, str, str | None]) -> pl.DataFrame:
    return pl.DataFrame(
        [(NOW - ago, outcome, fault, excluded) for ago, outcome, fault, excluded in rows],
        schema={
            "finished_at": pl.Datetime("us", "UTC"),
            "outcome": pl.String,
            "fault_owner": pl.String,
            "excluded_reason": pl.String,
        },
        orient="row",
    )


GOOD = (timedelta(minutes=2), "succeeded", "none", None)
BAD = (timedelta(minutes=2), "failed", "provider", None)


def test_no_data_is_unknown() -> None:
    assert budget_stable(facts(), NOW) is None
    assert budget_stable(facts((timedelta(hours=7), "succeeded", "none", None)), NOW) is None


def test_only_the_providers_faults_burn_it() -> None:
    assert budget_stable(facts(GOOD, (timedelta(minutes=1), "failed", "customer", None)), NOW) is True
    assert budget_stable(facts(GOOD, BAD), NOW) is False


def test_an_old_burst_that_stopped_is_stable_again() -> None:
    burst = [(timedelta(minutes=50), "failed", "provider", None)] * 5
    assert budget_stable(facts(*burst, *[GOOD] * 100), NOW) is True


def test_maintenance_does_not_count() -> None:
    assert budget_stable(facts(GOOD, (timedelta(minutes=1), "failed", "provider", "maintenance")), NOW) is True


@pytest.mark.parametrize(("good", "stable"), [(999, False), (1_001, True)])
def test_the_bound_is_exact(good: int, stable: bool) -> None:
    assert budget_stable(facts(BAD, *[GOOD] * good), NOW) is stable
