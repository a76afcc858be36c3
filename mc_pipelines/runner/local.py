"""Wires a dispatcher of this machine: the local driver, the placement policy, our store and our signer."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any

from mc_pipelines.attest.signer import Signer
from mc_pipelines.decision.engine import open_engine
from mc_pipelines.foundation.clock import Clock
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.object_store import ObjectStore
from mc_pipelines.foundation.settings import Settings
from mc_pipelines.runner.conductor import Conductor
from mc_pipelines.runner.dispatcher import Dispatcher
from mc_pipelines.runner.drivers.local import LocalDriver
from mc_pipelines.runner.policies import PackSource, Policies, shipped_pack
from mc_pipelines.runner.price import LOCAL_PRICES
from mc_pipelines.runner.sealing import SealedStore, Sealer


def local_dispatcher(
    settings: Settings,
    *,
    database: Database,
    store: ObjectStore,
    sealed: SealedStore,
    signer: Callable[[], Signer],
    clock: Clock,
    packs: PackSource = shipped_pack,
    **options: Any,
) -> Dispatcher:
    """Return a dispatcher that runs on this machine; make it in the thread whose event loop runs it.

    Args:
        settings: say which policy engine evaluates.
        database: as mc_app.
        store: the plain store.
        sealed: of receipts, logs and input files.
        signer: of receipts, asked anew for each.
        clock: the present.
        packs: names the placement pack in force for a tenant.
        **options: of :class:`Dispatcher`, such as ``lease``.
    """
    conductor = Conductor(
        database,
        store,
        Sealer(sealed, signer, store.delete),
        [LocalDriver(clock, house=sha256(database.safe_url.encode()).hexdigest()[:12])],
        Policies(lambda pack: open_engine(settings, pack), packs),
        LOCAL_PRICES,
        clock,
    )
    return Dispatcher(conductor, **options)
