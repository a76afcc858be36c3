"""The receipt of an execution: SLSA provenance v1 of what ran, with our own fields beside it.

Shape: the predicate of an in-toto Statement v1 with predicate type ``https://slsa.dev/provenance/v1``. Verifiers of
SLSA provenance read ``buildDefinition`` and ``runDetails``; ours read ``maestro`` too. Times are RFC 3339 UTC,
durations integer milliseconds, money integer minor units. The runner signs it (DSSE) and seals it (MCE1).
The subject is the log of the execution, because that is what the execution made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from mc_pipelines.executions.manifest import Manifest, without_values
from mc_pipelines.foundation.canonical import sha256_digest
from mc_pipelines.foundation.clock import rfc3339
from mc_pipelines.foundation.ids import Digest

PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "https://maestro-conductor.example/execution/v1"
BUILDER_BASE = "https://maestro-conductor.example/runner"


@dataclass(frozen=True, slots=True)
class Timings:
    """When each step was; the execution's clock starts at publish, before the queue."""

    published: datetime
    claimed: datetime | None
    started: datetime | None
    finished: datetime

    def document(self) -> dict[str, str]:
        """Return the moments there are."""
        moments = (
            ("published", self.published),
            ("claimed", self.claimed),
            ("started", self.started),
            ("finished", self.finished),
        )
        return {name: rfc3339(moment) for name, moment in moments if moment is not None}


@dataclass(frozen=True, slots=True)
class Receipt:
    """All that a receipt says.

    Attributes:
        attempts: every attempt and its end, in order; the last one is the one that counts.
        placement: the placement decision, with the digests of its pack, prices and input; empty where none was made.
        enforcement: what was enforced around the command, by which mechanism, as seen by probes; None where
            nothing ran.
        cost: ``{resourceMilliseconds, priceId, minor, currency}``; only the first where nothing was charged.
    """

    execution_id: UUID
    attempt: int
    fence: int
    manifest: Manifest
    cloud: str | None
    region: str | None
    driver: str
    outcome: str
    reason: str
    exit_code: int | None
    timings: Timings
    log: bytes
    log_truncated: bool
    placement: Mapping[str, Any]
    enforcement: Mapping[str, Any] | None
    cost: Mapping[str, Any]
    fault_owner: str
    attempts: tuple[Mapping[str, Any], ...] = field(default=())

    @property
    def log_digest(self) -> Digest:
        """The digest of the output kept."""
        return sha256_digest(self.log)

    @property
    def subject_name(self) -> str:
        """What the statement calls its subject."""
        return f"execution/{self.execution_id}/log"

    def predicate(self) -> dict[str, Any]:
        """Return the predicate; values of the environment are secrets of the tenant and stay out."""
        parameters = without_values(self.manifest.document())
        inputs = [
            {"name": file.path, "digest": {"sha256": file.digest.removeprefix("sha256:")}}
            for file in self.manifest.inputs
        ]
        if self.manifest.image is not None:
            image = self.manifest.image
            inputs.insert(0, {"name": image.name, "digest": {"sha256": image.digest.removeprefix("sha256:")}})
        run: dict[str, Any] = {"invocationId": f"{self.execution_id}/{self.attempt}"}
        if self.timings.started is not None:
            run["startedOn"] = rfc3339(self.timings.started)
        run["finishedOn"] = rfc3339(self.timings.finished)
        return {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": parameters,
                "internalParameters": {"manifestDigest": self.manifest.digest},
                "resolvedDependencies": inputs,
            },
            "runDetails": {"builder": {"id": f"{BUILDER_BASE}/{self.driver}"}, "metadata": run},
            "maestro": self._own_fields(),
        }

    def _own_fields(self) -> dict[str, Any]:
        return {
            "executionId": str(self.execution_id),
            "tenant": self.manifest.tenant,
            "attempt": self.attempt,
            "fence": self.fence,
            "attempts": [dict(one) for one in self.attempts],
            "cloud": self.cloud,
            "region": self.region,
            "outcome": self.outcome,
            "reason": self.reason,
            "faultOwner": self.fault_owner,
            "exitCode": self.exit_code,
            "placement": dict(self.placement),
            "enforcement": None if self.enforcement is None else dict(self.enforcement),
            "log": {"digest": self.log_digest, "bytes": len(self.log), "truncated": self.log_truncated},
            "timings": self.timings.document(),
            "cost": dict(self.cost),
        }
