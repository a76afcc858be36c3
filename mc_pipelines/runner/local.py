"""Wires a dispatcher of this machine: the local driver, the placement pack, our store and our signer."""

from __future__ import annotations

from collections.abc import Callable

from mc_pipelines.attest.signer import Signer
from mc_pipelines.decision.engine import open_engine
from mc_pipelines.decision.packs import load_pack
from mc_pipelines.foundation.clock import Clock
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.object_store import ObjectStore
from mc_pipelines.foundation.settings import Settings
from mc_pipelines.runner.dispatcher import Dispatcher
from mc_pipelines.runner.drivers.local import LocalDriver
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
) -> Dispatcher:
    """Return a dispatcher that runs on this machine; make it in the thread whose event loop runs it."""
    pack = load_pack("placement")
    return Dispatcher(
        database,
        store,
        Sealer(sealed, signer),
        [LocalDriver(clock)],
        open_engine(settings, pack),
        pack.revision,
        LOCAL_PRICES,
        clock,
    )
