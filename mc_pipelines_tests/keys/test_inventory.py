"""The inventory counts what depends on each key version."""

from datetime import timedelta
from pathlib import Path

import pytest

from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.object_store import open_object_store
from mc_pipelines.keys.inventory import CRYPTOPERIOD, take_inventory
from mc_pipelines.keys.provider import KEK_KEY
from mc_pipelines.keys.providers.local import LocalKeyring
from mc_pipelines.keys.rewrap import rewrap
from mc_pipelines.keys.signers import active_signer
from mc_pipelines.keys.store import EncryptedObjectStore
from mc_pipelines_tests.conftest import TestDatabase

pytestmark = pytest.mark.database


def test_it_says_what_would_be_lost_with_each_version(
    database: TestDatabase, clock: FrozenClock, tmp_path: Path
) -> None:
    keyring = LocalKeyring(tmp_path / "keyring.json", clock=clock)
    active_signer(database.app, keyring, clock)
    store = EncryptedObjectStore(open_object_store(f"file://{tmp_path}/o"), keyring, database.app, clock=clock)
    for tenant in ("acme", "umbra"):
        path = f"receipts/{tenant}/r"
        store.put(path, b"x", tenant=tenant, kind="receipt", object_id="r", content_type="text/plain")

    def counts() -> dict[str, tuple[int | None, int | None]]:
        with database.app.begin() as connection:
            return {one.version.ref: (one.data_keys, one.sole_data_keys) for one in take_inventory(connection, keyring)}

    assert counts() == {"local:kek/1": (2, 2), "local:signer/1": (None, None)}
    new = keyring.promote(keyring.rotate(KEK_KEY, token="t").ref)
    rewrap(database.app, keyring, clock, key=KEK_KEY, old_ref="local:kek/1", new_ref=new.ref)
    assert counts() == {"local:kek/1": (2, 0), "local:kek/2": (2, 0), "local:signer/1": (None, None)}

    with database.app.begin() as connection:
        entries = {one.version.ref: one for one in take_inventory(connection, keyring)}
    limit = clock.now() + CRYPTOPERIOD
    assert entries["local:kek/2"].due(limit)
    assert not entries["local:kek/2"].due(limit - timedelta(seconds=1))
    assert not entries["local:kek/1"].due(limit)
