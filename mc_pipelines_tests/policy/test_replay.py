"""Evidence from the decision log: a real pack, a real change, closed windows once."""

from dataclasses import replace
from datetime import timedelta

import pytest

from mc_pipelines.attest.signer import LocalSigner
from mc_pipelines.decision.engine import Verdict
from mc_pipelines.decision.log import DecisionRecord, decision_record, record_decisions
from mc_pipelines.decision.packs import load_pack, revision_of
from mc_pipelines.decision.regorus_engine import RegorusEngine
from mc_pipelines.foundation.errors import VerificationError
from mc_pipelines.foundation.ids import uuid7
from mc_pipelines.foundation.object_store import open_object_store
from mc_pipelines.policy.bundles import build_bundle, bundle_path, store_bundle
from mc_pipelines.policy.controller import counts_of, gate_of, tick
from mc_pipelines.policy.replay import collect_evidence, replay
from mc_pipelines.policy.rollout import Act
from mc_pipelines_tests.policy.people import begin, propose, register


def request(workflow: str, region: str = "us-east-1", **more: object) -> dict[str, object]:
    candidate = {
        "cloud": "AWS",
        "region": region,
        "capabilities": {"read_only_root": True, "egress": ["none"]},
        "drained": False,
        "quota_left": 1,
    }
    return {
        "tenant": "acme",
        "workflow": workflow,
        "data_class": "internal",
        "residency": ["us"],
        "needs": {},
        "flags": {},
        "candidates": [candidate],
    } | more


def recorded(at, document) -> DecisionRecord:
    return decision_record(
        Verdict([]), decision_id=uuid7(at), decided_at=at, pack="placement", revision=load_pack("placement").revision,
        query="data.placement.deny", input_document=document, engine="regorus", tenant="acme",
    )  # fmt: skip


def changed_pack():
    """Without us-west-2, and with us-gov-west-1: one region fewer, one more."""
    pack = load_pack("placement")
    regions = {name: dict(each) for name, each in pack.data["regions"].items()}
    regions["AWS"]["us-gov-west-1"] = regions["AWS"].pop("us-west-2")
    data = pack.data | {"regions": regions}
    return replace(pack, data=data, revision=revision_of(pack.modules, "placement", data))


SIGNER = LocalSigner.generate()
TRUSTED = {SIGNER.key_id: SIGNER.public_key_pem}


def test_masked_decisions_are_counted_and_not_guessed(clock):
    engine = RegorusEngine(load_pack("placement"))
    records = [recorded(clock.now(), request("a")), recorded(clock.now(), request("b", token="t"))]
    found = replay(records, engine, engine, "data.placement.deny")
    assert (len(found.pairs), found.masked) == (1, {"acme": 1})


def test_a_retry_is_the_same_question_under_another_execution_id(clock):
    engine = RegorusEngine(load_pack("placement"))
    records = [recorded(clock.now(), request("a", execution=f"e{number}")) for number in range(5)]
    records.append(recorded(clock.now(), request("a", data_class="public", execution="e9")))
    assert len(replay(records, engine, engine, "data.placement.deny").pairs) == 2


@pytest.fixture
def under_way(database, clock, tmp_path):
    """A rollout of a changed pack, its bundles stored; decisions of two hours."""
    store = open_object_store(tmp_path.as_uri())
    old, new = load_pack("placement"), changed_pack()
    for pack in (old, new):
        store_bundle(store, build_bundle(pack), SIGNER, trusted=TRUSTED)
    begun = clock.now()
    records = [recorded(begun + timedelta(minutes=minute), request(f"w{minute}")) for minute in range(0, 120, 2)]
    records.append(recorded(begun + timedelta(minutes=6), request("west", "us-west-2")))
    records.append(recorded(begun + timedelta(minutes=71), request("gov", "us-gov-west-1")))
    with database.app.begin() as connection:
        record_decisions(connection, records)
        ada = register(connection, "ada", "operator", now=begun)
        rollout = begin(connection, ada, propose(old.revision, new.revision, now=begun), now=begun)
    return store, rollout


@pytest.mark.database
def test_closed_windows_become_evidence_once_and_the_widening_aborts(database, clock, under_way):
    store, rollout = under_way
    begun = clock.now()
    clock.advance(timedelta(minutes=70, seconds=29))
    collected = [
        collect_evidence(database.app, store, rollout, trusted=TRUSTED, since=begun, now=clock.now()) for _ in range(2)
    ]
    assert collected == [(33 + 1, 0), (0, 0)], "the window that just ended is not closed yet; and each is taken once"
    with database.app.begin() as connection:
        counts = counts_of(connection, rollout)["acme"]
    assert (counts.decisions, counts.units, counts.harmed, counts.widened) == (34, 34, 1, 0)
    assert tick(database.app, clock, budget=lambda *_: True) == []
    clock.advance(timedelta(minutes=60))
    assert collect_evidence(database.app, store, rollout, trusted=TRUSTED, since=begun, now=clock.now()) == (28, 0)
    (transition,) = tick(database.app, clock, budget=lambda *_: True)
    assert transition.act is Act.ABORTED
    assert transition.evidence["totals"] | {"decisions": 62, "undeclared": 1} == transition.evidence["totals"]


@pytest.mark.database
def test_an_unsigned_bundle_is_no_evidence(database, clock, under_way):
    store, rollout = under_way
    store.put(bundle_path("placement", rollout.challenger), build_bundle(changed_pack()).content, if_absent=False)
    begun = clock.now()
    clock.advance(timedelta(minutes=70))
    with pytest.raises(VerificationError, match="not signed"):
        collect_evidence(database.app, store, rollout, trusted=TRUSTED, since=begun, now=clock.now())


@pytest.mark.database
def test_more_than_one_in_a_thousand_that_cannot_be_replayed_holds(database, clock, under_way):
    store, rollout = under_way
    begun = clock.now()
    with database.app.begin() as connection:
        record_decisions(connection, [recorded(begun, request("secret", token="t"))])
    clock.advance(timedelta(minutes=60))
    assert collect_evidence(database.app, store, rollout, trusted=TRUSTED, since=begun, now=clock.now())[1] == 1
    with database.app.begin() as connection:
        gate = gate_of(connection, rollout, budget_stable=True, now=clock.now())
    assert gate.reason == "1 recorded decisions cannot be replayed, more than 1 in 1,000"
