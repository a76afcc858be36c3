"""Run steps of the control plane in one process, as real runs of the instance in DAGSTER_HOME.

    python -m mc_pipelines.dagster_ext.materialize 'assets:sla_attainment,sla_breaches@2025-09-06..2025-12-04' \
        'sensor:issue_credits'

With ``-`` the steps are read from standard input, a line each, so that work outside Dagster can lie between them.
`mc demo` and CI use it: a code location is imported once instead of once a run. Every run, check and
materialisation is recorded in the instance's PostgreSQL exactly as if the daemon had launched it.
Each step prints one JSON object; the exit code is 1 when a run fails or a blocking check does not hold.
"""

import json
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster_shared.error import SerializableErrorInfo

from mc_pipelines.dagster_ext.orphans import PROCESS_TAG, end_orphans, this_process

_RANGE_START = "dagster/asset_partition_range_start"
_RANGE_END = "dagster/asset_partition_range_end"


@dataclass(frozen=True)
class Step:
    """One thing to run: assets (with their checks) over a partition or a range, or a sensor's tick."""

    kind: str
    names: tuple[str, ...]
    partitions: tuple[str, str] | None = None

    @classmethod
    def parse(cls, text: str) -> "Step":
        """Parse ``assets:a,b``, ``assets:a@2025-09-06``, ``assets:a@FIRST..LAST`` or ``sensor:name``.

        Raises:
            ValueError: the text is none of these.
        """
        kind, _, rest = text.partition(":")
        names, _, partitions = rest.partition("@")
        if kind not in {"assets", "sensor"} or not names:
            message = f"not a step: {text!r}; write assets:NAME[,NAME][@DAY[..DAY]] or sensor:NAME"
            raise ValueError(message)
        first, _, last = partitions.partition("..")
        return cls(kind, tuple(names.split(",")), (first, last or first) if first else None)


def run_step(definitions: dg.Definitions, instance: dg.DagsterInstance, step: Step) -> Iterator[dict[str, Any]]:
    """Run one step; yield a report for every run it makes."""
    if step.kind == "assets":
        yield _run_assets(definitions, instance, step.names, _partition_tags(step.partitions))
        return
    yield from _run_sensor(definitions, instance, step.names[0])


def _run_sensor(definitions: dg.Definitions, instance: dg.DagsterInstance, name: str) -> Iterator[dict[str, Any]]:
    repository = definitions.get_repository_def()
    sensor = repository.get_sensor_def(name)
    context = dg.build_sensor_context(
        instance=instance, repository_def=repository, resources=dict(definitions.resources or {})
    )
    data = sensor.evaluate_tick(context)
    if not data.run_requests:
        yield {"step": f"sensor:{name}", "status": "SKIPPED", "reason": data.skip_message}
    for request in data.run_requests or ():
        job = definitions.resolve_job_def(request.job_name or str(sensor.job_name))
        result = job.execute_in_process(
            instance=instance,
            run_config=request.run_config,
            tags=dict(request.tags) | {"dagster/sensor_name": name, PROCESS_TAG: this_process()},
            asset_selection=list(request.asset_selection) if request.asset_selection else None,
            raise_on_error=False,
        )
        yield _report(f"sensor:{name}", result)


def _run_assets(
    definitions: dg.Definitions, instance: dg.DagsterInstance, names: tuple[str, ...], tags: Mapping[str, str]
) -> dict[str, Any]:
    job = definitions.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey.from_user_string(name) for name in names],
        tags=dict(tags) | {PROCESS_TAG: this_process()},
        raise_on_error=False,
    )
    return _report("assets:" + ",".join(names), result)


def _report(step: str, result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    checks = {
        f"{each.asset_key.to_user_string()}:{each.check_name}": each.passed
        for each in result.get_asset_check_evaluations()
    }
    failures = [
        _reason(event.step_failure_data.error)
        for event in result.all_events
        if event.is_step_failure and event.step_failure_data.error
    ]
    return {
        "step": step,
        "status": "SUCCESS" if result.success else "FAILURE",
        "run_id": result.run_id,
        "materializations": len(result.get_asset_materialization_events()),
        "checks": checks,
        "failures": failures,
    }


def _reason(error: SerializableErrorInfo) -> str:
    """Return the first line of what lies beneath: on top Dagster says only that a step failed, or failed too often."""
    while error.cause is not None:
        error = error.cause
    return str(error.message).strip().splitlines()[0]


def _partition_tags(partitions: tuple[str, str] | None) -> dict[str, str]:
    return {} if partitions is None else {_RANGE_START: partitions[0], _RANGE_END: partitions[1]}


def main(arguments: list[str]) -> int:
    """Run the steps in order and stop at the first failure; return the exit code."""
    warnings.simplefilter("ignore")
    lines = (line.strip() for line in sys.stdin) if arguments == ["-"] else iter(arguments)
    from mc_pipelines.definitions import defs

    definitions = defs()
    with dg.DagsterInstance.get() as instance:
        end_orphans(instance)
        for line in lines:
            if not _run_line(definitions, instance, line):
                return 1
    return 0


def _run_line(definitions: dg.Definitions, instance: dg.DagsterInstance, line: str) -> bool:
    started = time.monotonic()
    reports = []
    for report in run_step(definitions, instance, Step.parse(line)):
        _say(report | {"seconds": round(time.monotonic() - started, 2)})
        reports.append(report)
        started = time.monotonic()
    succeeded = all(report["status"] != "FAILURE" for report in reports)
    _say({"done": line, "succeeded": succeeded})
    return succeeded


def _say(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
