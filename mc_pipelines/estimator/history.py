"""Finished runs in columns: what every estimator learns from and is judged by.

Times are microseconds since the epoch (UTC), runtimes wall-clock seconds, resource-time the product
of runtime and allocated cores or nodes. Floats are fine here: these are statistics. What was billed
stays in the facts as integer minor units.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from mc_pipelines.foundation.errors import InputError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
MICROSECONDS = 1_000_000
DAY = 86_400 * MICROSECONDS
"""One UTC day in microseconds."""


@dataclass(frozen=True, eq=False)
class History:
    """Runs sorted by submission; every array has one entry a run unless it says otherwise."""

    source: str
    """Where the runs come from, as shown to people."""
    constructed: bool
    """Whether any of it is made up (arrivals, prices, outcomes); named in every table made from it."""
    run_ids: NDArray[np.object_]
    workflow_names: tuple[str, ...]
    workflow: Integers
    """Index into ``workflow_names``."""
    family_of_workflow: tuple[str, ...]
    """One entry a workflow name: the family it shrinks towards."""
    variant: NDArray[np.object_]
    """Finer recurring unit inside a workflow: its group and allocation."""
    submitted: Integers
    finished: Integers
    resources: Floats
    """Allocated cores or nodes."""
    runtime: Floats
    price: Floats
    """USD per core- or node-hour that applied to the run."""
    price_ids: NDArray[np.object_]
    succeeded: NDArray[np.bool_]
    number_names: tuple[str, ...]
    numbers: Floats
    """One column a name, NaN where missing."""
    excluded: dict[str, int] = field(default_factory=dict)
    """Rows left out, by reason."""
    ignored_columns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Columns that may not enter, by reason (post-hoc, unmarked, late)."""
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.run_ids)
        for name in ("workflow", "submitted", "finished", "resources", "runtime", "price", "succeeded", "numbers"):
            if len(getattr(self, name)) != count:
                raise InputError("Columns of different lengths", field=name, value=len(getattr(self, name)))

    def __len__(self) -> int:
        return len(self.run_ids)

    @property
    def resource_seconds(self) -> Floats:
        """Core- or node-seconds of each run."""
        return self.runtime * self.resources

    @property
    def cost(self) -> Floats:
        """USD of each run at the price that applied to it."""
        return self.resource_seconds * self.price / 3600.0

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> History:
        """Return the runs at ``index`` (positions or a mask), in submission order."""
        rows = np.flatnonzero(index) if index.dtype == np.bool_ else index
        rows = rows[np.argsort(self.submitted[rows], kind="stable")]
        return replace(
            self,
            run_ids=self.run_ids[rows],
            workflow=self.workflow[rows],
            variant=self.variant[rows],
            submitted=self.submitted[rows],
            finished=self.finished[rows],
            resources=self.resources[rows],
            runtime=self.runtime[rows],
            price=self.price[rows],
            price_ids=self.price_ids[rows],
            succeeded=self.succeeded[rows],
            numbers=self.numbers[rows],
        )

    def finished_before(self, moment_us: int) -> History:
        """Return what is visible at a moment: runs that finished at or before it."""
        return self.take(self.finished <= moment_us)


def microseconds(moment: datetime) -> int:
    """Return aware ``moment`` as microseconds since the epoch, exactly."""
    delta = moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * MICROSECONDS + delta.microseconds


def moment_of(microseconds_since_epoch: int) -> datetime:
    """Return the aware UTC moment of microseconds since the epoch."""
    seconds, rest = divmod(int(microseconds_since_epoch), MICROSECONDS)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)
