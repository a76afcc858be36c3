"""The one setting of the estimator: every number that decides, with what it is for."""

from __future__ import annotations

from dataclasses import dataclass

from mc_pipelines.estimator.bias import gain_of_half_life


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to predict: a shape and the memory of its bias correction."""

    shape: str
    """``poisson`` or ``eb_ratio``."""
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
class Setting:
    """All knobs, with the values that serve. One setting for every data set."""

    training_days: int = 90
    v1_days: int = 30
    """Window of v1, the trailing mean."""
    ridge: float = 1e-4
    feature_clip: float = 5.0
    """Standardised features are cut here, so that exp() of an extrapolation stays sane."""
    pooled_runs: float = 5.0
    """Pseudo-runs of pooled dispersion in the sampling variance of a level."""
    candidates: tuple[Candidate, ...] = (
        Candidate("poisson", 20.0),
        Candidate("poisson", 60.0),
        Candidate("poisson", 7.0),
        Candidate("eb_ratio", 20.0),
        Candidate("eb_ratio", 60.0),
        Candidate("eb_ratio", 7.0),
    )
    """The first is the default of a young workflow."""
    choice_half_life: float = 100.0
    choice_margin: float = 0.02
    """A candidate replaces the one in use when its loss is lower by this share."""
    compensation_half_life: float = 20.0
    """Memory of the correction for what the clamp cuts."""
    confidence_half_life: float = 100.0
    confidence_tolerance: float = 0.10
    """conf_agg = P(|drift over the horizon| <= this)."""
    confidence_horizon_days: int = 90
    """The KR's window: confidence is about the quantity of the KR."""
    confidence_block: int = 10
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
    shift_allowance: float = 0.35
    """CUSUM allowance, in standard deviations of the log residual."""
    shift_threshold: float = 9.0
    """CUSUM decision interval, in standard deviations."""


DEFAULT_SETTING = Setting()
