"""Costs agree with the facts to the cent, in every calendar and currency, whatever the order of the rows."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mc_pipelines.executions.overlay import Overlay, overlay_facts
from mc_pipelines.executions.simulator import simulate_trace
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.showback.costs import ESTIMATES_SCHEMA, Grain, showback_costs
from mc_pipelines.showback.focus import FOCUS_SCHEMA
from mc_pipelines.showback.reconciliation import reconcile
from mc_pipelines_tests.showback.frames import NOON, fact, facts

ZONES = {"acme": "America/Denver", "globex": "Pacific/Kiritimati", "initech": "Asia/Kolkata"}


@pytest.fixture(scope="module")
def simulated() -> pl.DataFrame:
    return overlay_facts(simulate_trace(first_day=date(2026, 2, 1), days=60, runs=3000), Overlay())


def test_one_row_in_focus() -> None:
    [row] = showback_costs(facts(fact(1), fact(2, outcome="failed", fault_owner="provider", cost_minor=75))).to_dicts()
    assert row["BilledCost"] == row["EffectiveCost"] == row["ListCost"] == row["ContractedCost"] == Decimal("2.000")
    assert (row["BillingAccountId"], row["SubAccountId"], row["SubAccountName"]) == ("acme", "acme/nightly", "nightly")
    assert (row["ProviderName"], row["RegionId"], row["ServiceName"]) == ("AWS", "us-east-1", "executions")
    assert (row["ChargeCategory"], row["BillingCurrency"], row["SkuPriceId"]) == ("Usage", "USD", "p/1")
    assert (row["x_Attempts"], row["x_UnsuccessfulCost"], row["x_Source"]) == (2, Decimal("0.750"), "constructed")
    assert (row["ConsumedQuantity"], row["ConsumedUnit"]) == (Decimal("120.000"), "Core-Seconds")
    assert (row["ChargePeriodStart"], row["ChargePeriodEnd"]) == (
        datetime(2026, 1, 19, tzinfo=UTC),
        datetime(2026, 1, 20, tzinfo=UTC),
    )
    assert row["Tags"] == (
        '{"tenant":"acme","workflow":"nightly","service":"executions","cloud":"AWS","region":"us-east-1",'
        '"source":"constructed"}'
    )
    assert row["x_EstimatedCost"] is None


def test_a_charge_falls_in_the_local_day_and_month_of_its_tenant() -> None:
    # 03:00 UTC on 1 February is still January in Denver, and already 17:00 of 1 February on Kiritimati.
    moment = datetime(2026, 2, 1, 3, tzinfo=UTC)
    made = facts(fact(1, finished_at=moment), fact(2, tenant="globex", finished_at=moment))
    for month, tenant in (((1, 31), "acme"), ((2, 28), "globex")):
        days = {"first_day": date(2026, month[0], 1), "last_day": date(2026, *month)}
        costs = showback_costs(made, zones=ZONES, **days)
        assert costs["BillingAccountId"].to_list() == [tenant]
        assert reconcile(costs, made, zones=ZONES, **days) == []
    [row] = showback_costs(made.filter(pl.col("tenant") == "acme"), zones=ZONES).to_dicts()
    assert row["BillingPeriodStart"] == datetime(2026, 1, 1, 7, tzinfo=UTC)
    assert row["BillingPeriodEnd"] == row["ChargePeriodEnd"] == datetime(2026, 2, 1, 7, tzinfo=UTC)
    assert row["x_BillingZone"] == "America/Denver"


def test_the_day_of_a_change_of_clocks_has_its_own_length() -> None:
    spring = datetime(2026, 3, 8, 12, tzinfo=UTC)
    [row] = showback_costs(facts(fact(1, finished_at=spring)), zones=ZONES).to_dicts()
    assert row["ChargePeriodEnd"] - row["ChargePeriodStart"] == timedelta(hours=23)


@pytest.mark.parametrize(("currency", "cost"), [("JPY", "125"), ("USD", "1.25"), ("BHD", "0.125")])
def test_minor_units_are_the_currencys(currency: str, cost: str) -> None:
    costs = showback_costs(facts(fact(1, currency=currency)))
    assert costs["BilledCost"].to_list() == [Decimal(cost)]
    assert reconcile(costs, facts(fact(1, currency=currency))) == []


def test_sums_beyond_64_bits_are_exact() -> None:
    most = 2**63 - 1
    made = facts(*(fact(number, cost_minor=most) for number in range(3)))
    costs = showback_costs(made)
    assert costs["BilledCost"].to_list() == [Decimal(3 * most) / 100]
    assert reconcile(costs, made) == []


def test_what_was_denied_has_no_provider_and_no_cost() -> None:
    denied = fact(1, outcome="denied", cloud=None, region=None, started_at=None, cost_minor=0, resource_seconds=0.0)
    costs = showback_costs(facts(denied))
    assert costs.select("ProviderName", "BilledCost", "x_Attempts").rows() == [("none", Decimal(0), 1)]
    assert reconcile(costs, facts(denied)) == []


def test_no_facts_are_no_rows() -> None:
    empty = facts()
    assert showback_costs(empty).schema == FOCUS_SCHEMA
    assert reconcile(showback_costs(empty), empty) == []


def test_estimates_never_touch_a_cost() -> None:
    made = facts(
        fact(1, estimate_id="e1"),
        fact(2, estimate_id="e1", attempt=2, execution_id=fact(1)["execution_id"]),
        fact(3, estimate_id="e2"),
        fact(4, estimate_id="gone"),
        fact(5),
    )
    names = ESTIMATES_SCHEMA.names()
    rows = [
        dict(zip(names, ("e1", Decimal("9.5"), Decimal(9), Decimal(10), "USD", "m1", 0.9, "v2"), strict=True)),
        dict(zip(names, ("e2", Decimal("0.25"), Decimal(0), Decimal(1), "USD", "m1", 0.5, "v2"), strict=True)),
    ]
    estimates = pl.LazyFrame(rows, schema=ESTIMATES_SCHEMA)
    costs = showback_costs(made, estimates=estimates)
    plain = showback_costs(made)
    assert costs["BilledCost"].sum() == plain["BilledCost"].sum() == Decimal("6.25")
    assert reconcile(costs, made) == []
    [served] = costs.filter(pl.col("x_EstimatorModelId") == "m1").to_dicts()
    # Attempt 2 has the same estimate: it is not a second one.
    assert (served["x_EstimatedCost"], served["x_EstimatedExecutions"]) == (Decimal("9.75"), 2)
    assert served["x_EstimatedCostLow"] is served["x_EstimatorConfidence"] is None
    single = showback_costs(made, estimates=estimates, grain=Grain.EXECUTION).filter(
        pl.col("x_EstimatedCost") == Decimal("9.5")
    )
    assert single.select("x_EstimatedCostLow", "x_EstimatedCostHigh", "x_EstimatorConfidence").rows() == [
        (Decimal(9), Decimal(10), 0.9)
    ]


def test_rows_by_execution_add_up_to_rows_by_day(simulated: pl.DataFrame) -> None:
    lazy = simulated.lazy()
    fine, coarse = (showback_costs(lazy, zones=ZONES, grain=grain) for grain in (Grain.EXECUTION, Grain.DAY))
    assert reconcile(fine, lazy) == reconcile(coarse, lazy) == []
    assert fine.height > coarse.height
    assert fine["ResourceId"].n_unique() == simulated["execution_id"].n_unique()
    for column in ("BilledCost", "x_UnsuccessfulCost", "ConsumedQuantity", "x_Attempts"):
        assert fine[column].sum() == coarse[column].sum()


def test_duckdb_gets_the_same_days_from_the_facts(simulated: pl.DataFrame) -> None:
    costs = showback_costs(simulated.lazy(), zones=ZONES)
    with duckdb.connect() as connection:
        connection.execute("load icu")
        connection.register("facts", simulated.drop("features").to_arrow())
        connection.register(
            "zones", pl.DataFrame(list(ZONES.items()), schema=["tenant", "zone"], orient="row").to_arrow()
        )
        rows = connection.execute(
            """select tenant, workflow, cloud, region, date_trunc('day', timezone(zone, finished_at))::date,
            sum(cost_minor)::bigint, count(*) from facts join zones using (tenant) group by all"""
        ).fetchall()
    expected = {row[:5]: (Decimal(row[5]) / 100, row[6]) for row in rows}
    found = {
        (row["BillingAccountId"], row["SubAccountName"], row["x_Cloud"], row["RegionId"], _local_day(row)): (
            row["BilledCost"],
            row["x_Attempts"],
        )
        for row in costs.to_dicts()
    }
    assert len(found) == costs.height > 500
    assert found == expected


def test_the_order_of_the_facts_changes_nothing(simulated: pl.DataFrame) -> None:
    expected = showback_costs(simulated.lazy(), zones=ZONES)
    for seed in (1, 2):
        assert showback_costs(simulated.sample(fraction=1, shuffle=True, seed=seed).lazy(), zones=ZONES).equals(
            expected
        )


@settings(max_examples=40, deadline=None)
@given(st.randoms(use_true_random=False))
def test_any_facts_reconcile_and_a_tenth_of_a_cent_more_does_not(random: Random) -> None:
    made = facts(*(_random_fact(number, random) for number in range(random.randint(1, 30))))
    costs = showback_costs(made, zones=ZONES)
    assert reconcile(costs, made) == []
    rows = costs.to_dicts()
    victim = random.choice(rows)
    for column in ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost"):
        victim[column] += Decimal("0.001")
    assert reconcile(pl.DataFrame(rows, schema=FOCUS_SCHEMA), made) != []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda costs: costs.drop("Tags"), "Tags is missing"),
        (lambda costs: costs.with_columns(pl.lit(1.5).alias("BilledCost")), "is Float64"),
        (lambda costs: costs.with_columns(pl.lit(1).alias("x_Extra")), "no column of showback"),
        (lambda costs: costs.with_columns(pl.lit("Tax").alias("ChargeCategory")), "not of category Usage"),
        (lambda costs: costs.with_columns(-pl.col("BilledCost")), "negative"),
        (lambda costs: costs.with_columns(pl.col("ListCost") * 2), "costs of a row differ"),
        (lambda costs: costs.head(1), "showback says 0 USD"),
        (lambda costs: pl.concat([costs, costs.head(1)]), "showback counts 2 attempts, the facts 1"),
        (lambda costs: costs.with_columns(pl.col("ChargePeriodStart").alias("ChargePeriodEnd")), "period is empty"),
        (lambda costs: costs.with_columns(pl.col("BillingPeriodStart").alias("BillingPeriodEnd")), "outside its"),
        (lambda costs: costs.with_columns(pl.lit(None, pl.String).alias("ServiceName")), "is empty in 2 rows"),
        (lambda costs: costs.with_columns(pl.col("BilledCost").alias("x_UnsuccessfulCost") + 1), "did not succeed"),
    ],
)
def test_each_defect_is_named(change: Any, sentence: str) -> None:
    made = facts(fact(1), fact(2, workflow="hourly", finished_at=NOON + timedelta(days=1)))
    costs = showback_costs(made)
    assert reconcile(costs, made) == []
    assert sentence in " ".join(reconcile(change(costs), made))


def test_overlapping_periods_are_named() -> None:
    made = facts(fact(1), fact(2, finished_at=NOON + timedelta(days=1)))
    costs = showback_costs(made).with_columns(pl.col("ChargePeriodEnd") + timedelta(hours=1))
    assert "overlap at 2026-01-20T00:00:00Z" in " ".join(reconcile(costs, made))


def test_facts_that_showback_lost_are_found() -> None:
    made = facts(fact(1), fact(2, tenant="globex"))
    lost = showback_costs(made.filter(pl.col("tenant") == "acme"))
    assert reconcile(lost, made) == [
        "globex/nightly (executions, AWS us-east-1, constructed): showback says 0 USD, the facts say 1.25.",
        "globex/nightly (executions, AWS us-east-1, constructed): showback counts 0 attempts, the facts 1.",
    ]


def test_bad_days_are_refused() -> None:
    with pytest.raises(InputError):
        showback_costs(facts(fact(1)), first_day=date(2026, 1, 2), last_day=date(2026, 1, 1))
    with pytest.raises(InputError):
        reconcile(showback_costs(facts()), facts(), first_day=date(2026, 1, 2))
    with pytest.raises(InputError):
        showback_costs(facts(fact(1)), zones={"acme": "Mars/Olympus"})


def _local_day(row: dict[str, Any]) -> date:
    from zoneinfo import ZoneInfo

    return row["ChargePeriodStart"].astimezone(ZoneInfo(row["x_BillingZone"])).date()


def _random_fact(number: int, random: Random) -> dict[str, Any]:
    finished = NOON + timedelta(microseconds=random.randint(0, 40 * 86_400 * 10**6))
    return fact(
        number,
        tenant=random.choice(["acme", "globex", "initech", "unknown"]),
        workflow=random.choice(["a", "b"]),
        cloud=random.choice(["AWS", "GCP", "AZURE", "EDGE"]),
        currency=random.choice(["USD", "JPY", "BHD"]),
        cost_minor=random.choice([0, 1, random.randint(0, 10**12)]),
        resource_seconds=random.random() * 1e6,
        outcome=random.choice(["succeeded", "cancelled"]),
        finished_at=finished,
        source=random.choice(["constructed", "real"]),
        receipt_digest="sha256:" + "0" * 64,
    )
