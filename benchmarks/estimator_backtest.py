"""The backtest of one candidate from daily sufficient statistics, against refitting every origin from its rows.

`python -m benchmarks.estimator_backtest --json`

Rivals on the same data in the same run, timed on one origin and multiplied by the number of origins (said so by
their names): `naive` fits every (workflow, origin) by itself, selecting its rows from all of them, as a first
version does; `grouped` sorts the window by workflow once an origin, as a careful one does. Equality is checked, not
assumed: on a small size at every origin, and at full size at the timed one. Synthetic runs, 150 days, 8 features.
Ratios are of CPU seconds. Also one single estimate through the serving path, in CPU time of this process, so that
neighbours do not count.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

import numpy as np

from mc_pipelines.estimator.closed_form import shrunken_slopes
from mc_pipelines.estimator.history import Floats, Integers
from mc_pipelines.estimator.sufficient import LARGEST_EXPONENT, Rules, Runs, backtest_closed_form

DAYS = 150
COLUMNS = 8
LIMIT_SECONDS = 15.0
TOLERANCE = 1e-6


def make_runs(count: int, *, workflows: int, days: int, columns: int, seed: int = 1) -> Runs:
    """Seeded runs: log target = level + offset + own slopes x features + normal scatter; at most a day long."""
    generator = np.random.default_rng(seed)
    submitted = np.sort(generator.random(count)) * days
    workflow = generator.integers(0, workflows, count)
    features = generator.standard_normal((count, columns))
    slopes = generator.normal(0.0, 0.3, (workflows, columns))
    offset = np.log(generator.integers(1, 9, count).astype(np.float64))
    log_target = generator.normal(0.0, 1.0, workflows)[workflow] + offset + generator.normal(0.0, 0.4, count)
    for column in range(columns):
        log_target += features[:, column] * slopes[workflow, column]
    finished = submitted + generator.random(count) * 0.2
    return Runs(features, np.exp(log_target), offset, workflow, submitted.astype(np.int64), finished.astype(np.int64))


@dataclass(frozen=True, eq=False)
class Refit:
    """One origin, fitted from its rows."""

    slopes: Floats
    base: Floats
    level: Floats
    rows: Integers
    predicted: Floats


def refit(runs: Runs, shape: Floats, origin: int, *, workflows: int, rules: Rules, grouped: bool) -> Refit:
    """Fit one origin from its rows and predict its day; writes the day's shapes into ``shape``."""
    first = origin - rules.training_days
    parts = _grouped_parts(runs, first, origin, workflows) if grouped else _masked_parts(runs, first, origin, workflows)
    columns = runs.features.shape[1]
    products, crosses = np.zeros((workflows, columns, columns)), np.zeros((workflows, columns))
    mean, response, count = np.zeros((workflows, columns)), np.zeros(workflows), np.zeros(workflows)
    paid, said, shaped = np.zeros(workflows), np.zeros(workflows), np.zeros(workflows)
    for index, rows in enumerate(parts):
        count[index] = len(rows)
        if not len(rows):
            continue
        features, target = runs.features[rows], runs.target[rows]
        logs = np.log(target) - runs.offset[rows]
        mean[index], response[index] = features.mean(axis=0), logs.mean()
        centred = features - mean[index]
        products[index], crosses[index] = centred.T @ centred, centred.T @ (logs - response[index])
        known = np.isfinite(shape[rows])
        paid[index], said[index], shaped[index] = target[known].sum(), shape[rows][known].sum(), known.sum()
    total = int(count.sum())
    slopes = shrunken_slopes(products, crosses, total, ridge=rules.ridge, own_runs=rules.own_runs)[1]
    overall = float((response * count).sum() / total)
    base = np.where(count > 0, response, overall) - np.einsum("wc,wc->w", mean, slopes)
    pull = rules.level_runs * np.divide(said, shaped, out=np.zeros(workflows), where=shaped > 0)
    level = np.divide(paid + pull, said + pull, out=np.ones(workflows), where=shaped > 0)
    rows = np.flatnonzero(runs.submitted_day == origin)
    own = runs.workflow[rows]
    exponent = runs.offset[rows] + base[own] + np.einsum("ij,ij->i", runs.features[rows], slopes[own])
    shape[rows] = np.exp(np.clip(exponent, -LARGEST_EXPONENT, LARGEST_EXPONENT))
    return Refit(slopes, base, level, rows, shape[rows] * level[own])


def _masked_parts(runs: Runs, first: int, origin: int, workflows: int) -> Iterator[Integers]:
    for index in range(workflows):
        own = runs.workflow == index
        yield np.flatnonzero(own & (runs.finished_day >= first) & (runs.finished_day < origin))


def _grouped_parts(runs: Runs, first: int, origin: int, workflows: int) -> Iterator[Integers]:
    rows = np.flatnonzero((runs.finished_day >= first) & (runs.finished_day < origin))
    own = runs.workflow[rows]
    order = np.argsort(own, kind="stable")
    yield from np.split(rows[order], np.cumsum(np.bincount(own, minlength=workflows))[:-1])


