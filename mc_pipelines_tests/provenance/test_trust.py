"""Trust in a bundle: against all subsets of evidence by brute force, and over real signed documents in the log."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import timedelta
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from mc_pipelines.attest.dsse import Envelope, sign
from mc_pipelines.attest.key_history import KeyRecord, KeyStatus
from mc_pipelines.attest.signer import LocalSigner
from mc_pipelines.attest.trust import Trust
from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.errors import ConflictError, InputError
from mc_pipelines.provenance.access import EVERYTHING
from mc_pipelines.provenance.edge_log import ingest_claims
from mc_pipelines.provenance.gate import gate_answer
from mc_pipelines.provenance.identity import receipt_id
from mc_pipelines.provenance.ingest import Document, ingest_documents
from mc_pipelines.provenance.proof_check import check_proof
from mc_pipelines.provenance.pruning import prune
from mc_pipelines.provenance.request import BundleQuery, GraphQuery, RevocationQuery
from mc_pipelines.provenance.revocation import revocation_answer
from mc_pipelines.provenance.roots import Reason, keep_root
from mc_pipelines.provenance.store import GraphStore
from mc_pipelines.provenance.trust_logic import (
    Derivation,
    GatePolicy,
    Revoked,
    proof_tree,
    single_points,
    smallest_evidence,
    trusted,
)
from mc_pipelines.provenance.trust_roots import TrustedKey, TrustRoots
from mc_pipelines.provenance.verification_summary import sign_summary, summarise
from mc_pipelines_tests.conftest import TestDatabase
from mc_pipelines_tests.provenance.test_edge_log import ACME
from mc_pipelines_tests.provenance.test_query import ask, store_of
from mc_pipelines_tests.provenance.test_retention import RULES, low_value

NODES = tuple("abcd")
DERIVATIONS = st.builds(
    Derivation,
    receipt=st.sampled_from(["r0", "r1", "r2", "r3", "r4"]),
    signer=st.sampled_from(["ci", "laptop"]),
    key=st.sampled_from(["k0", "k1", "k2"]),
    execution=st.sampled_from(["", "run:x", "run:y"]),
    builder=st.sampled_from(["https://ci.example/a", "https://ci.example/b", "home"]),
    inputs=st.lists(st.sampled_from(NODES), max_size=2, unique=True).map(tuple),
)
FACTS = st.dictionaries(st.sampled_from(NODES), st.lists(DERIVATIONS, max_size=4).map(tuple), min_size=1).map(
    lambda found: dict.fromkeys(NODES, ()) | found
)
POLICIES = st.builds(
    GatePolicy,
    builders=st.sampled_from([("*",), ("https://ci.example/*",)]),
    signers=st.sampled_from([("*",), ("ci",)]),
    inputs=st.booleans(),
)


def stands(facts: dict[str, tuple[Derivation, ...]], policy: GatePolicy, node: str, receipts: set[str]) -> bool:
    """By the definition: grow what stands until nothing more does, from single derivations, without the code above."""
    standing: set[str] = set()
    while True:
        more = {
            name
            for name, many in facts.items()
            for each in many
            if each.receipt in receipts
            and each.execution
            and (policy.signers == ("*",) or each.signer in policy.signers)
            and (policy.builders == ("*",) or each.builder.startswith("https://ci.example/"))
            and (not policy.inputs or set(each.inputs) <= standing)
        }
        if more <= standing:
            return node in standing
        standing |= more


@settings(max_examples=150, deadline=None)
@given(FACTS, POLICIES)
def test_the_smallest_evidence_and_what_alone_breaks_it(facts: Any, policy: GatePolicy) -> None:
    receipts = sorted({each.receipt for many in facts.values() for each in many})
    node = "a"
    enough = [
        set(chosen)
        for size in range(len(receipts) + 1)
        for chosen in combinations(receipts, size)
        if stands(facts, policy, node, set(chosen))
    ]
    found = smallest_evidence(facts, policy, node)
    assert (found is None) == (not enough) == (node not in trusted(facts, policy))
    if found is None:
        return
    assert found.exact
    assert len(found.receipts) == min(map(len, enough))
    assert set(found.receipts) in enough
    tree = proof_tree(facts, policy, node, found.receipts)
    assert {each.receipt for each in tree.values()} == found.receipts
    shown: set[str] = set()
    for name, each in tree.items():
        assert each in facts[name]
        assert not policy.inputs or set(each.inputs) <= shown
        shown.add(name)
    assert node in shown
    points = single_points(facts, policy, node)
    assert points["receipts"] == [each for each in receipts if not stands(facts, policy, node, set(receipts) - {each})]
    for key in ("k0", "k1", "k2"):
        without = {name: tuple(each for each in many if each.key != key) for name, many in facts.items()}
        assert (key in points["keys"]) == (not stands(without, policy, node, set(receipts)))
        assert (node in trusted(facts, policy, Revoked(keys=frozenset({key})))) == (key not in points["keys"])
    for builder in ("https://ci.example/a", "https://ci.example/b", "home"):
        without = {name: tuple(each for each in many if each.builder != builder) for name, many in facts.items()}
        assert (builder in points["builders"]) == (not stands(without, policy, node, set(receipts)))


CI, HOME = "https://ci.example/builder", "https://home.example/laptop"
APP, LIB, OTHER = (f"{letter * 64}" for letter in "abc")


def provenance(subject: str, builder: str, run: str, materials: tuple[str, ...] = ()) -> bytes:
    return json.dumps(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "pkg:oci/shop@1", "digest": {"sha256": subject}}],
            "predicateType": "https://slsa.dev/provenance/v1",
            "predicate": {
                "buildDefinition": {
                    "buildType": "t",
                    "externalParameters": {},
                    "resolvedDependencies": [{"name": "m", "digest": {"sha256": each}} for each in materials],
                },
                "runDetails": {"builder": {"id": builder}, "metadata": {"invocationId": run}},
            },
        }
    ).encode()


class Lab:
    """A log with two signers' documents, and questions to its gate."""

    def __init__(self, database: TestDatabase, folder: Path, clock: FrozenClock) -> None:
        self.database, self.clock = database.app, clock
        self.store: GraphStore = store_of(database, folder, clock)
        self.signers = {name: LocalSigner.generate() for name in ("ci", "laptop", "service")}
        keys = tuple(TrustedKey(name, self.signers[name].public_key_pem) for name in ("ci", "laptop"))
        service = KeyRecord(
            self.signers["service"].key_id, self.signers["service"].public_key_pem, clock.now(), status=KeyStatus.ACTIVE
        )
        self.roots = TrustRoots(keys=keys, own=Trust((service,)))
        self.envelopes: dict[str, bytes] = {}
        self.policy = GatePolicy(("https://ci.example/*",), ("ci",))

    def ingest(self, payload: bytes, signer: str | None, kind: str = "application/vnd.in-toto+json") -> str:
        content = payload if signer is None else sign(payload, kind, [self.signers[signer]]).to_json()
        return self.ingest_raw(content)

    def ingest_raw(self, content: bytes) -> str:
        (done,) = ingest_documents(self.database, ACME, [Document("x", content)], self.roots, clock=self.clock)
        assert done.status == "accepted", done
        self.envelopes[receipt_id(content)] = content
        return receipt_id(content)

    def gate(self, node: str = APP, policy: GatePolicy | None = None) -> dict[str, Any]:
        query = BundleQuery(f"sha256:{node}")  # type: ignore[arg-type]
        return gate_answer(self.store, ACME, query, EVERYTHING, policy or self.policy)[2]


