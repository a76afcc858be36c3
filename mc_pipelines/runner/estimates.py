"""The estimate of an execution at publish; a publish never fails, and hardly waits, because of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import Connection

from mc_pipelines.estimator.prices import DEFAULT_PRICE
from mc_pipelines.estimator.records import freeze_estimate
from mc_pipelines.estimator.registry import Models, current, load_champion, read_v1
from mc_pipelines.estimator.serving import EstimatorService
from mc_pipelines.executions.manifest import Manifest
from mc_pipelines.foundation.flags import ESTIMATOR_V2, enabled
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.foundation.logs import get_logger

_SECONDS_A_DAY = 86_400


class Estimator(Protocol):
    """What publish asks for an estimate."""

    def at_publish(
        self, connection: Connection, execution_id: UUID, manifest: Manifest, *, at: datetime
    ) -> Mapping[str, Any] | None:
        """Return what was estimated, with the id under which the ledger froze it, or None; never raise."""
        ...


@dataclass
class ChampionEstimates:
    """Serves the champion of the registry, or v1, and freezes what was served in the prediction ledger.

    The place is not known before placement, so the price is the list's default until then.

    Args:
        store: where models lie.
    """

    store: Models
    _service: EstimatorService | None = field(default=None, init=False)
    _served: tuple[Any, int] | None = field(default=None, init=False)

    def at_publish(
        self, connection: Connection, execution_id: UUID, manifest: Manifest, *, at: datetime
    ) -> Mapping[str, Any] | None:
        """Estimate, freeze and return the estimate's id and interval; None where nothing is known or anything fails."""
        try:
            with connection.begin_nested():  # what fails here takes nothing of the publish with it
                return self._estimate(connection, execution_id, manifest, at)
        except Exception:  # noqa: BLE001 - an estimate is a courtesy; the execution is the promise
            get_logger(__name__).warning("runner.estimate-failed", execution_id=str(execution_id), exc_info=True)
            return None

    def _estimate(
        self, connection: Connection, execution_id: UUID, manifest: Manifest, at: datetime
    ) -> Mapping[str, Any] | None:
        resources = manifest.resources
        estimate = self._current(connection, at).estimate(
            {
                "cores": resources.cpu_millis / 1000,
                "memory_mib": resources.memory_mib,
                "n_inputs": len(manifest.inputs),
            },
            manifest.workflow,
            run_id=str(execution_id),
            at=at,
            price_id=DEFAULT_PRICE.price_id,
            resources=resources.cpu_millis / 1000,
            enabled=enabled(connection, ESTIMATOR_V2, tenant=TenantId(manifest.tenant)),
        )
        if estimate.cost is None:
            return None
        return {
            "id": freeze_estimate(connection, estimate, tenant=manifest.tenant),
            "cost": str(estimate.cost),
            "low": None if estimate.low is None else str(estimate.low),
            "high": None if estimate.high is None else str(estimate.high),
            "currency": estimate.currency,
            "confidence": str(round(estimate.confidence, 6)),
            "source": estimate.source,
            "reasons": list(estimate.reasons),
        }

    def _current(self, connection: Connection, at: datetime) -> EstimatorService:
        """Return the service of the champion and day; made anew when either changes."""
        day = int(at.timestamp()) // _SECONDS_A_DAY
        pointer = current(connection)
        wanted = (None if pointer is None else pointer.model_id, day)
        if self._service is None or self._served != wanted:
            champion, unreadable = load_champion(connection, self.store, at=at)
            prices = {DEFAULT_PRICE.price_id: DEFAULT_PRICE}
            v1 = read_v1(connection, day=day)
            self._service = EstimatorService(champion, prices, v1=v1, unreadable=unreadable)
            self._served = wanted
        return self._service
