"""The review of a month: the figures follow from the records, two different people sign the same bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mc_pipelines.attest.dsse import Envelope
from mc_pipelines.attest.trust import Trust
from mc_pipelines.attest.verify import verify_file
from mc_pipelines.foundation.errors import ConflictError, ForbiddenError, InputError
from mc_pipelines.sla.financial_review import QUESTIONS, review_statement, sign_review
from mc_pipelines.sla.review import CHECKER
from mc_pipelines_tests.sla.conftest import World
from mc_pipelines_tests.sla.test_pack import trust_of
from mc_pipelines_tests.sla.test_reversal import issue, reverse

pytestmark = pytest.mark.database
FORM = Path(__file__).parents[2] / "docs" / "sla" / "financial-review.md"


def reviewed(world: World) -> bytes:
    first = sign_review(world.database, world.clock, "2026-01", world.maker, world.keys["Mary"])
    return sign_review(world.database, world.clock, "2026-01", world.checker, world.keys["Carl"], onto=first)


def test_the_figures_follow_from_the_records(world: World) -> None:
    world.breach()
    first = world.issue()
    issue(world, reverse(world, first))
    with world.database.begin() as connection:
        predicate = review_statement(connection, "2026-01").predicate
        empty = review_statement(connection, "2026-02").predicate
    assert (predicate["notes"], predicate["reversals"]) == (2, 1)
    assert predicate["sumMinor"] == predicate["ledgerMinor"] == {"USD": "0"}
    assert predicate["largestMinor"] == {"USD": "12345"}
    assert (empty["notes"], empty["sumMinor"]) == (0, {})


def test_two_people_sign_and_anyone_verifies(world: World) -> None:
    world.breach()
    world.issue()
    content = reviewed(world)
    report = verify_file(content, trust_of(world))
    assert report.ok, report.problems
    assert any("reviewed the 1 notes of 2026-01: 12345 minor units of USD" in line for line in report.proved)
    one = Trust(tuple(key for key in trust_of(world).keys if str(world.checker.person_id) not in key.holder))
    assert not verify_file(content, one).ok


def test_one_person_a_stranger_a_changed_figure_and_no_month_are_refused(world: World) -> None:
    world.breach()
    world.issue()
    first = sign_review(world.database, world.clock, "2026-01", world.maker, world.keys["Mary"])
    alias = world.person("Mary", CHECKER, 9, subject="mary@elsewhere.example")
    world.keys["alias"] = world.keys.pop("Mary")
    for person, key in ((alias, world.keys["alias"]), (world.checker, world.keys["alias"])):
        with pytest.raises(ForbiddenError):
            sign_review(world.database, world.clock, "2026-01", person, key, onto=first)
    with pytest.raises(InputError):
        sign_review(world.database, world.clock, "2026-13", world.checker, world.keys["Carl"])
    stale = json.loads(Envelope.from_json(first).payload)
    stale["predicate"]["notes"] = 7
    forged = Envelope("application/vnd.in-toto+json", json.dumps(stale).encode(), Envelope.from_json(first).signatures)
    with pytest.raises(ConflictError):
        sign_review(world.database, world.clock, "2026-01", world.checker, world.keys["Carl"], onto=forged.to_json())


def test_the_form_asks_what_is_affirmed() -> None:
    text = FORM.read_text("utf-8")
    assert [question for question in QUESTIONS if f"`{question}`" not in text] == []
