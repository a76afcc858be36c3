"""The run launcher of one machine: Dagster's own, plus a look at whether a run's process still lives.

The default launcher cannot tell that, so run monitoring leaves a run whose process was killed in STARTED for ever: it
keeps its place among `max_concurrent_runs` and its pools, and two of them stop the whole queue.
"""

from dagster import DagsterRun
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import deserialize_value

from mc_pipelines.dagster_ext.orphans import is_orphan

_TIMEOUT_SECONDS = 10


class WatchedRunLauncher(DefaultRunLauncher):
    """Launches as the default does; asks the code server that started a run whether it still runs it.

    The code server holds the run's process and outlives a daemon that was killed until its runs have ended. So a
    server that is gone, or that does not know the run any more, means that nobody works on it.
    """

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Run monitoring may ask."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Return RUNNING while the run's code server has its process, FAILED once it has not."""
        if GRPC_INFO_TAG not in run.tags:
            gone = is_orphan(run.tags)
            return CheckRunHealthResult(WorkerStatus.FAILED if gone else WorkerStatus.RUNNING)
        client = self._get_grpc_client_for_termination(run.run_id)  # type: ignore[no-untyped-call]
        if client is None:  # it has ended meanwhile
            return CheckRunHealthResult(WorkerStatus.SUCCESS)
        try:
            answer = client.can_cancel_execution(CanCancelExecutionRequest(run_id=run.run_id), timeout=_TIMEOUT_SECONDS)
        except Exception as error:  # noqa: BLE001 - however the server fails to answer, it is not there
            return CheckRunHealthResult(WorkerStatus.FAILED, f"its code server does not answer: {type(error).__name__}")
        if deserialize_value(answer, CanCancelExecutionResult).can_cancel:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, "its code server no longer has its process")
