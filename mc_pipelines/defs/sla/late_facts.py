"""The sensor that has days rolled up again whose facts came late: one run for each stretch of such days."""

from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from hashlib import sha256

import dagster as dg

from mc_pipelines.defs.partitions import DAYS
from mc_pipelines.defs.resources import Maestro
from mc_pipelines.defs.sla.assets import sla_slices

_AGAIN_SECONDS = 900
"""The same days are tried again after so long, should a run have failed."""
_RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")

late_rollup_job = dg.define_asset_job(
    "sla_late",
    selection=dg.AssetSelection.assets(sla_slices),
    description="Slices of days that are over and whose facts, or whose contracts, have changed since.",
)


@dg.sensor(
    job=late_rollup_job,
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Asks for the rollup of days that are over and have facts, or contracts, that were not yet counted.",
)
def late_facts(maestro: Maestro) -> dg.SensorResult | dg.SkipReason:
    """Compare the files of every day with those that its newest rollup has read."""
    from mc_pipelines.sla.rollup import stale_days

    opened = maestro.open()
    now = opened.clock.now()
    known = set(DAYS.get_partition_keys(current_time=now))
    stale = {day: paths for day, (paths, _) in stale_days(opened.database, opened.object_store).items()}
    days = [day for day in sorted(stale) if day.isoformat() in known]
    if not days:
        return dg.SkipReason("every day that is over is counted as its files are")
    span = int(now.timestamp()) // _AGAIN_SECONDS
    requests = []
    for first, last in stretches(days):
        files = "\n".join(path for day in days if first <= day <= last for path in stale[day])
        key = f"{first}:{last}:{sha256(files.encode()).hexdigest()}:{span}"
        tags = dict(zip(_RANGE, (first.isoformat(), last.isoformat()), strict=True))
        requests.append(dg.RunRequest(run_key=key, tags=tags))
    return dg.SensorResult(run_requests=requests)


def stretches(days: Iterable[date]) -> Iterator[tuple[date, date]]:
    """Yield the first and last day of each unbroken stretch of sorted days."""
    first = last = None
    for day in days:
        if first is None or last is None:
            first = last = day
        elif day == last + timedelta(days=1):
            last = day
        else:
            yield first, last
            first = last = day
    if first is not None and last is not None:
        yield first, last
