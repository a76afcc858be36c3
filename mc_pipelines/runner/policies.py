"""The placement policy in force: which pack decides for whom, and one loaded engine a revision.

The runner does not know the rooms that move policies: it is given a function that names the pack. A rollback is
therefore in force with the next execution, and the engines of revisions that were used stay loaded for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import Connection

from mc_pipelines.decision.engine import PolicyEngine
from mc_pipelines.decision.packs import Pack, loaded
from mc_pipelines.foundation.ids import Digest, TenantId

PACK = "placement"


@dataclass(frozen=True, slots=True)
class InForce:
    """The placement policy of a tenant at a moment.

    Attributes:
        pack: decides.
        warns: a revision that only warns what it would deny, where one is being rolled out.
        version: of the pointer that says so; 0 where there is none. It stands in every decision, so that what was
            decided before a move can be told from what was decided after it.
    """

    pack: Pack
    warns: Pack | None = None
    version: int = 0


PackSource = Callable[[Connection, TenantId], InForce]
"""Returns the policy of a tenant now; called outside the event loop, so it may read a store."""


def shipped_pack(_connection: Connection, _tenant: TenantId) -> InForce:
    """Return the placement pack that this release carries: what decides where no pointer says otherwise."""
    return InForce(loaded(PACK))


@dataclass
class Policies:
    """Packs by tenant, engines by revision.

    Args:
        open_engine: loads a pack into an engine.
        source: names the pack.
    """

    open_engine: Callable[[Pack], PolicyEngine]
    source: PackSource = shipped_pack
    _engines: dict[Digest, PolicyEngine] = field(default_factory=dict, init=False)

    def engine(self, pack: Pack) -> PolicyEngine:
        """Return the engine of a pack; only ever in the thread of the event loop, since engines keep to one thread."""
        if pack.revision not in self._engines:
            self._engines[pack.revision] = self.open_engine(pack)
        return self._engines[pack.revision]