@pytest.fixture
def lab(database: TestDatabase, clock: FrozenClock, tmp_path: Path) -> Lab:
    return Lab(database, tmp_path, clock)


@pytest.mark.database
def test_a_gate_opens_on_proof_only(lab: Lab) -> None:
    lab.ingest(provenance(APP, CI, "run/1"), None)
    assert lab.gate()["result"] == "failed", "unsigned"
    lab.ingest(provenance(APP, CI, "run/1"), "laptop")
    assert lab.gate()["result"] == "failed", "verified, but not by an approved signer"
    lab.ingest(provenance(OTHER, HOME, "run/9"), "ci")
    assert lab.gate(OTHER)["result"] == "failed", "an approved signer, another builder"
    receipt = lab.ingest(provenance(APP, CI, "run/1", (LIB,)), "ci")
    passed = lab.gate()
    assert passed["result"] == "passed"
    assert passed["evidence"]["receipts"] == [receipt]
    assert passed["singlePoints"]["receipts"] == [receipt]
    assert passed["singlePoints"]["builders"] == [CI]
    assert [step["builder"] for step in passed["proof"]] == [CI]
    forbidding = replace(lab.policy, forbidden=(f"sha256:{LIB}",))
    assert lab.gate(policy=forbidding)["result"] == "failed"
    # An input that nobody built here asks for nothing; one that was built must pass itself.
    with_inputs = replace(lab.policy, inputs=True)
    assert lab.gate(policy=with_inputs)["result"] == "passed"
    lab.ingest(provenance(LIB, HOME, "run/2"), "ci")
    assert lab.gate(policy=with_inputs)["result"] == "failed"
    assert lab.gate()["result"] == "passed"


