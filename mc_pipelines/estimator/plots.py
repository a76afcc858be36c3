"""Pictures of a backtest, as SVG or PNG; drawn without a display."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from mc_pipelines.estimator.backtest import Backtest
from mc_pipelines.estimator.drift import TOLERANCE, Drift

_COLOURS = {"actual": "#222222", "served": "#0b6e4f", "v1": "#c26a00", "v2": "#3b5bdb"}
_LARGEST_SHOWN = 0.6
_SVG_SALT = "mc-estimator"


def draw_overview(report: Backtest) -> Any:
    """Return a figure with the four pictures that a reader needs: totals, drift, runs, confidence."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 9), layout="constrained")
    axes = figure.subplots(2, 2)
    _draw_totals(axes[0, 0], report)
    _draw_drift(axes[0, 1], report)
    _draw_runs(axes[1, 0], report)
    _draw_calibration(axes[1, 1], report)
    made = " (constructed in part)" if report.constructed else ""
    figure.suptitle(f"Estimator backtest: {report.source}{made}, {report.start:%Y-%m-%d} to {report.end:%Y-%m-%d}")
    return figure


def overview_svg(report: Backtest) -> str:
    """Return the overview as SVG text, the same for the same report."""
    return _save(draw_overview(report), "svg").decode("utf-8")


def overview_png(report: Backtest) -> bytes:
    """Return the overview as PNG; Dagster shows it inside Markdown metadata."""
    return _save(draw_overview(report), "png")


def _save(figure: Any, kind: str) -> bytes:
    import matplotlib as mpl

    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": _SVG_SALT, "svg.fonttype": "path"}):
        metadata = {"Date": None} if kind == "svg" else {"Software": None}
        figure.savefig(buffer, format=kind, dpi=80, metadata=metadata)
    return buffer.getvalue()


def _draw_totals(axes: Any, report: Backtest) -> None:
    days = np.arange(len(report.daily["actual"]))
    for name in ("actual", "served", "v1", "v2"):
        axes.plot(
            days,
            np.cumsum(report.daily[name]),
            color=_COLOURS[name],
            label=name,
            linewidth=2.2 if name in {"actual", "served"} else 1.0,
            linestyle="--" if name in {"v1", "v2"} else "-",
        )
    axes.set_title("Predicted and actual, cumulative")
    axes.set_xlabel("day of the window")
    axes.set_ylabel("USD")
    axes.legend()


def _draw_drift(axes: Any, report: Backtest) -> None:
    rows = report.workflows
    axes.axvspan(-TOLERANCE, TOLERANCE, color="#0b6e4f", alpha=0.12, label="±5 %")
    for position, row in enumerate(rows):
        _draw_interval(axes, position, row)
        before = next(entry for entry in report.workflows_v1 if entry.workflow == row.workflow)
        axes.plot(
            _shown(before.drift), position, marker="x", color=_COLOURS["v1"], label="v1" if not position else None
        )
    axes.set_yticks(range(len(rows)), [f"{row.workflow}  {row.state}" for row in rows], fontsize=7)
    axes.invert_yaxis()
    axes.axvline(0.0, color="#888888", linewidth=0.8)
    axes.set_title("Drift of the ten dearest workflows as served, 95 % interval")
    axes.set_xlabel("predicted / actual - 1")
    axes.legend(fontsize=7)


def _draw_interval(axes: Any, position: int, row: Drift) -> None:
    low, high = _shown(row.low), _shown(row.high)
    axes.plot([low, high], [position, position], color=_COLOURS["served"], linewidth=2)
    axes.plot(_shown(row.drift), position, marker="o", color=_COLOURS["served"], label=None if position else "served")


def _shown(value: float) -> float:
    return float(min(_LARGEST_SHOWN, max(-_LARGEST_SHOWN, value)))


def _draw_runs(axes: Any, report: Backtest) -> None:
    served = np.array([pair[0] for pair in report.sample])
    actual = np.array([pair[1] for pair in report.sample])
    positive = (served > 0) & (actual > 0)
    axes.loglog(actual[positive], served[positive], ".", markersize=3, alpha=0.35, color=_COLOURS["served"])
    if positive.any():
        ends = [float(actual[positive].min()), float(actual[positive].max())]
        axes.loglog(ends, ends, color="#222222", linewidth=0.8)
    axes.set_title("Single runs: served against actual (not drift)")
    axes.set_xlabel("actual USD")
    axes.set_ylabel("served USD")


def _draw_calibration(axes: Any, report: Backtest) -> None:
    axes.plot([0, 1], [0, 1], color="#888888", linewidth=0.8)
    for entry in report.calibration.bins:
        axes.plot(entry.confidence, entry.hit_rate, "o", color=_COLOURS["v2"], markersize=4 + entry.windows**0.5)
        axes.annotate(str(entry.windows), (entry.confidence, entry.hit_rate), fontsize=7)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.05)
    axes.set_title("Confidence against share of weekly windows within 10 % (label: windows)")
    axes.set_xlabel("confidence")
    axes.set_ylabel("hit rate")