def largest_difference_on_a_small_size() -> float:
    """Refit all origins of a small size and return the largest relative difference of a prediction."""
    runs, rules, origins = make_runs(20_000, workflows=20, days=DAYS, columns=COLUMNS), Rules(), np.arange(60, DAYS)
    found = backtest_closed_form(runs, days=DAYS, workflows=20, origins=origins, rules=rules)
    shape = np.full(len(runs.target), np.nan)
    largest = 0.0
    for place, origin in enumerate(origins.tolist()):
        plain = refit(runs, shape, origin, workflows=20, rules=rules, grouped=False)
        largest = max(largest, _difference(found.fits.slopes[place], plain.slopes))
        largest = max(largest, float(np.max(np.abs(found.predicted[plain.rows] / plain.predicted - 1.0), initial=0.0)))
    return largest


def measure_backtest(count: int, workflows: int, origin_count: int) -> dict[str, float]:
    """Time the backtest, and both rivals on the last origin."""
    rules, origins = Rules(), np.arange(DAYS - origin_count, DAYS)
    warm = make_runs(2000, workflows=5, days=DAYS, columns=COLUMNS)
    backtest_closed_form(warm, days=DAYS, workflows=5, origins=origins)
    runs = make_runs(count, workflows=workflows, days=DAYS, columns=COLUMNS)
    began, cpu = time.perf_counter(), time.process_time()
    found = backtest_closed_form(runs, days=DAYS, workflows=workflows, origins=origins, rules=rules)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
    origin = int(origins[-1])
    # The level of the timed origin needs the shapes of the days before it: exact ones, from each day's own fit.
    exact = np.full(count, np.nan)
    seen = np.flatnonzero((runs.submitted_day >= origins[0]) & (runs.submitted_day < origin))
    exact[seen] = found.predicted[seen] / found.level[runs.submitted_day[seen] - origins[0], runs.workflow[seen]]
    taken: dict[str, float] = {}
    difference = 0.0
    for name, grouped in (("naive", False), ("grouped", True)):
        began, cpu = time.perf_counter(), time.process_time()
        plain = refit(runs, exact.copy(), origin, workflows=workflows, rules=rules, grouped=grouped)
        taken[f"{name}_one_origin_s"] = time.perf_counter() - began
        taken[f"{name}_one_origin_cpu_s"] = time.process_time() - cpu
        difference = max(difference, _difference(found.fits.slopes[-1], plain.slopes))
        difference = max(difference, float(np.max(np.abs(found.predicted[plain.rows] / plain.predicted - 1.0))))
    return {
        "rows": count,
        "workflows": workflows,
        "origins": origin_count,
        "backtest_s": seconds,
        "backtest_cpu_s": cpu_seconds,
        "limit_s": LIMIT_SECONDS,
        "rows_per_s": count / seconds,
        **taken,
        "ratio_to_naive_extrapolated": taken["naive_one_origin_cpu_s"] * origin_count / cpu_seconds,
        "ratio_to_grouped_extrapolated": taken["grouped_one_origin_cpu_s"] * origin_count / cpu_seconds,
        "largest_difference_timed_origin": difference,
        "largest_difference_small_size_all_origins": largest_difference_on_a_small_size(),
        "wape": found.wape,
    }


def measure_estimates(asked: int) -> dict[str, float]:
    """Time single estimates of a trained model, with its explanation's features and price."""
    from mc_pipelines.estimator.artefact import build_artefact
    from mc_pipelines.estimator.history import moment_of
    from mc_pipelines.estimator.pricing import Price
    from mc_pipelines.estimator.replay import replay
    from mc_pipelines.estimator.serving import EstimatorService
    from mc_pipelines_tests.estimator.synthetic import make_history

    history = make_history(workflows=20, runs_a_day=40, days=20)
    service = EstimatorService(
        build_artefact(replay(history)[1], history), {"p": Price("p", "USD", Decimal("0.05747"))}
    )
    at = moment_of(int(history.submitted.max())) + timedelta(minutes=1)
    taken = []
    for index in range(asked):
        began = time.process_time()
        service.estimate({"size": 100.0}, "family0/task0", run_id=str(index), at=at, price_id="p")
        taken.append(time.process_time() - began)
    p50, p99 = np.quantile(taken, [0.5, 0.99]).tolist()
    return {"estimate_p50_ms": p50 * 1e3, "estimate_p99_ms": p99 * 1e3}


def _difference(one: Floats, two: Floats) -> float:
    return float(np.abs(one - two).max())


def main() -> None:
    """Print the figures; fail where results differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--workflows", type=int, default=500)
    parser.add_argument("--origins", type=int, default=90)
    parser.add_argument("--estimates", type=int, default=5000)
    given = parser.parse_args()
    found = measure_backtest(given.rows, given.workflows, given.origins) | measure_estimates(given.estimates)
    if given.json:
        print(json.dumps(found, indent=2))
    else:
        for name, value in found.items():
            print(f"{name:44} {value:16.6g}")
    differences = [value for name, value in found.items() if name.startswith("largest_difference")]
    if max(differences) > TOLERANCE:
        raise SystemExit(f"Results differ by {max(differences):.1e}")


if __name__ == "__main__":
    main()