@pytest.mark.database
def test_two_builders_of_one_thing_close_the_gate(lab: Lab) -> None:
    lab.ingest(provenance(APP, CI, "run/1"), "ci")
    assert lab.gate()["result"] == "passed"
    lab.ingest(provenance(APP, CI, "run/2"), None)
    ruling = lab.gate()
    assert ruling["result"] == "failed"
    assert [len(each["producers"]) for each in ruling["conflicts"]] == [2]


@pytest.mark.database
def test_documents_of_two_signers_are_not_combined(lab: Lab) -> None:
    """`ci` signs that it built OTHER; `laptop` signs that the same run built APP. Nobody trusted says so of APP."""
    lab.ingest(provenance(OTHER, CI, "run/1"), "ci")
    lab.ingest(provenance(APP, CI, "run/1"), "laptop")
    assert lab.gate()["result"] == "failed"


@pytest.mark.database
def test_a_proof_is_checked_offline_and_every_change_is_seen(lab: Lab) -> None:
    receipt = lab.ingest(provenance(APP, CI, "run/1", (LIB,)), "ci")
    lower = lab.ingest(provenance(LIB, CI, "run/2"), "ci")
    policy = replace(lab.policy, inputs=True)
    proof = lab.gate(policy=policy)
    assert [step["node"] for step in proof["proof"]] == [f"sha256:{LIB}", f"sha256:{APP}"]
    proof["envelopes"] = {name: base64.b64encode(lab.envelopes[name]).decode() for name in (receipt, lower)}
    keys = {lab.signers["ci"].key_id: lab.signers["ci"].public_key_pem}
    holders = {lab.signers["ci"].key_id: "ci"}
    good = check_proof(proof, keys, holders)
    assert good.ok, good.problems
    assert len(good.proved) == 2
    strangers = {lab.signers["laptop"].key_id: lab.signers["laptop"].public_key_pem}
    assert not check_proof(proof, strangers, {lab.signers["laptop"].key_id: "ci"}).ok
    assert not check_proof(proof, keys, {lab.signers["ci"].key_id: "somebody"}).ok
    stolen = sign(provenance(OTHER, CI, "run/3"), "application/vnd.in-toto+json", [lab.signers["ci"]]).to_json()
    changes: list[dict[str, Any]] = [
        proof | {"envelopes": {}},
        proof | {"envelopes": proof["envelopes"] | {receipt: base64.b64encode(stolen).decode()}},
        proof | {"bundle": f"sha256:{OTHER}"},
        proof | {"proof": proof["proof"][1:]},
        proof | {"proof": [proof["proof"][0], proof["proof"][1] | {"inputs": [f"sha256:{OTHER}"]}]},
        proof | {"proof": [proof["proof"][0], proof["proof"][1] | {"builder": HOME}]},
        proof | {"proof": [proof["proof"][0], proof["proof"][1] | {"node": f"sha256:{OTHER}"}]},
        proof | {"proof": None},
        proof | {"policy": proof["policy"] | {"builders": ["*"]}},
        {},
    ]
    for changed in changes:
        assert not check_proof(changed, keys, holders).ok, changed
    envelope = Envelope.from_json(lab.envelopes[receipt])
    forged = replace(envelope, payload=provenance(APP, CI, "run/1", (OTHER,))).to_json()
    swapped = proof | {"envelopes": proof["envelopes"] | {receipt: base64.b64encode(forged).decode()}}
    assert not check_proof(swapped, keys, holders).ok


