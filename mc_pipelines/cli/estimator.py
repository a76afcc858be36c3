"""`mc estimator`: predict, explain, backtest and report; estimator_registry adds who decides what serves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mc_pipelines.cli import estimator_registry
from mc_pipelines.cli.estimator_sources import open_service, parse_features
from mc_pipelines.cli.output import Json, print_json, print_table

app = typer.Typer(help="Predict, backtest, explain and promote.", no_args_is_help=True)

Trace = Annotated[
    Path | None, typer.Option("--data", help="Learn from this Parquet trace instead of asking the champion.")
]
Features = Annotated[
    list[str] | None,
    typer.Option("--feature", "-f", help="NAME=NUMBER, as often as needed; group=NAME for the variant."),
]
Moment = Annotated[str | None, typer.Option("--at", help="When the run is submitted (RFC 3339); default: now.")]
Cores = Annotated[float, typer.Option("--cores", help="Allocated cores or nodes.", min=0.000001)]
Prices = Annotated[Path | None, typer.Option("--prices", help="CSV price list; see docs/estimator/data.md.")]
PriceId = Annotated[str, typer.Option("--price-id", help="cloud/region/instance of the price list.")]
Data = Annotated[Path, typer.Option("--data", help="Parquet trace; see docs/estimator/data.md.")]

_LEARN = "learn from a trace with --data RUNS.parquet, or `mc estimator register` a model and `promote` it"


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
    if report.changes:
        print_table(
            ("workflow", "USD a day before", "after", "price", "volume", "mix", "behaviour", "cause"),
            [
                (
                    split.workflow,
                    f"{split.before:.2f}",
                    f"{split.after:.2f}",
                    *(f"{getattr(split, part):+.2f}" for part in ("price", "volume", "mix", "model")),
                    ", ".join(split.causes),
                )
                for split in report.changes[:10]
            ],
            title="Why spend moved in the last week, against the four weeks before",
        )
    print(
        f"v2 served {report.v2_share:.1%} of {report.runs} runs, clamped {report.clamp_share:.1%} of those; "
        f"90 % intervals cover {report.coverage90:.1%}; confidence off by {report.calibration.expected_error:.3f}; "
        f"{len(report.alarms)} early warnings; {report.seconds:.1f} s."
    )


@app.command()
def screen(
    data: Data,
    training_days: Annotated[
        list[int] | None, typer.Option("--training-days", help="Training window to try; as often as needed.", min=1)
    ] = None,
    own_runs: Annotated[
        list[float] | None,
        typer.Option("--own-runs", help="Pseudo-runs that hold own slopes; as often as needed.", min=0.001),
    ] = None,
    json: Json = False,
) -> None:
    """Try settings of the closed-form candidate at every origin, in seconds: from daily sufficient statistics.

    Example: mc estimator screen --data runs.parquet --training-days 30 --training-days 90
    """
    from mc_pipelines.cli.estimator_sources import screened
    from mc_pipelines.estimator.readers import history_from_trace

    rows = screened(history_from_trace(data), training_days or [30, 60, 90], own_runs or [30.0])
    if json:
        print_json(rows)
        return
    print_table(
        ("training days", "own runs", "WAPE", "largest drift of the top ten", "seconds"),
        [
            (
                row["training_days"],
                row["own_runs"],
                f"{row['wape']:.3f}",
                f"{row['drift']:.1%}",
                f"{row['seconds']:.2f}",
            )
            for row in rows
        ],
        title="Closed form, before bias correction and guardrail, best first",
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


@app.command()
def predict(
    workflow: Annotated[str, typer.Argument(help="The recurring unit, such as M0002/TXT_2_IMG.")],
    feature: Features = None,
    data: Trace = None,
    at: Moment = None,
    cores: Cores = 1.0,
    price_id: PriceId = "default",
    prices: Prices = None,
    json: Json = False,
) -> None:
    """Estimate one run: cost, interval, which model, and why; exit code 1 where nothing is known.

    Example: mc estimator predict M0002/TXT_2_IMG -f num_images=4 -f num_steps=30 --data runs.parquet
    """
    from dataclasses import asdict

    service, now = open_service(data, prices, at)
    found = service.estimate(
        parse_features(feature), workflow, run_id="ask", at=now, price_id=price_id, resources=cores
    )
    if json:
        print_json(asdict(found))
    elif found.cost is None:
        print(f"{workflow}: nothing is known of it, so nothing is predicted ({', '.join(found.reasons)})")
        print(f"Mend: {_LEARN}.")
    else:
        print(
            f"{workflow}: {found.cost} {found.currency} "
            f"({found.source}; 90 % of runs between {found.low} and {found.high})"
        )
        either = ", ".join(
            f"{name} {value}" for name, value in (("v1", found.v1), ("v2", found.v2)) if value is not None
        )
        print("; ".join((f"confidence {found.confidence:.2f}", ", ".join(found.reasons) or "no reservations", either)))
    if found.cost is None:
        raise typer.Exit(1)


@app.command()
def explain(
    workflow: Annotated[str, typer.Argument(help="The recurring unit.")],
    feature: Features = None,
    data: Trace = None,
    at: Moment = None,
    cores: Cores = 1.0,
    json: Json = False,
) -> None:
    """Say why v2 predicts what it predicts: factors whose product is its resource-time, exactly.

    Example: mc estimator explain M0002/TXT_2_IMG -f num_images=4 --data runs.parquet
    """
    from dataclasses import asdict
    from math import prod

    from mc_pipelines.foundation.errors import NotFoundError

    service, now = open_service(data, None, at)
    lines = service.explain(parse_features(feature), workflow, at=now, resources=cores)
    if not lines:
        raise NotFoundError("v2 predicts nothing for this workflow", field="workflow", value=workflow, mend=_LEARN)
    if json:
        print_json([asdict(line) for line in lines])
        return
    print_table(
        ("factor", "times", "note"),
        [(line.name, f"{line.factor:.4g}", line.note) for line in lines],
        title=f"{workflow}: {prod(line.factor for line in lines):.4g} resource-seconds before guardrail and price",
    )


@app.command()
def whatif(
    workflow: Annotated[str, typer.Argument(help="The recurring unit.")],
    prices: Annotated[Path, typer.Option("--prices", help="CSV price list; see docs/estimator/data.md.")],
    feature: Features = None,
    data: Trace = None,
    at: Moment = None,
    cores: Cores = 1.0,
    json: Json = False,
) -> None:
    """Price one run everywhere: other clouds, regions and spot capacity, cheapest first.

    Example: mc estimator whatif M0002/TXT_2_IMG -f num_images=4 --data runs.parquet --prices prices.csv
    """
    from dataclasses import asdict

    from mc_pipelines.estimator.pricing import what_if
    from mc_pipelines.foundation.errors import NotFoundError

    service, now = open_service(data, prices, at)
    found = service.estimate(
        parse_features(feature), workflow, run_id="ask", at=now, price_id="default", resources=cores
    )
    if found.resource_seconds is None:
        raise NotFoundError("Nothing is known of this workflow", field="workflow", value=workflow, mend=_LEARN)
    options = what_if(
        found.resource_seconds, cores, {key: price for key, price in service.prices.items() if key != "default"}
    )
    if json:
        print_json([asdict(option) for option in options])
        return
    print_table(
        ("price", "capacity", "cost"),
        [(one.price_id, "spot" if one.spot else "on demand", f"{one.cost} {one.currency}") for one in options],
        title=f"{workflow}, {found.resource_seconds:.1f} resource-seconds ({found.source}); data transfer not included",
    )


for _command in (
    estimator_registry.register,
    estimator_registry.models,
    estimator_registry.promote,
    estimator_registry.rollback,
):
    app.command()(_command)
