"""The one setting of the estimator: every number that decides, with what it is for."""

from __future__ import annotations

from dataclasses import dataclass

from mc_pipelines.estimator.bias import gain_of_half_life


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to predict: a shape and the memory of its bias correction."""

    shape: str
    """One of :data:`mc_pipelines.estimator.model.SHAPES`."""
    half_life: float
    """Runs after which the bias correction has forgotten half."""

    @property
    def name(self) -> str:
        """The name shown to people and stored with predictions."""
        return f"{self.shape}/{self.half_life:g}"

    @property
    def gain(self) -> float:
        """The gain of the bias tracker."""
        return gain_of_half_life(self.half_life)


@dataclass(frozen=True, slots=True)
class Account:
    """How one balance of what was served against what was paid is repaid."""

    half_life_days: float
    """Days after which half of an old error is forgiven."""
    gain: float
    """Share of the balance that the next run makes up for."""
    slack: float
    """Share of the remembered spend that is let be: noise inside the promise is not chased."""


@dataclass(frozen=True, slots=True)
class Setting:
    """All knobs, with the values that serve. One setting for every data set."""

    training_days: int = 90
    v1_days: int = 30
    """Window of v1, the trailing mean."""
    ridge: float = 1e-4
    feature_clip: float = 8.0
    """Standardised features are cut here, so that exp() of an extrapolation stays sane."""
    pooled_runs: float = 5.0
    """Pseudo-runs of pooled dispersion in the sampling variance of a level."""
    own_runs: float = 30.0
    """Pseudo-runs that hold a workflow's own slopes at the shared ones."""
    candidates: tuple[Candidate, ...] = (
        Candidate("poisson_own", 7.0),
        Candidate("poisson_own", 20.0),
        Candidate("closed_own", 7.0),
        Candidate("closed_own", 20.0),
        Candidate("poisson", 7.0),
        Candidate("poisson", 20.0),
        Candidate("closed", 7.0),
        Candidate("closed", 20.0),
    )
    """The first predicts until one run of a workflow has finished."""
    choice_runs: int = 1
    """Finished runs before the candidates are blended."""
    choice_half_life: float = 100.0
    choice_sharpness: float = 30.0
    """A candidate whose loss is higher by a share d has exp(-sharpness d) of the best one's weight."""
    accounts: tuple[Account, ...] = (Account(2.0, 0.1, 0.01), Account(60.0, 0.05, 0.02))
    """The short one keeps weeks inside the promise, the long one the quarter."""
    least_repayment: float = -0.7
    largest_repayment: float = 1.5
    """Bounds of what one run makes up for, as a share of its own prediction."""
    confidence_half_life: float = 100.0
    confidence_tolerance: float = 0.15
    """conf_agg = P(|drift of v2 over the horizon| <= this)."""
    confidence_horizon_days: float = 7.0
    confidence_least_runs: float = 30.0
    """A horizon is taken to hold at least so many runs: fewer are no aggregate."""
    confidence_block: int = 30
    """Runs a block in the long-run variance of the error."""
    minimum_runs: int = 10
    """Fewer finished runs of a workflow: confidence 0."""
    serve_threshold: float = 0.7
    """Seed section 5.5: v2 is served at or above this confidence (inclusive)."""
    clamp_low: float = 0.5
    clamp_high: float = 1.5
    stale_days: float = 7.0
    """An older model has confidence 0."""
    coverage: float = 0.90
    """Nominal coverage of the intervals shown to people."""
    conformal_runs: int = 300
    """Scores kept a workflow."""
    conformal_group: int = 20
    """A workflow with fewer scores uses the pooled ones, yet no less than its own largest."""
    adaptive_rate: float = 0.01
    """Step of adaptive conformal inference."""
    shift_allowance: float = 0.5
    """CUSUM allowance, in long-run deviations of the log residual: half of the shift it finds soonest."""
    shift_threshold: float = 8.0
    """CUSUM decision interval, in the same; with 0.5 one false alarm in some 9500 runs."""


DEFAULT_SETTING = Setting()
