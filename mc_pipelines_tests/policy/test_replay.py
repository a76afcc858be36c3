"""Evidence from the decision log: a real pack, a real change, closed hours once."""

from dataclasses import replace
from datetime import timedelta

import pytest

from mc_pipelines.decision.engine import Verdict
from mc_pipelines.decision.log import DecisionRecord, decision_record, record_decisions
from mc_pipelines.decision.packs import load_pack, revision_of
from mc_pipelines.decision.regorus_engine import RegorusEngine
from mc_pipelines.foundation.ids import uuid7
from mc_pipelines.foundation.object_store import open_object_store
from mc_pipelines.policy.bundles import build_bundle, store_bundle
from mc_pipelines.policy.controller import counts_of, start_rollout, tick
from mc_pipelines.policy.replay import collect_evidence, replay
from mc_pipelines.policy.rollout import Act


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


def test_masked_decisions_are_counted_and_not_guessed(clock):
    engine = RegorusEngine(load_pack("placement"))
    records = [recorded(clock.now(), request("a")), recorded(clock.now(), request("b", token="t"))]
    found = replay(records, engine, engine, "data.placement.deny")
    assert (len(found.pairs), found.masked) == (1, 1)


@pytest.mark.database
def test_closed_hours_become_evidence_once_and_the_widening_aborts(database, clock, tmp_path):
    store = open_object_store(tmp_path.as_uri())
    old, new = load_pack("placement"), changed_pack()
    for pack in (old, new):
        store_bundle(store, build_bundle(pack))
    begun = clock.now()
    records = [recorded(begun + timedelta(minutes=minute), request(f"w{minute}")) for minute in range(0, 120, 2)]
    records.append(recorded(begun + timedelta(minutes=5), request("west", "us-west-2")))
    records.append(recorded(begun + timedelta(minutes=70), request("gov", "us-gov-west-1")))
    with database.app.begin() as connection:
        record_decisions(connection, records)
        rollout = start_rollout(
            connection, pack="placement", baseline=old.revision, challenger=new.revision, by="ada", now=begun
        )
    clock.advance(timedelta(minutes=90))
    for _ in range(2):
        collect_evidence(database.app, store, rollout, since=begun, now=clock.now())
    with database.app.begin() as connection:
        counts = counts_of(connection, rollout)["acme"]
    assert (counts.decisions, counts.harmed, counts.widened) == (31, 1, 0), "the second hour is not closed yet"
    assert tick(database.app, clock, budget=lambda *_: True) == []
    clock.advance(timedelta(minutes=60))
    assert collect_evidence(database.app, store, rollout, since=begun, now=clock.now()) == (62, 0)
    (transition,) = tick(database.app, clock, budget=lambda *_: True)
    assert transition.act is Act.ABORTED
    assert transition.evidence["totals"] | {"decisions": 62, "undeclared": 1} == transition.evidence["totals"]
