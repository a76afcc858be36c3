"""A rollout seen from the other side: what a runner in another process decides in each phase, and after an abort."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from mc_pipelines.attest.dsse import Envelope
from mc_pipelines.attest.key_history import service_keys
from mc_pipelines.attest.statement import statement_of
from mc_pipelines.composition import Context
from mc_pipelines.decision.packs import Pack, load_pack, revision_of
from mc_pipelines.executions.manifest import manifest_of
from mc_pipelines.executions.records import get_receipt
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.foundation.settings import load_settings
from mc_pipelines.foundation.tenants import Tenant, put_tenant
from mc_pipelines.policy.bundles import build_bundle, store_bundle
from mc_pipelines.policy.controller import abort_rollout, approve_rollout, get_rollout, tick
from mc_pipelines.policy.pointers import get_pointer
from mc_pipelines.policy.proposal import Proposal
from mc_pipelines.policy.rollout import Phase, Rollout
from mc_pipelines.runner.publish import publish
from mc_pipelines_tests.conftest import TestDatabase
from mc_pipelines_tests.policy.people import begin, propose, register
from mc_pipelines_tests.policy.test_controller import evidence, stable

pytestmark = [
    pytest.mark.database,
    pytest.mark.skipif(sys.platform != "linux", reason="the local driver's sandbox is Linux's"),
]
_PATIENCE_SECONDS = 60


@dataclass
class Plane:
    """A running runner, and what it decided."""

    database: TestDatabase
    context: Context
    home: Path
    published: int = 0

    def run(self) -> dict[str, Any]:
        """Publish one execution, wait for its end, return its outcome and what its receipt says of its placement."""
        self.published += 1
        document = {"tenant": "acme", "workflow": "w", "argv": ["true"], "idempotency_key": f"k{self.published}"}
        with self.context.database.begin() as connection:
            execution_id, _ = publish(connection, manifest_of(document), now=self.context.clock.now())
        own: dict[str, Any] = self._receipt(execution_id)["maestro"]
        return own["placement"] | {"outcome": own["outcome"]}

    def _receipt(self, execution_id: UUID) -> dict[str, Any]:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            with self.context.database.begin() as connection:
                found = get_receipt(connection, execution_id)
            if found is not None:
                break
            assert time.monotonic() < deadline, (self.home / "runner.log").read_text()
            time.sleep(0.02)
        content = self.context.encrypted_store.get(found.path, tenant="acme")
        return dict(statement_of(Envelope.from_json(content)).predicate)

    def advance(self, rollout: Rollout) -> Rollout:
        """Give the step the evidence it needs and let the controller move it."""
        evidence(self.database, rollout)
        assert len(tick(self.context.database, self.context.clock, budget=stable)) == 1
        with self.context.database.begin() as connection:
            return get_rollout(connection, rollout.rollout_id)


@pytest.fixture
def plane(database: TestDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plane]:
    monkeypatch.setenv("MC_DATABASE_URL", database.app.url)
    monkeypatch.setenv("MC_HOME", str(tmp_path))
    load_settings.cache_clear()
    context = Context(load_settings(), database.app)
    with database.app.begin() as connection:
        put_tenant(connection, Tenant(TenantId("acme"), "UTC", "USD", residency=("local",)), now=context.clock.now())
    assert context.signer.key_id, "the key exists before the runner asks for it"
    with (tmp_path / "runner.log").open("wb") as log:
        command = [sys.executable, "-m", "mc_pipelines.cli.main", "runner", "serve"]
        process = subprocess.Popen(command, env=os.environ.copy(), stdout=log, stderr=subprocess.STDOUT)
    try:
        yield Plane(database, context, tmp_path)
    finally:
        process.terminate()
        assert process.wait(timeout=30) == 0


def without_this_machine() -> Pack:
    """The shipped pack, but this machine is on its list no more: it denies everything here."""
    shipped = load_pack("placement")
    regions = {name: each for name, each in shipped.data["regions"].items() if name != "LOCAL"}
    data = shipped.data | {"regions": regions}
    return replace(shipped, data=data, revision=revision_of(shipped.modules, "placement", data))


def test_warn_annotates_enforce_denies_and_an_abort_is_followed(plane: Plane) -> None:
    context = plane.context
    shipped, challenger = load_pack("placement"), without_this_machine()
    with context.database.begin() as connection:
        trusted = service_keys(connection)
        now = context.clock.now()
        ada, sara = (register(connection, *who, now=now) for who in (("ada", "operator"), ("sara", "security")))
    for pack in (shipped, challenger):
        store_bundle(context.object_store, build_bundle(pack), context.signer, trusted=trusted)
    before = plane.run()
    assert (before["outcome"], before["pack"], before["pointer"]) == ("succeeded", shipped.revision, 0)

    proposal = propose(shipped.revision, challenger.revision, now=context.clock.now())
    with context.database.begin() as connection:
        rollout = begin(connection, ada, proposal, now=context.clock.now())
    simulated = plane.run()
    assert (simulated["outcome"], simulated["pack"]) == ("succeeded", shipped.revision)
    assert "warning" not in simulated, "in simulate nobody notices"

    rollout = plane.advance(rollout)
    assert rollout.phase is Phase.WARN
    warned = plane.run()
    assert (warned["outcome"], warned["pack"]) == ("succeeded", shipped.revision), "a warning hinders nothing"
    assert warned["warning"]["revision"] == challenger.revision
    (denial,) = warned["warning"]["wouldDeny"]
    assert (denial["candidate"], denial["rule"]) == ("LOCAL/local", "region")
    assert denial["fix"]

    approve_rollout(context.database, context.clock, rollout.rollout_id, sara.person, sara.sign(Proposal.of(rollout)))
    while rollout.percent < 100:
        rollout = plane.advance(rollout)
    denied = plane.run()
    assert (denied["outcome"], denied["pack"], denied["chosen"]) == ("denied", challenger.revision, None)
    assert denied["denied"][0]["rule"] == "region"

    with context.database.begin() as connection:
        abort_rollout(
            connection, rollout.rollout_id, reason="it denies this machine", by="ada", now=context.clock.now()
        )
    began = time.monotonic()
    after = plane.run()
    assert (after["outcome"], after["pack"]) == ("succeeded", shipped.revision), "the next decision is the old pack's"
    assert time.monotonic() - began < _PATIENCE_SECONDS
    with context.database.begin() as connection:
        pointer = get_pointer(connection, "placement")
    assert pointer is not None
    assert denied["pointer"] < after["pointer"] == pointer.version, "the fence tells before from after"
