"""A process that runs steps of the control plane on request: Dagster is imported there once, and not here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mc_pipelines.foundation.errors import UnavailableError
from mc_pipelines.foundation.processes import last_lines


class ControlPlane:
    """Runs of the Dagster instance that the environment names, in one child process.

    Args:
        environment: DAGSTER_HOME, MC_DATABASE_URL and the rest, as `mc up` gives them to its children.
        log: gets what Dagster writes about the runs; a pipe that nobody reads would fill and stop them.
    """

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self._log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        self._errors = log.open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mc_pipelines.dagster_ext.materialize", "-"],
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def run(self, step: str) -> list[dict[str, Any]]:
        """Run one step (see :mod:`mc_pipelines.dagster_ext.materialize`); return a report for each run it made.

        Raises:
            UnavailableError: a run failed or a blocking check did not hold.
        """
        assert self._process.stdin is not None  # noqa: S101 - asked for above
        assert self._process.stdout is not None  # noqa: S101
        try:
            self._process.stdin.write(step + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self._raise(step, [])
        reports: list[dict[str, Any]] = []
        for line in self._process.stdout:
            report = json.loads(line)
            if "done" in report:
                if not report["succeeded"]:
                    self._raise(step, reports)
                return reports
            reports.append(report)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=10)  # its output has ended, so it is about to
        self._raise(step, reports)
        return reports

    def _raise(self, step: str, reports: list[dict[str, Any]]) -> None:
        failures = [each for report in reports for each in report.get("failures", ())]
        unmet = [name for report in reports for name, passed in report.get("checks", {}).items() if not passed]
        if not failures and not unmet and self._process.poll() not in {None, 0}:
            failures = [last_lines(self._log, 1)]
        raise UnavailableError(
            f"A run of the control plane failed: {'; '.join(failures + unmet) or 'see the Dagster UI'}",
            field="step",
            value=step,
            mend=f"`mc up` shows the run and {self._log} has its log; `mc demo` again goes on from here",
        )

    def __enter__(self) -> Self:
        """Return the process, which is importing Dagster meanwhile."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process."""
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                stream.close()
        try:
            self._process.wait(timeout=10 if kind is None else 1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
