"""A restated period: the pack holds the chain of its documents and the diff, and every broken link is named."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from mc_pipelines.attest.log import sequence
from mc_pipelines.attest.report import Report
from mc_pipelines.attest.statement import parse_statement
from mc_pipelines.foundation.errors import VerificationError
from mc_pipelines.foundation.money import Money
from mc_pipelines.sla.bag import read_bag, write_bag
from mc_pipelines.sla.document_chain import check_chain
from mc_pipelines.sla.evidence import parse_evidence
from mc_pipelines.sla.note import open_note
from mc_pipelines.sla.pack import build_pack
from mc_pipelines.sla.pack_verification import verify_pack
from mc_pipelines_tests.sla.conftest import World, execution
from mc_pipelines_tests.sla.test_pack import trust_of

pytestmark = pytest.mark.database


@pytest.fixture
def restated(world: World) -> dict[str, bytes]:
    """The payload of the pack of a third document: late facts, then a corrected charge."""
    world.breach()
    world.issue()
    world.facts([execution(5000 + n, outcome="lost", day=2) for n in range(60)])
    world.roll()
    world.issue()
    world.charge("2000.00")
    third = world.issue()
    while sequence(world.database, world.service_signer, world.clock):
        pass
    with world.database.begin() as connection:
        return read_bag(build_pack(connection, third))


def problems(world: World, payload: dict[str, bytes]) -> list[str]:
    return verify_pack(write_bag(payload, {}, info={}), trust_of(world)).problems


def test_the_chain_and_the_diff_are_verified(world: World, restated: dict[str, bytes]) -> None:
    report = verify_pack(write_bag(restated, {}, info={}), trust_of(world))
    assert report.ok, report.problems
    assert any("It follows 2 earlier document(s) of the period" in line for line in report.proved)
    diff = json.loads(restated["restatement.json"])
    assert diff["slices"] == []
    [charge] = diff["facts"]
    assert charge["name"] == "charge/invoice-7"
    assert (charge["before"]["amount"], charge["after"]["amount"]) == ("1234.50", "2000.00")
    figures = {one["name"]: (one["before"], one["after"]) for one in diff["figures"]}
    assert figures["charge"] == ("2469/2", "2000/1")
    assert figures["entitledMinor"] == ("123450", "200000")
    assert "good" not in figures


def test_late_facts_show_as_slices(world: World) -> None:
    world.breach()
    world.issue()
    world.facts([execution(5000 + n, outcome="lost", day=2) for n in range(60)])
    world.roll()
    second = world.issue()
    while sequence(world.database, world.service_signer, world.clock):
        pass
    with world.database.begin() as connection:
        diff = json.loads(read_bag(build_pack(connection, second))["restatement.json"])
    assert {one["name"][:10] for one in diff["slices"]} == {"2026-01-21"}
    added = sum(one["after"][0] - (one["before"] or [0])[0] for one in diff["slices"])
    assert added == 60
    assert diff["facts"] == []
    figures = {one["name"]: (one["before"], one["after"]) for one in diff["figures"]}
    assert figures["tierBelow"] == ("99.9", "95")


def test_every_broken_link_is_named(world: World, restated: dict[str, bytes]) -> None:
    first, second = "earlier/MC-00000001.note.json", "earlier/MC-00000002.note.json"
    for change, named in (
        ({first: restated[second]}, first),
        ({"earlier/MC-00000002.evidence.json": restated["earlier/MC-00000001.evidence.json"]}, "MC-00000002.evidence"),
        ({"restatement.json": restated["restatement.json"].replace(b"200000", b"123450")}, "restatement.json"),
        ({second: restated[second].replace(b"1111.05", b"1111.06")}, second),
    ):
        found = problems(world, restated | change)
        assert found, named
        assert named in found[0]
    for missing in (first, "restatement.json"):
        assert missing in problems(world, {name: one for name, one in restated.items() if name != missing})[0]


def test_an_earlier_note_gave_what_it_says_and_not_what_the_evidence_claims(
    world: World, restated: dict[str, bytes]
) -> None:
    """Claiming that more was given before would make the difference, and so the customer's credit, smaller."""
    evidence = parse_evidence(restated["evidence.json"])
    first, second = evidence.earlier
    lied = replace(evidence, earlier=(replace(first, amount=Money("USD", first.amount.minor + 100)), second))
    statement = parse_statement(open_note(restated["note.json"])[2].payload)
    with pytest.raises(VerificationError, match="another amount"):
        check_chain(restated, lied, statement.predicate["figures"], trust_of(world), Report("test"))
