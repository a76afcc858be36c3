"""The gates of a rollout on traffic that is not independent: `python -m benchmarks.rollout_gates --json`.

Each rollout is looked at after every window of five minutes. The rival is the same e-process over single decisions,
which is valid only where decisions are independent; both see the same simulated traffic in the same run.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from mc_pipelines.policy.gates import ABORT_GRID, ADVANCE_GRID, Bounds, Counts, log_ratio_process

BOUND = Bounds().harm
_WEEK = 2_016
"""Windows of five minutes."""
ABORT_AT, ADVANCE_AT = -math.log(Bounds().abort_alpha), -math.log(Bounds().advance_alpha)
Traffic = Callable[[np.random.Generator, float], Iterator[Counts]]


@dataclass(frozen=True)
class Rates:
    """What became of many rollouts: shares, and the median decisions until the verdict."""

    abort: float
    advance: float
    hold: float
    median_decisions: float | None


def window(sizes: np.ndarray, harmed: np.ndarray) -> Counts:
    """Return the counts of one window: each unit asks ``sizes`` questions, all of them harmed or none."""
    count = int(harmed.sum())
    return Counts(
        decisions=int(sizes.sum()),
        harmed=int(sizes[harmed].sum()),
        units=len(sizes),
        units_harmed=count,
        units_touched=count,
    )


def independent(generator: np.random.Generator, rate: float) -> Iterator[Counts]:
    """Every decision by itself, two hundred a window."""
    while True:
        yield window(np.ones(200, int), generator.random(200) < rate)


def bursts(generator: np.random.Generator, rate: float) -> Iterator[Counts]:
    """Forty workflows a window that each ask in a burst of 1 to 500 (Pareto, shape 1.2) and share their fate."""
    while True:
        yield window(_bursts(generator, 40), generator.random(40) < rate)


def waves(generator: np.random.Generator, rate: float) -> Iterator[Counts]:
    """As bursts, but busy and quiet windows alternate, and four in five have hardly any traffic."""
    while True:
        units = int(generator.choice([2, 4, 8, 160], p=[0.4, 0.3, 0.1, 0.2]))
        yield window(_bursts(generator, units), generator.random(units) < rate)


def recurring(generator: np.random.Generator, rate: float) -> Iterator[Counts]:
    """Two thousand workflows of Zipf's popularity; a fixed few, ``rate`` of all units, are harmed whenever they run."""
    population, asking = 2_000, 60
    popularity = 1 / np.arange(1, population + 1)
    popularity /= popularity.sum()
    share = 1 - (1 - popularity) ** asking
    share /= share.sum()
    broken, left = np.zeros(population, bool), rate
    for one in generator.permutation(population):
        if share[one] <= left:
            broken[one], left = True, left - share[one]
    while True:
        asked = np.unique(generator.choice(population, asking, p=popularity))
        yield window(_bursts(generator, len(asked)), broken[asked])


def _bursts(generator: np.random.Generator, count: int) -> np.ndarray:
    return np.minimum(np.ceil(generator.pareto(1.2, count) + 1), 500).astype(int)


TRAFFIC: dict[str, Traffic] = {
    "independent": independent,
    "bursts": bursts,
    "waves": waves,
    "recurring": recurring,
}


def by_units(total: Counts) -> tuple[float, float]:
    """Return log E of abort and of advance as the gates have them."""
    return log_ratio_process(total.units, total.units_harmed, BOUND, ABORT_GRID), min(
        log_ratio_process(total.decisions, total.harmed, BOUND, ADVANCE_GRID),
        log_ratio_process(total.units, total.units_touched, BOUND, ADVANCE_GRID),
    )


def by_decisions(total: Counts) -> tuple[float, float]:
    """Return log E of abort and of advance as if every decision were independent."""
    return log_ratio_process(total.decisions, total.harmed, BOUND, ABORT_GRID), log_ratio_process(
        total.decisions, total.harmed, BOUND, ADVANCE_GRID
    )


def run(
    traffic: Traffic, judge: Callable[[Counts], tuple[float, float]], rate: float, *, rollouts: int, seed: int
) -> Rates:
    """Look at each rollout after every window until it is aborted or advanced, for at most a week."""
    outcomes, delays = [], []
    for number in range(rollouts):
        total, outcome = Counts(), "hold"
        for one in islice(traffic(np.random.default_rng((seed, number)), rate), _WEEK):
            total = total + one
            abort, advance = judge(total)
            if abort >= ABORT_AT or advance >= ADVANCE_AT:
                outcome = "abort" if abort >= ABORT_AT else "advance"
                delays.append(total.decisions)
                break
        outcomes.append(outcome)
    share = {kind: outcomes.count(kind) / rollouts for kind in ("abort", "advance", "hold")}
    return Rates(**share, median_decisions=float(np.median(delays)) if delays else None)


def measure(rollouts: int, seed: int) -> dict[str, object]:
    """Return the rates of every traffic and rate, judged by units and by decisions."""
    rates = {"none": 0.0, "half the bound": 0.001, "twice the bound": 0.004, "five times the bound": 0.01}
    return {
        f"{name}, harm {says}": {
            "units": vars(run(traffic, by_units, rate, rollouts=rollouts, seed=seed)),
            "decisions": vars(run(traffic, by_decisions, rate, rollouts=rollouts, seed=seed)),
        }
        for name, traffic in TRAFFIC.items()
        for says, rate in rates.items()
    }


def main() -> None:
    """Print the rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rollouts", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    found = measure(given.rollouts, given.seed)
    if given.json:
        print(json.dumps(found, indent=2))
        return
    for name, both in found.items():
        for judged, rates in both.items():  # type: ignore[attr-defined]
            print(f"{name:42} by {judged:10} {rates}")


if __name__ == "__main__":
    main()
