"""`mc estimator`: predict, explain, backtest, report, promote and roll back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mc_pipelines.cli.estimator_sources import known_person, open_service, parse_features, read_history, say
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
    """Estimate one run: cost, interval, which model, and why.

    Example: mc estimator predict M0002/TXT_2_IMG -f num_images=4 -f num_steps=30 --data runs.parquet
    """
    from dataclasses import asdict

    service, now = open_service(data, prices, at)
    found = service.estimate(
        parse_features(feature), workflow, run_id="ask", at=now, price_id=price_id, resources=cores
    )
    if json:
        print_json(asdict(found))
        return
    cost = "nothing is known" if found.cost is None else f"{found.cost} {found.currency}"
    print(f"{workflow}: {cost} ({found.source}; 90 % of runs between {found.low} and {found.high})")
    print(f"confidence {found.confidence:.2f}; {', '.join(found.reasons)}; v1 {found.v1}, v2 {found.v2}")


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

    service, now = open_service(data, None, at)
    lines = service.explain(parse_features(feature), workflow, at=now, resources=cores)
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
        raise NotFoundError("Nothing is known of this workflow", field="workflow", value=workflow)
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


@app.command()
def register(
    by: Annotated[str, typer.Option("--by", help="Person who proposes the model (id of `mc people`).")],
    data: Trace = None,
    json: Json = False,
) -> None:
    """Learn a model from the execution facts (or a trace), sign it and put it into the registry.

    Example: mc estimator register --by 01890a5d-ac96-774b-bcce-b302099a8057
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.estimator import registry
    from mc_pipelines.estimator.training import train

    context = open_context()
    proposer = known_person(context, by)
    artefact = train(read_history(context, data))
    now = context.clock.now()
    with context.database.begin() as connection:
        registry.register(connection, context.object_store, artefact, context.signer, proposed_by=proposer, at=now)
        registry.write_v1(connection, artefact.estimator.v1_table(int(now.timestamp()) // 86_400, artefact.prices))
    say({"model_id": artefact.model_id, "rows": artefact.estimator.model.rows if artefact.estimator.model else 0}, json)


@app.command()
def promote(
    model_id: Annotated[str, typer.Argument(help="sha256:... of a registered model.")],
    approved_by: Annotated[str, typer.Option("--approved-by", help="A second person (id of `mc people`).")],
    data: Trace = None,
    json: Json = False,
) -> None:
    """Make a registered model the champion: every blocking check, and a second person.

    Example: mc estimator promote sha256:... --approved-by 01890a5d-ac96-774b-bcce-b302099a8057
    """
    from dataclasses import asdict

    from mc_pipelines.cli.context import open_context
    from mc_pipelines.estimator import registry
    from mc_pipelines.estimator.artefact import load_artefact
    from mc_pipelines.estimator.backtest import backtest as run_backtest
    from mc_pipelines.estimator.promotion import promotion_checks
    from mc_pipelines.estimator.shadow import shadow
    from mc_pipelines.foundation.ids import parse_digest

    wanted = parse_digest(model_id, field="model_id")
    context = open_context()
    approver = known_person(context, approved_by)
    artefact = load_artefact(context.object_store.get(registry.path_of(wanted)), expected=wanted)
    history = read_history(context, data)
    judged = run_backtest(history, setting=artefact.estimator.setting)
    with context.database.begin() as connection:
        champion, _ = registry.load_champion(connection, context.object_store, at=context.clock.now())
    beside = None if champion is None else run_backtest(history, setting=champion.estimator.setting)
    checks = promotion_checks(
        judged,
        beside,
        imbalance=float(artefact.metrics.get("imbalance", 1.0)),
        shadow=None if champion is None else shadow(champion, artefact, history),
    )
    with context.database.begin() as connection:
        now = registry.current(connection)
        pointer = registry.promote(
            connection,
            wanted,
            expected_version=now.version if now is not None else 0,
            checks=checks,
            approved_by=approver,
            at=context.clock.now(),
        )
    say(asdict(pointer) | {"checks": [asdict(check) for check in checks]}, json)


@app.command()
def rollback(
    asked_by: Annotated[str, typer.Option("--asked-by", help="Person who asks (id of `mc people`).")],
    approved_by: Annotated[str, typer.Option("--approved-by", help="A second person.")],
    json: Json = False,
) -> None:
    """Move the pointer back to the model that served before.

    Example: mc estimator rollback --asked-by ID --approved-by ID
    """
    from dataclasses import asdict

    from mc_pipelines.cli.context import open_context
    from mc_pipelines.estimator import registry

    context = open_context()
    first, second = known_person(context, asked_by), known_person(context, approved_by)
    with context.database.begin() as connection:
        now = registry.current(connection)
        pointer = registry.roll_back(
            connection,
            expected_version=now.version if now is not None else 0,
            asked_by=first,
            approved_by=second,
            at=context.clock.now(),
        )
    say(asdict(pointer), json)
