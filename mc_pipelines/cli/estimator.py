"""`mc estimator`: predict, explain, backtest, report, promote and roll back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mc_pipelines.cli.output import Json, print_json, print_table

app = typer.Typer(help="Predict, backtest, explain and promote.", no_args_is_help=True)

Data = Annotated[Path, typer.Option("--data", help="Parquet trace; see docs/estimator/data.md.")]


@app.command()
def backtest(
    data: Data,
    train_until: Annotated[
        str | None, typer.Option("--train-until", help="Judge what finished after this moment (RFC 3339).")
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Also write the report as one HTML file.")] = None,
    json: Json = False,
) -> None:
    """Replay a trace as if served, and print drift per workflow with its statistical support.

    Example: mc estimator backtest --data runs.parquet --train-until 2024-11-24T00:00:00Z --json
    """
    from mc_pipelines.estimator.backtest import backtest as run_backtest
    from mc_pipelines.estimator.readers import history_from_trace
    from mc_pipelines.foundation.clock import parse_utc

    until = parse_utc(train_until, field="train-until") if train_until is not None else None
    report = run_backtest(history_from_trace(data), train_until=until)
    if html is not None:
        from mc_pipelines.estimator.report import render_html

        html.write_text(render_html(report), encoding="utf-8")
    if json:
        print_json(report.summary())
        return
    _print_backtest(report)


def _print_backtest(report: Any) -> None:
    made = "; constructed in part" if report.constructed else ""
    print_table(
        ("workflow", "USD", "runs", "drift", "95 % interval", "state", "runs needed", "WAPE"),
        [
            (
                row.workflow,
                f"{row.spend_usd:.2f}",
                row.runs,
                f"{row.drift:+.1%}",
                f"{row.low:+.1%} to {row.high:+.1%}",
                row.state,
                row.runs_needed,
                f"{row.wape:.1%}",
            )
            for row in report.workflows
        ],
        title=f"Drift as served, {report.source}{made}, {report.start:%Y-%m-%d} to {report.end:%Y-%m-%d}",
    )
    print_table(
        ("source", "drift", "WAPE", "weekly windows within 5 %"),
        [
            (name, f"{score.drift:+.2%}", f"{score.wape:.3f}", f"{score.windows.within} of {score.windows.count}")
            for name, score in report.scores.items()
        ],
    )
    print(
        f"v2 served {report.v2_share:.1%} of {report.runs} runs, clamped {report.clamp_share:.1%} of those; "
        f"90 % intervals cover {report.coverage90:.1%}; confidence off by {report.calibration.expected_error:.3f}; "
        f"{len(report.alarms)} early warnings; {report.seconds:.1f} s."
    )


@app.command()
def report(
    data: Data,
    output: Annotated[Path, typer.Option("--output", help="HTML file to write.")],
    train_until: Annotated[
        str | None, typer.Option("--train-until", help="Judge what finished after this moment (RFC 3339).")
    ] = None,
    json: Json = False,
) -> None:
    """Write the backtest of a trace as one HTML file: tables, plots, reasons, early warnings.

    Example: mc estimator report --data runs.parquet --output report.html
    """
    from mc_pipelines.estimator.backtest import backtest as run_backtest
    from mc_pipelines.estimator.readers import history_from_trace
    from mc_pipelines.estimator.report import render_html
    from mc_pipelines.foundation.clock import parse_utc

    until = parse_utc(train_until, field="train-until") if train_until is not None else None
    made = run_backtest(history_from_trace(data), train_until=until)
    output.write_text(render_html(made), encoding="utf-8")
    if json:
        print_json(made.document())
    else:
        print(f"Wrote {output}.")
