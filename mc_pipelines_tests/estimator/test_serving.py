"""The serving path: drill 8, speed, no exception, and the artefact's round trip."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc_pipelines.estimator.artefact import build_artefact, load_artefact
from mc_pipelines.estimator.guardrail import Reason
from mc_pipelines.estimator.history import DAY, moment_of
from mc_pipelines.estimator.pricing import Price
from mc_pipelines.estimator.replay import replay
from mc_pipelines.estimator.serving import EstimatorService
from mc_pipelines.foundation.errors import InputError
from mc_pipelines_tests.estimator.synthetic import FIRST, make_history

PRICES = {"gcp-euw4": Price("gcp-euw4", "USD", Decimal("0.05747")), "aws-eur": Price("aws-eur", "EUR", Decimal("0.05"))}
NOW = moment_of(FIRST + 20 * DAY)


@pytest.fixture(scope="module")
def history():
    made = make_history()
    few = np.flatnonzero(made.workflow == 3)[9:]
    return made.take(np.setdiff1d(np.arange(len(made)), few))


@pytest.fixture(scope="module")
def artefact(history):
    estimator = replay(history)[1]
    for index in np.argsort(history.finished):
        estimator.observe(
            history.run_ids[index], finished=int(history.finished[index]), runtime=float(history.runtime[index])
        )
    return build_artefact(estimator, history)


@pytest.fixture(scope="module")
def service(artefact):
    return EstimatorService(artefact, PRICES)


def ask(service, **changes):
    given_ = {
        "features": {"size": 100.0}, "workflow": "family0/task0", "run_id": "r", "at": NOW, "price_id": "gcp-euw4",
        "resources": 1.0,
    } | changes  # fmt: skip
    return service.estimate(given_.pop("features"), given_.pop("workflow"), **given_)


def v1_of(artefact, workflow="family0/task0", resources=1.0, at=NOW):
    day = int(at.timestamp()) // 86_400
    state = artefact.estimator.workflows.get(workflow)
    mean = state.daily.mean(day) if state else math.nan
    return (artefact.estimator.all_daily.mean(day) if math.isnan(mean) else mean) * resources


def test_control_group_is_served_v2(service, artefact):
    found = ask(service)
    assert found.source == "v2"
    assert found.confidence >= 0.7
    assert found.model_id == artefact.model_id
    assert found.low < found.cost < found.high
    assert abs(found.resource_seconds / v1_of(artefact) - 1) <= 0.5


DRILL = {
    "unseen workflow": ({"workflow": "other/new"}, Reason.UNSEEN_WORKFLOW),
    "feature x100": ({"features": {"size": 100.0 * 10_000}}, Reason.LOW_CONFIDENCE),
    "NaN": ({"features": {"size": math.nan}}, Reason.FEATURE_NOT_FINITE),
    "new instance type": ({"price_id": "gpu-unheard-of"}, Reason.PRICE_UNKNOWN),
    "shuffled features": ({"features": {"weight": 100.0, "height": 2.0}}, Reason.SCHEMA_UNKNOWN),
    "fewer than ten runs": ({"workflow": "family1/task3"}, Reason.FEW_RUNS),
    "stale model": ({"at": NOW + timedelta(days=9)}, Reason.STALE_MODEL),
    "infinity": ({"features": {"size": math.inf}}, Reason.FEATURE_NOT_FINITE),
    "negative": ({"features": {"size": -5.0}}, Reason.FEATURE_INVALID),
    "missing": ({"features": {}}, Reason.FEATURE_MISSING),
    "a category for a number": ({"features": {"size": "large"}}, Reason.UNKNOWN_CATEGORY),
    "flag off": ({"enabled": False}, Reason.FLAG_OFF),
}


@pytest.mark.parametrize("kind", DRILL)
def test_drill_8_low_confidence_is_served_v1_bit_for_bit_with_its_reason(service, artefact, kind):
    changes, reason = DRILL[kind]
    found = ask(service, **changes)
    workflow = changes.get("workflow", "family0/task0")
    assert found.source == "v1"
    assert str(reason) in found.reasons
    assert found.resource_seconds == v1_of(artefact, workflow, at=changes.get("at", NOW))
    assert found.cost == found.v1
    assert found.cost is not None or workflow == "other/new"


def test_the_drill_leaves_the_control_group_unchanged(service):
    before = ask(service)
    for changes, _ in DRILL.values():
        ask(service, **changes)
    assert ask(service) == before


@given(
    st.dictionaries(
        st.sampled_from(["size", "group", "x"]),
        st.none()
        | st.floats()
        | st.integers()
        | st.text(max_size=5)
        | st.booleans()
        | st.lists(st.integers(), max_size=2),
    ),
    st.text(max_size=12),
    st.sampled_from(["gcp-euw4", "aws-eur", "", "nowhere"]),
    st.floats() | st.integers(-5, 10**400),
)
def test_never_an_exception_and_always_a_reason(service, features, workflow, price_id, resources):
    found = ask(service, features=features, workflow=workflow, price_id=price_id, resources=resources)
    assert found.reasons
    assert found.cost is None or found.cost.is_finite()


@pytest.mark.parametrize(
    "changes",
    [
        {"features": {"size": Decimal("sNaN")}},
        {"features": {"size": object()}},
        {"features": None},
        {"features": [("size", 1.0)]},
        {"resources": 10**400},
        {"resources": []},
        {"price_id": []},
    ],
    ids=str,
)
def test_what_cannot_even_be_read_is_still_v1_of_a_known_workflow(service, changes):
    found = ask(service, **changes)
    assert (found.source, found.cost) == ("v1", ask(service, enabled=False).cost)
    assert {"feature-invalid", "feature-not-finite"} & set(found.reasons)


def test_another_currency_is_priced_in_it(service):
    found = ask(service, price_id="aws-eur")
    assert (found.currency, found.source) == ("EUR", "v2")


def test_without_a_model_v1_serves_from_its_table(artefact):
    table = artefact.estimator.v1_table(int(NOW.timestamp()) // 86_400, artefact.prices)
    service = EstimatorService(None, PRICES, v1=table, unreadable=True)
    found = ask(service)
    assert found.resource_seconds == v1_of(artefact)
    assert found.reasons == (str(Reason.MODEL_UNREADABLE),)
    assert found.cost == ask(EstimatorService(artefact, PRICES), enabled=False).cost
    assert ask(EstimatorService(None, PRICES)).cost is None


def test_the_artefact_is_canonical_and_says_the_same_when_read_again(artefact, service):
    again = load_artefact(artefact.content, expected=artefact.model_id)
    assert ask(EstimatorService(again, PRICES)) == ask(service)
    assert (
        build_artefact(replay_all(), make_history()).model_id == build_artefact(replay_all(), make_history()).model_id
    )


def replay_all():
    return replay(make_history())[1]


@pytest.mark.parametrize(
    "spoil", [lambda c: c[:-1], lambda _: b"{}", lambda _: b"", lambda c: c.replace(b'"as_of"', b'"as_if"')]
)
def test_a_spoiled_model_file_is_one_clear_error(artefact, spoil):
    with pytest.raises(InputError, match="model"):
        load_artefact(spoil(artefact.content), expected=artefact.model_id)
    with pytest.raises(InputError):
        load_artefact(spoil(artefact.content))


def test_explanation_multiplies_to_v2(service, artefact):
    lines = service.explain({"size": 250.0}, "family0/task0", at=NOW, resources=2.0)
    product = math.prod(line.factor for line in lines)
    found = ask(service, features={"size": 250.0}, resources=2.0)
    assert product == pytest.approx(float(found.v2) / 0.05747 * 3600, rel=1e-3)
    assert replace(lines[1]).factor == 2.0
