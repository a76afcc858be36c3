"""Who may read which claims: one question to the policy per request, then arithmetic per claim.

The policy answers with a filter (the highest classification, the purposes, the verification statuses), which
becomes a table over all labels and, for one snapshot, a byte per event. The walk looks at that byte while it
walks: a path through a hidden claim is no path, a count never counts it. No other tenant's claims are in
what is walked in the first place. When the policy gives no filter, nothing is read.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mc_pipelines.decision.engine import PolicyEngine
from mc_pipelines.foundation.canonical import digest_of
from mc_pipelines.foundation.errors import UnavailableError
from mc_pipelines.foundation.ids import Digest, TenantId
from mc_pipelines.provenance.labels import LABELS, classification_of, purposes_of, verification_of
from mc_pipelines.provenance.log_reader import FOREVER
from mc_pipelines.provenance.model import MAXIMUM_CLASSIFICATION, VERIFICATION_CODE, Purpose, VerificationStatus
from mc_pipelines.provenance.partition import Partition
from mc_pipelines.provenance.snapshot import Snapshot
from mc_pipelines.provenance.walk import Visible

QUERY = "data.graph.visible"
PRUNED = -1
"""The end of validity of a document that retention removed."""


@dataclass(frozen=True)
class Reader:
    """Who asks, from the verified credential.

    Attributes:
        tenant: whose graph is asked for.
        roles: the roles held.
        clearance: 0 to 3.
        purpose: what the answer is for.
        crossing: whether the graph is of a tenant that the reader does not act for.
    """

    tenant: TenantId
    roles: frozenset[str]
    clearance: int = 0
    purpose: Purpose = Purpose.OPERATIONS
    crossing: bool = False


@dataclass(frozen=True)
class Filter:
    """What may be read; made by the policy.

    Attributes:
        maximum_classification: the highest classification.
        purposes: a claim bound to purposes must name one of these.
        statuses: verification statuses of documents whose claims may be read.
        policy: digest of the policy that said so.
    """

    maximum_classification: int
    purposes: frozenset[str]
    statuses: frozenset[str]
    policy: Digest

    @cached_property
    def digest(self) -> Digest:
        """Names what this filter lets through and which policy said so."""
        return digest_of(
            {
                "classification": self.maximum_classification,
                "purposes": sorted(self.purposes),
                "statuses": sorted(self.statuses),
                "policy": self.policy,
            }
        )

    @cached_property
    def allowed(self) -> NDArray[Any]:
        """A byte per label: whether claims under it may be read."""
        codes = {VERIFICATION_CODE[status] for status in self.statuses}
        return np.array(
            [
                classification_of(label) <= self.maximum_classification
                and verification_of(label) in codes
                and (not purposes_of(label) or bool(purposes_of(label) & self.purposes))
                for label in range(LABELS)
            ],
            dtype=np.uint8,
        )

    def narrowed(self, statuses: Collection[str]) -> Filter:
        """Return the filter that also keeps to ``statuses``."""
        return Filter(self.maximum_classification, self.purposes, self.statuses & frozenset(statuses), self.policy)


EVERYTHING = Filter(
    MAXIMUM_CLASSIFICATION, frozenset(Purpose), frozenset(VerificationStatus), Digest("sha256:" + "0" * 64)
)
"""For work of the system itself (retention, checks), never for a person's request."""


def decide(engine: PolicyEngine, revision: Digest, reader: Reader) -> Filter:
    """Ask the policy what ``reader`` may read.

    Raises:
        UnavailableError: the policy gave no filter, or one that means nothing here; nothing may be read.
    """
    verdict = engine.evaluate(
        QUERY,
        {
            "tenant": reader.tenant,
            "caller": {
                "roles": sorted(reader.roles),
                "clearance": reader.clearance,
                "purpose": reader.purpose.value,
                "crossing": reader.crossing,
            },
        },
    )
    answer = verdict.require()
    try:
        highest, purposes, statuses = answer["max_classification"], answer["purposes"], answer["statuses"]
        known = set(purposes) <= set(Purpose) and set(statuses) <= set(VerificationStatus)
        well_formed = known and isinstance(highest, int) and -1 <= highest <= MAXIMUM_CLASSIFICATION
    except (KeyError, TypeError):
        well_formed = False
    if not well_formed:
        raise UnavailableError("The graph policy gave no usable filter", mend="see policy/graph/README.md")
    return Filter(highest, frozenset(purposes), frozenset(statuses), revision)


