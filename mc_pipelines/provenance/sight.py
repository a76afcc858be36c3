"""What compiled walks look at: a snapshot and what of it may be seen, in one value."""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy.typing import NDArray

from mc_pipelines.provenance.snapshot import Common, Part, Snapshot
from mc_pipelines.provenance.walk import Visible

Array = NDArray[Any]


class Sight(NamedTuple):
    """A snapshot as one view shows it.

    Attributes:
        own_nodes: numbers below are the tenant's own, those from there on are shared ones.
        part: the tenant's partition.
        shared: the shared one.
        common: which nodes they have in common.
        everything: whether nothing is hidden.
        own_mask: a byte per event of the tenant: whether it may be read.
        shared_mask: the same for the shared partition.
        degrees: how many visible entries hubs have, as walks have counted them.
    """

    own_nodes: int
    part: Part
    shared: Part
    common: Common
    everything: bool
    own_mask: Array
    shared_mask: Array
    degrees: Array


def sight_of(snapshot: Snapshot, visible: Visible) -> Sight:
    """Return what compiled walks look at."""
    return Sight(
        snapshot.own.nodes,
        snapshot.part,
        snapshot.shared_part,
        snapshot.common,
        visible.everything,
        visible.own,
        visible.shared,
        visible.degrees,
    )
