"""Runs whose process was killed: found by a tag that names the process, ended, and their places in pools given back.

A run that no code server started, such as those of `mc demo`, carries the tag. Without this a run killed in a pooled
step would hold its pool for ever, and the next one would wait for it as long.
"""

import os
import socket
from collections.abc import Mapping
from pathlib import Path

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter

PROCESS_TAG = "mc/process"
"""Host, process id and start time of the process that runs a run itself."""
_UNDER_WAY = [
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]
_START_TIME = 19
"""Place of ``starttime`` in ``/proc/PID/stat`` behind the command's name (proc_pid_stat(5))."""


def this_process() -> str:
    """Return what :data:`PROCESS_TAG` says of the calling process."""
    return f"{socket.gethostname()} {os.getpid()} {_start_time(os.getpid())}"


def is_orphan(tags: Mapping[str, str]) -> bool:
    """Tell whether the process that a run names is known to be gone; one that nobody here can look at is not."""
    if PROCESS_TAG not in tags:
        return False
    host, pid, started = tags[PROCESS_TAG].split(" ")
    return host == socket.gethostname() and _start_time(int(pid)) != started


def end_orphans(instance: DagsterInstance) -> list[str]:
    """End every run whose process is gone, as failed, and give its places in pools back; return their ids."""
    found = [run for run in instance.get_runs(RunsFilter(statuses=_UNDER_WAY)) if is_orphan(run.tags)]
    for run in found:
        instance.report_run_failed(run, f"Its process ({run.tags[PROCESS_TAG]}) is gone.")
    storage = instance.event_log_storage
    if storage.supports_global_concurrency_limits:
        for run_id in storage.get_concurrency_run_ids():
            if _holds_in_vain(instance.get_run_by_id(run_id)):
                storage.free_concurrency_slots_for_run(run_id)
    return [run.run_id for run in found]


def _holds_in_vain(run: DagsterRun | None) -> bool:
    return run is None or (run.is_finished and is_orphan(run.tags))


def _start_time(pid: int) -> str:
    """Return when a process started, in ticks since boot: a reused id has another; empty where it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[_START_TIME]
    except OSError:
        return ""
