"""A post-hoc column cannot enter, whatever it is called."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from mc_pipelines.estimator.features import mark_of, refuse_leakage, refuse_unfinished, select_features
from mc_pipelines.estimator.readers import history_from_trace
from mc_pipelines.executions.fact_schema import Known
from mc_pipelines.foundation.errors import InputError


@pytest.mark.parametrize(
    "column",
    ["runtime_s", "makespan_s", "avg_cpu", "out_bytes", "out_bytes_POSTHOC", "read_bytes", "x_post_hoc", "cost_minor"],
)
def test_what_is_measured_by_running_is_refused_by_name(column):
    with pytest.raises(InputError, match=column) as caught:
        select_features([column], numeric=[column], requested=[column])
    assert caught.value.field == "feature"


def test_a_mark_in_the_data_cannot_free_a_post_hoc_column():
    assert mark_of("runtime_s", {"runtime_s": Known.SUBMIT}) is Known.POST_HOC
    assert mark_of("num_images", {"num_images": Known.POST_HOC}) is Known.POST_HOC


def test_silence_is_not_permission():
    chosen = select_features(["mystery", "num_images"], numeric=["mystery", "num_images"])
    assert chosen.numbers == ("num_images",)
    assert chosen.unmarked == ("mystery",)
    with pytest.raises(InputError, match="mystery"):
        select_features(["mystery"], numeric=["mystery"], requested=["mystery"])


def test_a_column_known_when_ready_is_late_at_submission():
    chosen = select_features(["in_bytes"], numeric=["in_bytes"], moment=Known.SUBMIT)
    assert chosen.numbers == ()
    assert chosen.late == ("in_bytes",)
    with pytest.raises(InputError, match="in_bytes"):
        select_features(["in_bytes"], numeric=["in_bytes"], moment=Known.SUBMIT, requested=["in_bytes"])


def test_a_runtime_under_an_innocent_name_is_found():
    runtime = np.random.default_rng(1).gamma(2, 10, 500)
    with pytest.raises(InputError, match="num_innocent"):
        refuse_leakage(["num_innocent"], (np.sqrt(runtime) * 3 + 1)[:, None], runtime)
    refuse_leakage(["num_noise"], (runtime * np.random.default_rng(2).lognormal(0, 0.5, 500))[:, None], runtime)


def test_training_on_a_run_that_has_not_finished_is_refused_by_its_id():
    ids = np.array(["a", "b"], dtype=object)
    with pytest.raises(InputError, match="b") as caught:
        refuse_unfinished(ids, np.array([5, 11]), 10)
    assert caught.value.field == "run"


def test_a_trace_whose_column_leaks_is_refused(tmp_path):
    generator = np.random.default_rng(3)
    runtime = generator.gamma(2, 10, 200)
    frame = pl.DataFrame(
        {"ts": pl.datetime_range(pl.datetime(2025, 1, 1), pl.datetime(2025, 1, 9, 7), "1h", eager=True)[:200],
         "workflow": ["w"] * 200, "num_secret": runtime * 2, "runtime_s": runtime}
    )  # fmt: skip
    frame.write_parquet(tmp_path / "t.parquet")
    with pytest.raises(InputError, match="num_secret"):
        history_from_trace(tmp_path / "t.parquet")