@dataclass(frozen=True)
class View:
    """What one filter shows of a snapshot at one moment.

    Attributes:
        visible: a byte per event.
        since: the last moment at which something began or ended, microseconds since 1970.
        until: the next such moment; the view holds until then.
        position: the events up to which it reads (tenant's, shared).
        derived: what was worked out from it by name, for the pages of one answer; it goes with the view.
    """

    visible: Visible
    since: int
    until: int
    position: tuple[int, int]
    derived: dict[tuple[Any, ...], Any] = field(default_factory=dict, repr=False, compare=False)


def view_of(snapshot: Snapshot, allowed: Filter, *, valid_at: int, position: tuple[int, int] | None = None) -> View:
    """Return what ``allowed`` shows of a snapshot.

    Args:
        snapshot: the graph.
        allowed: what may be read.
        valid_at: the moment at which claims must hold, microseconds since 1970.
        position: read as it was known after these events; None = all the snapshot has.
    """
    at = position or snapshot.position
    own = _events(snapshot.own, allowed, valid_at, at[0])
    shared = _NO_EVENTS if snapshot.shared is None else _events(snapshot.shared, allowed, valid_at, at[1])
    return View(
        Visible(own.shown, shared.shown, own.everything and shared.everything),
        max(own.since, shared.since),
        min(own.until, shared.until),
        at,
    )


class _Events(NamedTuple):
    """What a filter shows of a partition's events, and between which moments that holds."""

    shown: NDArray[Any]
    everything: bool
    since: int
    until: int


_NO_EVENTS = _Events(np.zeros(1, dtype=np.uint8), everything=True, since=0, until=int(FOREVER))
_NO_EVENTS.shown.flags.writeable = False


def _events(partition: Partition, allowed: Filter, valid_at: int, upto: int) -> _Events:
    shown, everything, since, until = [], True, 0, int(FOREVER)
    base = {} if partition.base is None else partition.base.sections
    for documents in (base, partition.recent):  # millions of events: neither sorted nor joined
        if not documents:
            continue
        begin, end = documents["doc_valid_from"], documents["doc_valid_to"]
        standing = documents["doc_standing"] != 0
        may = allowed.allowed[documents["doc_label"]] != 0
        mask = standing & may & (begin <= valid_at) & (valid_at < end)
        everything = everything and bool(np.array_equal(mask, standing))
        for times in (begin, end):
            since, until = _around(times, standing, valid_at, since, until)
        shown.append(mask)
    mask = np.concatenate(shown)
    ended = partition.closures
    effective = (ended.seq <= upto) & (ended.valid_to <= valid_at)
    # What was pruned is gone whatever moment is asked for; a generation has dropped it already, an older one has not.
    hidden = ended.closed_seq[effective | (ended.valid_to == PRUNED)]
    everything = everything and upto + 1 >= len(mask) and not bool(np.any(mask[hidden]))
    mask[upto + 1 :] = False
    mask[hidden] = False
    since, until = _around(ended.valid_to, ended.valid_to > 0, valid_at, since, until)
    bytes_ = mask.view(np.uint8)
    bytes_.flags.writeable = False
    return _Events(bytes_, everything, since, until)


def _around(times: NDArray[Any], count: NDArray[Any], moment: int, since: int, until: int) -> tuple[int, int]:
    """Narrow the moments between which nothing begins or ends to those of ``times``."""
    past = int(np.max(times, where=count & (times <= moment), initial=since))
    future = int(np.min(times, where=count & (times > moment), initial=until))
    return past, future