@pytest.mark.database
def test_a_ruling_becomes_a_summary_that_is_read_back_as_a_receipt(lab: Lab) -> None:
    receipt = lab.ingest(provenance(APP, CI, "run/1"), "ci")
    lab.ingest(
        json.dumps(
            {
                "_type": "https://in-toto.io/Statement/v1",
                "subject": [{"name": "shop", "digest": {"sha256": APP}}],
                "predicateType": "https://in-toto.io/attestation/release/v0.1",
                "predicate": {},
            }
        ).encode(),
        "ci",
    )
    ruling = lab.gate()
    envelope = sign_summary(ruling, lab.signers["service"], now=lab.clock.now())
    statement = json.loads(envelope.payload)
    assert statement["predicate"]["verificationResult"] == "PASSED"
    assert [each["uri"] for each in statement["predicate"]["inputAttestations"]] == [receipt]
    assert summarise(ruling, now=lab.clock.now()).to_bytes() == envelope.payload
    summary = lab.ingest_raw(envelope.to_json())
    around = ask(lab.store, GraphQuery(f"sha256:{APP}", 1, "ancestors"))  # type: ignore[arg-type]
    assert {"from": summary, "to": f"sha256:{APP}", "type": "verifies"} in around["edges"]
    failed = sign_summary(lab.gate(policy=GatePolicy(("nobody",))), lab.signers["service"], now=lab.clock.now())
    assert json.loads(failed.payload)["predicate"]["verificationResult"] == "FAILED"
    with pytest.raises(ConflictError):
        summarise(ruling | {"result": "unknown"}, now=lab.clock.now())
    with pytest.raises(InputError):
        summarise(ruling | {"bundle": "pkg:oci/shop@1"}, now=lab.clock.now())


@pytest.mark.database
def test_a_gate_does_not_guess_about_what_was_pruned(lab: Lab, clock: FrozenClock) -> None:
    lab.ingest(provenance(APP, CI, "run/1"), "ci")
    ingest_claims(lab.database, ACME, low_value("x", {"app": ["lib"]}), clock=clock)
    nodes = low_value("y", {"p": ["q"]})
    import msgspec

    from mc_pipelines.provenance.model import Edge, EdgeType, Kind, Node

    app, part = Node(f"sha256:{APP}", Kind.PACKAGE), Node(f"sha256:{OTHER}", Kind.PACKAGE)  # type: ignore[arg-type]
    detail = msgspec.structs.replace(nodes, nodes=(app, part), edges=(Edge(app.id, part.id, EdgeType.USES),))
    ingest_claims(lab.database, ACME, detail, clock=clock)
    assert lab.gate()["result"] == "passed"
    clock.advance(timedelta(days=40))
    assert len(prune(lab.database, ACME, archive=None, clock=clock, rules=RULES).pruned) == 2
    ruling = lab.gate()
    assert (ruling["result"], ruling["complete"]) == ("unknown", False)
    assert lab.gate(OTHER)["result"] == "unknown"


@pytest.mark.database
def test_what_if_a_key_or_a_builder_were_revoked(lab: Lab, clock: FrozenClock) -> None:
    """Compared with worlds in which the receipts of that key, or of that builder, were never verified."""
    policy = GatePolicy()
    names = [f"{number:064x}" for number in range(1, 5)]
    made = [(names[0], CI, "ci"), (names[1], CI, "laptop"), (names[2], HOME, "ci"), (names[3], CI, "ci")]
    for number, (subject, builder, signer) in enumerate(made):
        lab.ingest(provenance(subject, builder, f"run/{number}"), signer)
    lab.ingest(provenance(names[3], CI, "run/3"), "laptop")  # a second receipt of the same run
    with lab.database.begin(tenant=ACME) as connection:
        for name in names:
            keep_root(connection, ACME, f"sha256:{name}", Reason.LIVE, by="test", now=clock.now())
        keys = dict(
            connection.execute(
                text("select distinct verification->>'signer', verification->>'key_id' from provenance_documents")
            ).all()
        )

    def lost(**revoked: str) -> set[str]:
        query = RevocationQuery(**revoked)
        body = json.loads(revocation_answer(lab.store, ACME, query, EVERYTHING, policy).body)
        assert body["counts"]["passing"] == 4
        return {each["id"].removeprefix("sha256:") for each in body["nodes"]}

    assert lost(key=keys["ci"]) == lost(key="ci") == {names[0], names[2]}
    assert lost(key=keys["laptop"]) == {names[1]}
    assert lost(builder=CI) == {names[0], names[1], names[3]}
    assert lost(builder=HOME) == {names[2]}
    assert lost(builder="https://never.example") == set()
