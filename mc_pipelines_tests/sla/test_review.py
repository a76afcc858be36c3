"""Two different people, two different keys, the same bytes; everything else is refused, logged and changes nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from mc_pipelines.attest.dsse import IN_TOTO_PAYLOAD_TYPE, Envelope, sign
from mc_pipelines.foundation.errors import (
    ConflictError,
    ForbiddenError,
    InputError,
    MaestroError,
    NotFoundError,
    UnavailableError,
    VerificationError,
)
from mc_pipelines.foundation.flags import SLA_CREDITS, set_flag
from mc_pipelines.foundation.ids import PersonId, TenantId
from mc_pipelines.foundation.tenants import Person, is_same_person, put_person
from mc_pipelines.sla.contract_store import assign_contract, register_contract
from mc_pipelines.sla.document import seal_contract
from mc_pipelines.sla.draft import age_drafts, draft_credits
from mc_pipelines.sla.draft_store import get_draft
from mc_pipelines.sla.issue import issue_completed
from mc_pipelines.sla.limits import Limits
from mc_pipelines.sla.review import _signed_today, approve, reject
from mc_pipelines_tests.sla.conftest import World, execution

pytestmark = pytest.mark.database


def refusals(world: World) -> int:
    with world.database.begin() as connection:
        query = "select count(*) from attest_log_leaf where act like 'credits.%-refused'"
        return int(connection.execute(text(query)).scalar_one())


def refused(world: World, person: Person, envelope: Envelope, error: type[MaestroError]) -> MaestroError:
    """Expect a refusal that is audited and writes nothing else."""
    draft, before = world.draft(), refusals(world)
    signatures = draft.signatures
    with pytest.raises(error) as caught:
        approve(world.database, world.clock, draft.draft_id, person, envelope)
    assert refusals(world) == before + 1
    with world.database.begin() as connection:
        assert get_draft(connection, draft.draft_id).signatures == signatures
    return caught.value


def test_the_maker_cannot_check_with_any_key_or_role(world: World) -> None:
    world.breach()
    draft = world.draft()
    world.approve(world.maker, draft)
    alias = world.person("Mary", "finance-checker", 3, subject="mary.major@elsewhere.example")
    refused(world, alias, world.signed_by(alias, draft), ForbiddenError)
    again = world.person("Mary M.", "finance-checker", 4, subject="second-account")
    refused(world, world.maker, world.signed_by(again, draft), ForbiddenError)


def test_the_same_key_cannot_be_registered_for_another(world: World) -> None:
    pem = world.maker.public_keys[0]
    other = Person(PersonId(UUID(int=9)), "https://issuer.example", "eve", "Eve", frozenset(), (pem,))
    with pytest.raises(MaestroError), world.database.begin() as connection:
        put_person(connection, other, now=world.clock.now())


def test_people_are_compared_by_id_subject_name_and_key() -> None:
    one = Person(PersonId(UUID(int=1)), "https://a.example", "mary@example.com", "Mary  Major", frozenset(), ("k",))
    stranger = Person(PersonId(UUID(int=2)), "https://b.example", "carl", "Carl", frozenset(), ("l",))
    assert not is_same_person(one, stranger)
    for change in ({"subject": "MARY@example.com"}, {"name": "mary major"}, {"public_keys": ("l", "k")}):
        assert is_same_person(one, replace(stranger, **change))


def test_roles_are_demanded_in_order(world: World) -> None:
    world.breach()
    draft = world.draft()
    refused(world, world.checker, world.signed_by(world.checker, draft), ForbiddenError)
    world.approve(world.maker, draft)
    second = world.person("Moe", "finance-maker", 4)
    refused(world, second, world.signed_by(second, draft), ForbiddenError)


def test_a_signature_of_other_bytes_is_refused(world: World) -> None:
    world.breach()
    draft = world.draft()
    forged = sign(draft.payload.replace(b"12345", b"99999"), IN_TOTO_PAYLOAD_TYPE, [world.keys["Mary"]])
    refused(world, world.maker, forged, VerificationError)
    graft = Envelope(IN_TOTO_PAYLOAD_TYPE, draft.payload, forged.signatures)
    refused(world, world.maker, graft, VerificationError)


def test_somebody_elses_key_is_refused(world: World) -> None:
    world.breach()
    refused(world, world.maker, world.signed_by(world.checker, world.draft()), ForbiddenError)


def test_two_signatures_at_once_are_refused(world: World) -> None:
    world.breach()
    both = sign(world.draft().payload, IN_TOTO_PAYLOAD_TYPE, [world.keys["Mary"], world.keys["Carl"]])
    refused(world, world.maker, both, InputError)


def test_the_same_approval_again_is_no_second_one(world: World) -> None:
    world.breach()
    draft = world.draft()
    envelope = world.signed_by(world.maker, draft)
    once = approve(world.database, world.clock, draft.draft_id, world.maker, envelope)
    assert approve(world.database, world.clock, draft.draft_id, world.maker, envelope) == once
    assert refusals(world) == 0


def test_a_rejected_draft_is_not_made_again_on_the_same_facts(world: World) -> None:
    world.breach()
    draft = world.draft()
    with pytest.raises(InputError):
        reject(world.database, world.clock, draft.draft_id, world.checker, "  ")
    ended = reject(world.database, world.clock, draft.draft_id, world.checker, "the invoice is disputed")
    assert (ended.state, ended.reason) == ("rejected", "the invoice is disputed")
    assert [outcome.status for outcome in draft_credits(world.database, world.clock)] == ["rejected"]
    with pytest.raises(ConflictError):
        world.approve(world.maker, draft)
    world.charge("1300.00")
    assert world.draft().amount.minor == 13000


def test_drafts_are_remembered_once_and_expire(world: World) -> None:
    world.breach()
    draft = world.draft()
    world.clock.advance(timedelta(days=4))
    assert [one.draft_id for one in age_drafts(world.database, world.clock)[1]] == [draft.draft_id]
    assert age_drafts(world.database, world.clock) == ([], [])
    world.clock.advance(timedelta(days=11))
    assert [one.draft_id for one in age_drafts(world.database, world.clock)[0]] == [draft.draft_id]
    following = world.draft()
    assert (following.attempt, following.amount) == (1, draft.amount)


def test_above_a_limit_a_third_person_signs(world: World) -> None:
    world.breach()
    limits = Limits(third_signature_above={"USD": 10_000})
    draft = draft_credits(world.database, world.clock, limits=limits)[0].draft
    assert draft is not None
    assert draft.signatures_needed == 3
    world.approve(world.maker, draft)
    world.approve(world.checker, draft)
    assert issue_completed(world.database, world.clock) == []
    world.approve(world.person("Tess", "finance-checker", 5), draft)
    assert len(issue_completed(world.database, world.clock)) == 1


def test_a_maker_stays_within_the_sum_of_a_day(world: World) -> None:
    world.breach()
    draft = world.draft()
    limits = Limits(maker_day={"USD": 100})
    with pytest.raises(ForbiddenError):
        approve(
            world.database, world.clock, draft.draft_id, world.maker, world.signed_by(world.maker, draft), limits=limits
        )


def test_an_alias_of_the_maker_has_no_sum_of_its_own(world: World) -> None:
    world.breach()
    draft = world.draft()
    world.approve(world.maker, draft)
    alias = world.person("MARY", "finance-maker", 6, subject="mary.again@example.com")
    other = world.person("Nora", "finance-maker", 7)
    now = world.clock.now()
    with world.database.begin() as connection:
        sums = [_signed_today(connection, one, draft, now) for one in (world.maker, alias, other)]
    assert sums == [draft.amount.minor, draft.amount.minor, 0]


def test_with_the_flag_off_credits_are_read_only(world: World) -> None:
    world.breach()
    draft = world.draft()
    with world.database.begin() as connection:
        set_flag(connection, SLA_CREDITS, state=False, by="test", now=world.clock.now())
    with pytest.raises(UnavailableError):
        world.approve(world.maker, draft)
    assert draft_credits(world.database, world.clock) == []
    with world.database.begin() as connection:
        assert get_draft(connection, draft.draft_id).state == "open"


@pytest.mark.database
def test_text_that_the_database_cannot_hold_is_refused_and_audited(world: World) -> None:
    world.breach()
    draft = world.draft()
    with pytest.raises(InputError):
        reject(world.database, world.clock, draft.draft_id, world.maker, "a\0b")
    with pytest.raises(NotFoundError):
        reject(world.database, world.clock, "\0", world.maker, "the invoice is disputed")
    signed = world.signed_by(world.maker, draft)
    nameless = replace(signed, signatures=(replace(signed.signatures[0], keyid="\0"),))  # type: ignore[arg-type]
    with pytest.raises(ForbiddenError):
        approve(world.database, world.clock, draft.draft_id, world.maker, nameless)


@pytest.mark.database
def test_drafts_that_wait_count_for_the_limit_of_a_tenants_month(world: World) -> None:
    world.breach()
    with world.database.begin() as connection:
        first, last, now = date(2026, 1, 12), date(2026, 1, 18), world.clock.now()
        sealed = seal_contract(replace(world.sealed.contract, version=2, effective=first))
        register_contract(connection, sealed, world.service_signer, now=now)
        assign_contract(connection, TenantId("acme"), sealed.digest, first_day=first, last_day=last, now=now)
    world.facts(
        [
            execution(n, day=-7, outcome="failed" if n < 3 else "succeeded", execution_id=str(UUID(int=5000 + n)))
            for n in range(1000)
        ]
    )
    world.roll()
    world.charge(identity="invoice-6", **{"from": "2026-01-12T07:00:00Z", "until": "2026-01-19T07:00:00Z"})
    outcomes = draft_credits(world.database, world.clock, limits=Limits(tenant_month_above={"USD": 20_000}))
    drafts = [outcome.draft for outcome in outcomes if outcome.draft is not None]
    assert [draft.amount.minor for draft in drafts] == [12345, 12345]
    assert sorted(draft.signatures_needed for draft in drafts) == [2, 3]
