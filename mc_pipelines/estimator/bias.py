"""Per-workflow bias correction: a multiplicative factor that tracks what was served against what was paid.

After every finished run the factor moves by ``1 + gain * (actual - served) / scale``. Where served
is the value that went out, whatever cut it on the way (the clamp included), the moves telescope:

    |sum(actual - served)| <= scale * |log(last factor) - log(first factor)| / gain   (to first order)

so the accumulated error of a workflow is bounded whatever its distribution, as adaptive conformal
inference bounds coverage, as long as the factor stays inside its limits. A gain of 1 - 2**(-1/60) is
the exponentially weighted mean with a half-life of 60 runs; a young workflow averages plainly (gain 1/n).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

LOG_LIMIT = math.log(5.0)
"""The factor stays within [1/5, 5]."""
_LARGEST_STEP = 0.5
"""One run moves the factor by no more than half: a single absurd bill is not a trend."""
_PRIOR_RUNS = 3.0
_SCALE_GAIN = 0.03


def gain_of_half_life(runs: float) -> float:
    """Return the gain whose memory halves every ``runs`` runs."""
    return float(1.0 - 0.5 ** (1.0 / runs))


@dataclass(slots=True)
class BiasTracker:
    """The state of one factor."""

    log_factor: float = 0.0
    scale: float = 0.0
    """Running mean of what was served, resource-seconds."""
    runs: int = 0
    since_restart: int = 0
    """Runs since the last change point; a low number makes the factor learn fast."""

    @property
    def factor(self) -> float:
        """What a raw prediction is multiplied with."""
        return math.exp(self.log_factor)

    def update(self, served: float, actual: float, gain: float) -> None:
        """Learn from one finished run; the caller makes sure that no run counts twice."""
        if not (served > 0.0 and math.isfinite(served) and math.isfinite(actual)):
            return
        self.runs += 1
        self.since_restart += 1
        self.scale += (served - self.scale) * max(_SCALE_GAIN, 1.0 / self.runs)
        used = max(gain, 1.0 / (self.since_restart + _PRIOR_RUNS))
        move = used * (actual - served) / self.scale
        move = min(_LARGEST_STEP, max(-_LARGEST_STEP, move))
        self.log_factor = min(LOG_LIMIT, max(-LOG_LIMIT, self.log_factor + math.log1p(move)))

    def restart(self, *, log_factor: float | None = None) -> None:
        """Forget how settled the factor was: a change point was found."""
        self.since_restart = 0
        if log_factor is not None:
            self.log_factor = min(LOG_LIMIT, max(-LOG_LIMIT, log_factor))
