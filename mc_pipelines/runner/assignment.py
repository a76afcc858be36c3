"""What the dispatcher hands to the conductor: a claim with what was read for it, and the plan made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mc_pipelines.executions.manifest import Manifest
from mc_pipelines.executions.records import Published
from mc_pipelines.foundation.errors import MaestroError
from mc_pipelines.foundation.tenants import Tenant
from mc_pipelines.runner.placement import Placement
from mc_pipelines.runner.policies import InForce
from mc_pipelines.runner.queue import Claim


class Cause(StrEnum):
    """Why an attempt counts no more although the execution has not ended."""

    LEASE = "lease"
    ERROR = "error"
    UNREADABLE = "unreadable"
    """What decides about it (tenant, policy) could not be read: it waits, and that never counts against it."""
    STOPPED = "stopped"
    """The runner was told to stop: nobody's failure, so it does not count towards the most attempts."""


@dataclass(frozen=True, slots=True)
class World:
    """What is read once for all claims of a tenant in a batch."""

    tenant: Tenant
    policy: InForce
    flags: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class Assignment:
    """One claim with what is needed to conduct it; ``world`` is an error where it could not be read."""

    claim: Claim
    published: Published
    world: World | MaestroError


@dataclass(frozen=True, slots=True)
class Plan:
    """Where an execution runs, or why nowhere; the last decision counts."""

    manifest: Manifest
    decisions: Sequence[Placement]
