"""The contract of every driver: how an attempt of an execution gets to a machine and what comes back.

A driver says honestly what it can enforce (:class:`Capabilities`) and, for each attempt, what really was
enforced and how that was seen (:class:`Enforcement`). An attempt is named by its id: executing the same
attempt twice starts it once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID


class StartClass(StrEnum):
    """Whether capacity waits for the execution or is made for it; the start objective is on WARM."""

    WARM = "warm"
    COLD = "cold"


class Egress(StrEnum):
    """How far the network reaches."""

    NONE = "none"
    OPEN = "open"
    IP = "ip"
    FQDN = "fqdn"


class End(StrEnum):
    """How an attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    LOST = "lost"
    REFUSED = "refused"
    """Not started: what it needs could not be enforced, or the command does not exist."""


@dataclass(frozen=True, slots=True)
class Control:
    """One protection: whether it held when it was tried, by which mechanism, and the mend if it did not."""

    enforced: bool
    mechanism: str
    evidence: str
    mend: str | None = None


@dataclass(frozen=True, slots=True)
class Enforcement:
    """What was enforced around one attempt; every entry was tried from inside before the command began."""

    read_only_root: Control
    egress: Control
    file_reads: Control
    limits: Control
    privileges: Control

    def document(self) -> dict[str, dict[str, object]]:
        """Return the enforcement as a receipt carries it."""
        return {
            name: {
                "enforced": control.enforced,
                "mechanism": control.mechanism,
                "evidence": control.evidence,
                **({"mend": control.mend} if control.mend else {}),
            }
            for name, control in (
                ("readOnlyRoot", self.read_only_root),
                ("egress", self.egress),
                ("fileReads", self.file_reads),
                ("limits", self.limits),
                ("privileges", self.privileges),
            )
        }


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a driver can do in one region; placement compares it with what an execution needs."""

    read_only_root: bool
    egress: frozenset[Egress]
    start_class: StartClass
    log_bytes: int
    """Most bytes of output that are kept."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one attempt."""

    wall_seconds: float = 60
    cpu_seconds: int = 60
    memory_bytes: int = 1 << 30
    processes: int = 64
    file_bytes: int = 256 << 20
    log_bytes: int = 1 << 20


@dataclass(frozen=True, slots=True)
class Work:
    """One attempt to run.

    Attributes:
        attempt_id: names the attempt for ever; executing it twice starts it once.
        argv: the command; its first element is looked up in PATH inside the sandbox.
        environment: the only variables the command sees, beside PATH, HOME and TMPDIR.
        files: relative path to content; written into the working folder before the start.
    """

    attempt_id: UUID
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    needs_read_only_root: bool = True
    egress: Egress = Egress.NONE
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one attempt.

    Attributes:
        exit_code: the command's own; 128 + n for signal n; None where it never ran.
        reason: one sentence for a person.
        started_at, finished_at: aware UTC; the start is that of the command, after all probes.
        cpu_seconds: user and system time of the command and all its children.
        log: standard output and error, interleaved as written.
    """

    end: End
    exit_code: int | None
    reason: str
    started_at: datetime | None
    finished_at: datetime
    cpu_seconds: float
    log: bytes
    log_truncated: bool
    enforcement: Enforcement


class Driver(Protocol):
    """A place that executions run on."""

    cloud: str
    region: str
    version: str

    async def capabilities(self) -> Capabilities:
        """Return what this place enforces, as tried and not as promised."""
        ...

    def slot(self) -> AbstractAsyncContextManager[object]:
        """Return room for one attempt, entered once there is some: what waits here has not been started."""
        ...

    async def execute(self, work: Work) -> Outcome:
        """Run one attempt to its end; a cancelled task ends the attempt and everything it started."""
        ...

    async def cancel(self, attempt_id: UUID, reason: str) -> bool:
        """End an attempt; return False if it is not running here."""
        ...

    async def reap(self, live: Callable[[], frozenset[UUID]]) -> tuple[UUID, ...]:
        """End and forget attempts left behind by a runner that died; return them.

        Args:
            live: returns the attempts that a living runner holds. Asked only after the attempts that are here were
                listed, from another thread: one that starts in between is not listed, so it is not ended.
        """
        ...
