"""`mc demo`: ninety days of execution data through every capability, ending with something to check."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mc_pipelines.cli.output import Json, print_json, print_table

if TYPE_CHECKING:
    from mc_pipelines.composition import Context
    from mc_pipelines.drills.demo import Made

app = typer.Typer(help="Take 90 days of execution data through every capability.")


@app.command()
def demo(
    data: Annotated[
        Path | None, typer.Option(help="A Parquet trace or a folder of them; default: MC_DATA_DIR's, else simulated.")
    ] = None,
    json: Json = False,
) -> None:
    """Set up what is missing, run the main job, and show what it made; run twice, it changes nothing.

    Example: mc demo --data traces/
    """
    from mc_pipelines.cli.instance import environment
    from mc_pipelines.composition import open_context
    from mc_pipelines.drills.demo import Demo, demo_documents, demo_traces
    from mc_pipelines.foundation.embedded import ensure_running

    started = time.monotonic()
    data_dir = Path(os.environ.get("MC_DATA_DIR", "../shared/data"))
    traces = demo_traces(data, data_dir)
    context = open_context()
    if not json:
        print(f"database ready after {time.monotonic() - started:.1f} s; home is {context.settings.home_path}")
    progress = _Silent() if json else _Progress(started)
    variables = environment(context.settings, ensure_running(context.settings))
    try:
        made = Demo(context, traces, demo_documents(data_dir), variables, progress).run()
    finally:
        progress.end()
    _finish(context, made, time.monotonic() - started, json=json)


class _Progress:
    """One line a step, with the seconds since the start; on a terminal also what is being done now."""

    def __init__(self, started: float) -> None:
        from rich.console import Console

        from mc_pipelines.drills.demo import STEPS

        self._steps = STEPS
        self._started = started
        self._console = Console()
        self._status: Any = None
        self._step = 0
        print("each line: seconds so far; + something new, = there already, · a run of Dagster; what")

    def begin(self, step: str) -> None:
        """Show it, where somebody watches."""
        self._step += 1
        if self._console.is_terminal:
            self._status = self._status or self._console.status("")
            self._status.start()
            self._status.update(f"{step} (step {self._step} of {self._steps})")

    def done(self, step: str, text: str, *, changed: bool | None) -> None:
        """Print its line."""
        self.end()
        mark = {True: "+", False: "=", None: "·"}[changed]
        print(f"{time.monotonic() - self._started:6.1f} s {mark} {step}: {text}", flush=True)

    def end(self) -> None:
        """Show nothing more of what is being done."""
        if self._status is not None:
            self._status.stop()


class _Silent:
    """Tells nobody."""

    def begin(self, step: str) -> None:
        """Say nothing."""

    def done(self, step: str, text: str, *, changed: bool | None) -> None:
        """Say nothing."""

    def end(self) -> None:
        """Say nothing."""


def _finish(context: Context, made: Made, seconds: float, *, json: bool) -> None:
    from mc_pipelines.drills import demo_graph
    from mc_pipelines.drills import demo_summary as summary

    folder = context.settings.home_path / "demo"
    files = list(summary.checked_files(context, folder))
    graph = demo_graph.one_answer(context)
    drift = summary.drift_table(context)
    if json:
        print_json(
            {
                "origin": made.origin,
                "constructed": list(made.constructed),
                "changed": made.changed,
                "made": dict(summary.counts(context)),
                "verified": {path.name: report.to_document() for path, report in files},
                "graph": graph.document(),
                "drift": drift,
                "rollouts": [list(map(str, row)) for row in summary.rollouts(context)],
                "rotations": [list(map(str, row)) for row in summary.rotations(context)],
                "seconds": round(seconds, 1),
            }
        )
        return
    constructed = f"{made.origin}; constructed by a seeded overlay: {', '.join(made.constructed)}"
    print_table(("what", "how many"), summary.counts(context), title=f"\nWhat was made, from {constructed}")
    for path, report in files:
        _print_report(path, report)
    _print_table_of_drift(drift, made)
    print(f"\nOne graph answer: {graph.sentence}")
    print_table(("pack", "phase", "what its evidence says"), summary.rollouts(context), title="Policy rollout")
    print_table(("key", "state", "old", "new", "evidence"), summary.rotations(context), title="Key rotation")
    if not made.changed:
        print("Everything was there already: this demo changed nothing.")
    print(f"Done in {seconds:.1f} s. Look at it in the Dagster UI: `make up` (or `mc up`), then http://127.0.0.1:3000")
    print(f"Check a file yourself: `{_program()} verify {folder / 'note.json'}`")


def _program() -> str:
    """Return how this shell calls `mc`: by its path where no environment is activated."""
    return "mc" if which("mc") else str(Path(sys.executable).with_name("mc"))


def _print_report(path: Path, report: Any) -> None:
    print(f"\n{path.name}: {report.kind}: {'verified' if report.ok else 'NOT VERIFIED'}")
    for heading, sentences in (
        ("proved", report.proved),
        ("not proved", report.not_proved),
        ("wrong", report.problems),
    ):
        for sentence in sentences:
            print(f"  {heading}: {sentence}")


def _print_table_of_drift(drift: dict[str, Any] | None, made: Made) -> None:
    if drift is None:
        return
    rows = [
        (
            row["workflow"],
            row["runs"],
            f"{row['drift']:+.1%}",
            f"{row['low']:+.1%} to {row['high']:+.1%}",
            row["state"],
        )
        for row in drift["workflows"]
    ]
    title = f"\nEstimator drift as served, top ten by spend ({made.origin}; places and charges constructed)"
    print_table(("workflow", "runs", "drift", "95 % interval", "state"), rows, title=title)
