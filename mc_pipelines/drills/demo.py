"""`mc demo`: ninety days of execution data through every room, ending with something a person can check.

Every step is idempotent, so a demo that was killed anywhere is finished by the next one, and a finished one changes
nothing. What a step did not have to do again it says.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Protocol

from mc_pipelines.composition import Context
from mc_pipelines.drills.control_plane import ControlPlane
from mc_pipelines.drills.demo_world import DemoPerson, create_contracts, create_facts, create_people, create_tenants
from mc_pipelines.drills.demo_world import manifests as demo_manifests
from mc_pipelines.foundation.errors import NotFoundError


class Progress(Protocol):
    """Told what happens, so that a person can watch."""

    def begin(self, step: str) -> None:
        """A step begins."""
        ...

    def done(self, step: str, text: str, *, changed: bool | None) -> None:
        """A step is done; ``changed`` is None where only Dagster knows (its runs are made anew each time)."""
        ...


STEPS = 16
"""How many steps there are, for a display that says how far it is; without documents or new notes one less each."""
_ROTATION_REASON = "mc demo"
_NOTES_TO_SIGN = 2
_LEASE_SECONDS = 60


@dataclass
class Made:
    """What the demo has to show.

    Attributes:
        origin: where the executions' facts came from.
        constructed: what of it an overlay made up.
        rows: tables for the end: name to (columns, rows).
    """

    origin: str = ""
    constructed: tuple[str, ...] = ()
    first_day: date | None = None
    last_day: date | None = None
    changed: bool = False
    rows: dict[str, tuple[tuple[str, ...], list[tuple[Any, ...]]]] = field(default_factory=dict)


@dataclass
class Demo:
    """The steps, in order, over one context.

    Args:
        context: database, stores, clock and signer.
        traces: Parquet traces; none simulates.
        documents: provenance documents to ingest; may be empty.
        environment: of the control plane's process.
        progress: told of every step.
    """

    context: Context
    traces: tuple[Path, ...]
    documents: tuple[Path, ...]
    environment: dict[str, str]
    progress: Progress
    made: Made = field(default_factory=Made)

    def run(self) -> Made:
        """Run every step; see the module."""
        log = self.context.settings.home_path / "logs" / "control-plane.log"
        with ControlPlane(self.environment, log) as control:
            people = self._people()
            self._facts()
            self._contracts()
            self._executions()
            self._start_rotation()
            self._start_rollout(people)
            self._provenance_documents()
            self._materialise(control)
            if self._sign(people):
                self._run(control, "credit notes", "sensor:issue_credits")
        self._sequence()
        return self.made

    def _people(self) -> dict[str, DemoPerson]:
        self.progress.begin("tenants and people")
        now = self.context.clock.now()
        folder = self.context.settings.home_path / "people"
        new = not folder.exists()
        with self.context.database.begin() as connection:
            create_tenants(connection, now)
            people = create_people(connection, folder, now)
        self._say("tenants and people", f"3 tenants, {len(people)} people with keys of their own", changed=new)
        return people

    def _facts(self) -> None:
        from mc_pipelines.executions.ingest import ingest_simulation, ingest_traces
        from mc_pipelines.executions.overlay import Overlay
        from mc_pipelines.executions.simulator import last_ninety_days

        self.progress.begin("execution facts")
        store, overlay = self.context.object_store, Overlay()
        if self.traces:
            reports = ingest_traces(store, self.traces, overlay)
        else:
            first = last_ninety_days(self.context.clock.now())
            reports = [ingest_simulation(store, first_day=first, overlay=overlay)]
        self.made.origin = ", ".join(one.origin for one in reports)
        self.made.constructed = reports[0].constructed
        self.made.first_day = min(one.first_day for one in reports)
        self.made.last_day = max(one.last_day for one in reports)
        rows, new = sum(one.rows for one in reports), sum(one.files_written for one in reports)
        days = (self.made.last_day - self.made.first_day).days + 1
        self._say("execution facts", f"{rows} rows of {days} days from {self.made.origin}", changed=new > 0)

    def _contracts(self) -> None:
        self.progress.begin("contracts and charges")
        first, last = self._days()
        now = self.context.clock.now()
        signer = self.context.signer
        with self.context.database.begin() as connection:
            create_contracts(connection, signer, first, now)
            new = create_facts(connection, first, last, now)
        self._say(
            "contracts and charges", "one SLA contract a tenant, charges of each month (constructed)", changed=new > 0
        )

    def _executions(self) -> None:
        from mc_pipelines.composition import local_runner
        from mc_pipelines.executions.manifest import manifest_of
        from mc_pipelines.runner.publish import publish

        self.progress.begin("executions")
        new = 0
        for document in demo_manifests():
            with self.context.database.begin() as connection:
                _, created = publish(connection, manifest_of(document), now=self.context.clock.now())
                new += created

        async def drain() -> int:
            dispatcher = local_runner(self.context)
            return await dispatcher.run_until_idle()

        ended = asyncio.run(drain())
        deadline = time.monotonic() + _LEASE_SECONDS
        while self._held() and time.monotonic() < deadline:
            time.sleep(1)  # a runner that was killed holds its executions until its leases run out
            ended += asyncio.run(drain())
        self._say(
            "executions",
            f"20 published, {ended} really executed now, each with a signed receipt",
            changed=new + ended > 0,
        )

    def _held(self) -> bool:
        from mc_pipelines.runner.queue import depth

        with self.context.database.begin() as connection:
            return any(depth(connection).values())

    def _start_rotation(self) -> None:
        from mc_pipelines.keys.rotation import Rotator, list_rotations

        self.progress.begin("key rotation")
        # A signing key that is held elsewhere is rotated there.
        key = "signer" if self.context.settings.signing_key_url is None else "kek"
        with self.context.database.begin() as connection:
            known = any(one.reason == _ROTATION_REASON for one in list_rotations(connection))
        if not known:
            rotator = Rotator(self.context.database, self.context.keyring, self.context.clock)
            rotator.plan(key, reason=_ROTATION_REASON)
        self._say("key rotation", f"of the key {key}, planned", changed=not known)

    def _start_rollout(self, people: dict[str, DemoPerson]) -> None:
        from mc_pipelines.attest.dsse import IN_TOTO_PAYLOAD_TYPE, sign
        from mc_pipelines.attest.key_history import service_keys
        from mc_pipelines.decision.packs import load_pack, read_pack
        from mc_pipelines.foundation.ids import uuid7
        from mc_pipelines.policy.bundles import build_bundle, store_bundle
        from mc_pipelines.policy.controller import list_rollouts, start_rollout
        from mc_pipelines.policy.proposal import Proposal

        self.progress.begin("policy rollout")
        context = self.context
        signer, now = context.signer, context.clock.now()
        with context.database.begin() as connection:
            if list_rollouts(connection):
                self._say("policy rollout", "under way", changed=False)
                return
            trusted = service_keys(connection)
        shipped = load_pack("placement")
        challenger = read_pack(self._challenger())
        for pack in (shipped, challenger):
            store_bundle(context.object_store, build_bundle(pack), signer, trusted=trusted)
        proposal = Proposal(uuid7(now), "placement", shipped.revision, challenger.revision)
        envelope = sign(proposal.payload, IN_TOTO_PAYLOAD_TYPE, [people["omar"].signer])
        with context.database.begin() as connection:
            start_rollout(connection, proposal, people["omar"].person, envelope, shipped=shipped.revision, now=now)
        text = "a placement pack with one more region begins in simulate, signed by omar"
        self._say("policy rollout", text, changed=True)

    def _challenger(self) -> Path:
        """Write the shipped pack with one more region into MC_HOME; return its folder."""
        from mc_pipelines.decision.packs import policy_root

        target = self.context.settings.home_path / "demo-policy" / "placement"
        shutil.copytree(policy_root(self.context.settings.policy_dir) / "placement", target, dirs_exist_ok=True)
        data = json.loads((target / "data.json").read_text())
        data["regions"]["AZURE"]["westeurope"] = {"geographies": ["eu", "nl"], "data_class": "confidential"}
        (target / "data.json").write_text(json.dumps(data, indent=2))
        return target

    def _provenance_documents(self) -> None:
        from mc_pipelines.composition import provenance_marking, provenance_trust
        from mc_pipelines.drills.demo_world import TENANTS
        from mc_pipelines.provenance.ingest import Document, ingest_documents

        self.progress.begin("provenance documents")
        tenant = TENANTS[0].tenant
        results = ingest_documents(
            self.context.database,
            tenant,
            (Document(path.name, path.read_bytes()) for path in self.documents),
            provenance_trust(self.context),
            clock=self.context.clock,
            marking=provenance_marking(self.context, tenant),
        )
        counted = Counter((one.status, (one.reason or "").partition(";")[0]) for one in results)
        if self.documents:
            refused = {why: count for (status, why), count in counted.most_common() if status == "refused"}
            reasons = ", ".join(f"{count} x {why}" for why, count in refused.items())
            count = sum(refused.values())
            text = f"{counted.total() - count} read, {count} refused" + (f": {reasons}" if reasons else "")
            self._say("provenance documents", text, changed=any(status == "accepted" for status, _ in counted))

    def _materialise(self, control: ControlPlane) -> None:
        first, last = self._days()
        first = max(first, self.context.settings.first_day)
        days = f"@{first}..{last}"
        self._run(control, "daily rollup", f"assets:execution_facts,sla_slices{days}")
        self._run(control, "attainment, breaches, drafts", "assets:sla_attainment,credit_drafts")
        self._run(control, "keys", "assets:key_inventory,key_rotations")
        self._run(control, "policy rollout", "sensor:advance_rollouts")
        self._run(control, "provenance graph", "assets:provenance_edges,provenance_generation")
        self._run(control, "showback", "assets:showback_costs")
        self._run(control, "estimator backtest", "assets:estimator_backtest")

    def _run(self, control: ControlPlane, name: str, step: str) -> None:
        self.progress.begin(name)
        reports = control.run(step)
        for report in reports:
            self._say(name, _run_in_words(report), changed=None)

    def _sign(self, people: dict[str, DemoPerson]) -> int:
        """Let the maker and the checker sign the first drafts, each on "their" side; return how many were signed."""
        from mc_pipelines.attest.dsse import sign
        from mc_pipelines.sla.draft_store import OPEN, list_drafts
        from mc_pipelines.sla.note_store import list_notes
        from mc_pipelines.sla.review import approve

        self.progress.begin("approvals")
        with self.context.database.begin() as connection:
            drafts = list_drafts(connection, state=OPEN)
            issued = len(list_notes(connection))
        wanted = [one for one in drafts if one.signatures_needed == 2][: max(0, _NOTES_TO_SIGN - issued)]  # noqa: PLR2004
        for draft in wanted:
            for subject in ("dana", "chen")[len(draft.signatures) :]:
                one = people[subject]
                envelope = sign(draft.payload, draft.envelope.payload_type, [one.signer])
                approve(self.context.database, self.context.clock, draft.draft_id, one.person, envelope)
        waiting = len(drafts) - len(wanted)
        text = f"{len(wanted)} drafts signed by dana (maker) and chen (checker), {waiting} still wait for people"
        self._say("approvals", text, changed=bool(wanted))
        return len(wanted)

    def _sequence(self) -> None:
        from mc_pipelines.attest.log import sequence

        while sequence(self.context.database, self.context.signer, self.context.clock):
            pass

    def _days(self) -> tuple[date, date]:
        if self.made.first_day is None or self.made.last_day is None:
            raise NotFoundError("There are no execution facts", mend="give traces with --data")
        return self.made.first_day, self.made.last_day

    def _say(self, name: str, text: str, *, changed: bool | None) -> None:
        self.made.changed = self.made.changed or bool(changed)
        self.progress.done(name, text, changed=changed)


def _run_in_words(report: dict[str, Any]) -> str:
    if "run_id" not in report:
        return f"nothing to do: {report['reason']}"
    checks: dict[str, bool] = report["checks"]
    warned = [name.partition(":")[2] for name, passed in checks.items() if not passed]  # what blocks ends the demo
    found = f", {sum(checks.values())} of {len(checks)} checks passed" if checks else ""
    warns = f"; for a person to look at: {', '.join(warned)}" if warned else ""
    return f"Dagster run {report['run_id'][:8]}, {report['seconds']} s{found}{warns}"


def demo_traces(given: Path | None, data_dir: Path) -> tuple[Path, ...]:
    """Return the traces to load: those given, else the replay of ninety-five days in the data folder, else none.

    Raises:
        NotFoundError: the given path holds no Parquet file.
    """
    if given is not None:
        found = tuple(sorted(given.glob("*.parquet"))) if given.is_dir() else (given,)
        if not found or not all(path.is_file() for path in found):
            raise NotFoundError("There is no Parquet trace", field="--data", value=str(given))
        return found
    replay = data_dir / "estimator" / "wfcommons_replay95d.parquet"
    return (replay,) if replay.is_file() else ()


def demo_documents(data_dir: Path) -> tuple[Path, ...]:
    """Return the CycloneDX and in-toto documents of the data folder, smallest first; none where it is absent."""
    folders = (data_dir / "provenance" / name for name in ("cyclonedx", "intoto", "slsa-gha"))
    return tuple(sorted(_files(folders), key=lambda path: (path.stat().st_size, path.name)))


def _files(folders: Iterator[Path]) -> Iterator[Path]:
    for folder in folders:
        if folder.is_dir():
            yield from (path for path in folder.rglob("*") if path.is_file())
