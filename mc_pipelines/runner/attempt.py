"""Pure steps of one attempt: what a driver is asked, what its outcome means, what the facts and the receipt say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from mc_pipelines.executions.fact_schema import FaultOwner, Known, Source
from mc_pipelines.executions.fact_schema import Outcome as FactOutcome
from mc_pipelines.executions.facts import feature
from mc_pipelines.executions.manifest import Manifest
from mc_pipelines.executions.receipt import Receipt, Timings
from mc_pipelines.executions.records import Published, State
from mc_pipelines.foundation.clock import rfc3339
from mc_pipelines.foundation.ids import Digest
from mc_pipelines.runner.driver import Egress, End, Enforcement, Limits, Work
from mc_pipelines.runner.placement import Candidate
from mc_pipelines.runner.price import Price
from mc_pipelines.runner.queue import Claim

_ATTEMPTS = UUID("6f7a8e0c-6f0f-5d5e-9b1f-0f0d5c1f9c11")
_MOMENTS = ("published_at", "started_at", "finished_at", "recorded_at")


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt ended, in the words of states and facts."""

    state: State
    fault: FaultOwner
    reason: str
    exit_code: int | None
    started_at: datetime | None
    finished_at: datetime
    log: bytes = b""
    log_truncated: bool = False
    enforcement: Enforcement | None = None


def attempt_id(execution_id: UUID, attempt: int) -> UUID:
    """Return the id under which a driver starts this attempt at most once."""
    return uuid5(_ATTEMPTS, f"{execution_id}/{attempt}")


def work_of(manifest: Manifest, claim: Claim, files: Mapping[str, bytes]) -> Work:
    """Return what the driver is asked to run."""
    resources = manifest.resources
    cores = -(-resources.cpu_millis // 1000)
    return Work(
        attempt_id=attempt_id(claim.execution_id, claim.attempt),
        argv=manifest.argv,
        environment=manifest.environment,
        files=files,
        needs_read_only_root=manifest.needs.read_only_root,
        egress=Egress(manifest.needs.egress),
        limits=Limits(
            wall_seconds=resources.wall_seconds,
            cpu_seconds=resources.wall_seconds * cores,
            memory_bytes=resources.memory_mib << 20,
            processes=resources.processes,
        ),
    )


def meaning(end: End, enforcement: Enforcement) -> tuple[State, FaultOwner]:
    """Return the state and whose fault it was; a refusal is ours unless all protections held."""
    if end is End.REFUSED:
        held = enforcement.read_only_root.enforced and enforcement.privileges.enforced
        return State.FAILED, FaultOwner.CUSTOMER if held else FaultOwner.PROVIDER
    return {
        End.SUCCEEDED: (State.SUCCEEDED, FaultOwner.NONE),
        End.FAILED: (State.FAILED, FaultOwner.CUSTOMER),
        End.TIMED_OUT: (State.FAILED, FaultOwner.CUSTOMER),
        End.CANCELLED: (State.CANCELLED, FaultOwner.NONE),
        End.LOST: (State.LOST, FaultOwner.PROVIDER),
    }[end]


def resource_milliseconds(manifest: Manifest, ending: Ending) -> int:
    """Return allocated core-milliseconds between start and end."""
    if ending.started_at is None:
        return 0
    elapsed = ending.finished_at - ending.started_at
    wall = max(int(elapsed.total_seconds() * 1000), 0)
    return wall * manifest.resources.cpu_millis // 1000


def receipt_of(
    published: Published,
    manifest: Manifest,
    claim: Claim,
    ending: Ending,
    *,
    place: Candidate | None,
    driver: str,
    price: Price | None,
    placement: Mapping[str, Any],
    attempts: Sequence[Mapping[str, Any]],
) -> Receipt:
    """Return the receipt of an ended execution."""
    spent = resource_milliseconds(manifest, ending)
    cost: dict[str, Any] = {"resourceMilliseconds": spent}
    if price is not None:
        cost |= {"priceId": price.price_id, "currency": price.currency, "minor": price.charge(spent)}
    return Receipt(
        execution_id=published.execution_id,
        attempt=claim.attempt,
        fence=claim.fence,
        manifest=manifest,
        cloud=None if place is None else place.cloud,
        region=None if place is None else place.region,
        driver=driver,
        outcome=str(ending.state),
        reason=ending.reason,
        exit_code=ending.exit_code,
        timings=Timings(published.published_at, claim.claimed_at, ending.started_at, ending.finished_at),
        log=ending.log,
        log_truncated=ending.log_truncated,
        placement=placement,
        enforcement=None if ending.enforcement is None else ending.enforcement.document(),
        cost=cost,
        fault_owner=str(ending.fault),
        attempts=tuple(attempts),
    )


def fact_payload(
    published: Published,
    receipt: Receipt,
    ending: Ending,
    *,
    currency: str,
    digest: Digest,
    recorded_at: datetime,
    estimate_id: str | None = None,
) -> dict[str, Any]:
    """Return the execution's row of facts as JSON, for the outbox."""
    resources = receipt.manifest.resources
    return {
        "execution_id": str(published.execution_id),
        "attempt": receipt.attempt,
        "tenant": published.tenant,
        "workflow": published.workflow,
        "service": published.service,
        "cloud": receipt.cloud or "NONE",
        "region": receipt.region or "none",
        "published_at": rfc3339(published.published_at),
        "started_at": None if ending.started_at is None else rfc3339(ending.started_at),
        "finished_at": rfc3339(ending.finished_at),
        "outcome": str(FactOutcome(str(ending.state))),
        "fault_owner": str(ending.fault),
        "excluded_reason": None,
        "resource_seconds": receipt.cost["resourceMilliseconds"] / 1000,
        "price_id": receipt.cost.get("priceId"),
        "cost_minor": receipt.cost.get("minor", 0),
        "currency": receipt.cost.get("currency", currency),
        "estimate_id": estimate_id,
        "receipt_digest": digest,
        "features": [
            feature("cores", resources.cpu_millis / 1000, Known.SUBMIT),
            feature("memory_mib", resources.memory_mib, Known.SUBMIT),
            feature("n_inputs", len(receipt.manifest.inputs), Known.SUBMIT),
        ],
        "source": Source.REAL.value,
        "recorded_at": rfc3339(recorded_at),
    }


def fact_row(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of facts from its JSON."""
    row = dict(payload)
    for name in _MOMENTS:
        if row[name] is not None:
            row[name] = datetime.fromisoformat(row[name])
    return row
