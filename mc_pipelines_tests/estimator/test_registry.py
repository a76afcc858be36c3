"""Registry and ledger: two people, compare-and-swap, rollback, frozen predictions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from mc_pipelines.attest.dsse import IN_TOTO_PAYLOAD_TYPE, sign
from mc_pipelines.attest.signer import LocalSigner
from mc_pipelines.estimator import records
from mc_pipelines.estimator.artefact import build_artefact
from mc_pipelines.estimator.drift import Drift, State
from mc_pipelines.estimator.history import DAY, moment_of
from mc_pipelines.estimator.pricing import Price
from mc_pipelines.estimator.promotion import Check
from mc_pipelines.estimator.registry import (
    current,
    list_models,
    load_champion,
    path_of,
    promote,
    promotion_of,
    proposal_of,
    read_v1,
    register,
    roll_back,
    rollback_of,
    write_v1,
)
from mc_pipelines.estimator.replay import replay
from mc_pipelines.estimator.serving import EstimatorService
from mc_pipelines.foundation.errors import ConflictError, ForbiddenError, NotFoundError, VerificationError
from mc_pipelines.foundation.ids import PersonId, uuid7
from mc_pipelines.foundation.tenants import put_person, withdraw_key
from mc_pipelines_tests.estimator.synthetic import FIRST, make_history
from mc_pipelines_tests.policy.people import Signatory
from mc_pipelines_tests.policy.people import register as person

pytestmark = pytest.mark.database
AT = datetime(2026, 1, 19, 17, tzinfo=UTC)
GOOD = (Check("wape", passed=True, detail="better"),)


class MemoryStore(dict):
    def put(self, path, content, *, if_absent=True):
        if if_absent and path in self:
            return False
        self[path] = content
        return True

    def get(self, path):
        if path not in self:
            raise NotFoundError("No such object", field="path", value=path)
        return self[path]


@pytest.fixture(scope="module")
def artefacts():
    found = []
    for seed in (7, 8):
        history = make_history(seed=seed, days=10)
        found.append(build_artefact(replay(history)[1], history))
    return found


@pytest.fixture
def people(database):
    with database.app.begin() as connection:
        return {
            name: person(connection, name, *roles, now=AT - timedelta(days=1))
            for name, roles in {"ann": ("operator",), "ben": ("security",), "mary": ("finance-maker",)}.items()
        }


def signed(who, payload):
    return sign(payload, IN_TOTO_PAYLOAD_TYPE, [who.signer])


def registered(database, store, artefacts, by):
    service = LocalSigner.generate()
    with database.app.begin() as connection:
        return [
            register(
                connection,
                store,
                one,
                service,
                proposer=by.person,
                proposal=signed(by, proposal_of(one, str(by.person.person_id))),
                at=AT,
            )
            for one in artefacts
        ]


def promoted(connection, model_id, who, checks=GOOD, at=AT):
    move = promotion_of(connection, model_id)
    return promote(connection, move, checks=checks, approver=who.person, approval=signed(who, move.payload), at=at)


def test_promotion_needs_checks_and_a_second_persons_signature(database, artefacts, people):
    store = MemoryStore()
    ann, ben, mary = people["ann"], people["ben"], people["mary"]
    first, second = registered(database, store, artefacts, ann)
    with database.app.begin() as connection:
        alias = replace(ann.person, person_id=PersonId(uuid7(AT)), subject="ann2", public_keys=(), name=ann.person.name)
        other_key = LocalSigner.generate()
        alias = replace(alias, public_keys=(other_key.public_key_pem.decode(),))
        put_person(connection, alias, now=AT)
        move, other = promotion_of(connection, first), promotion_of(connection, second)
        attempts = [
            (ann, signed(ann, move.payload), ForbiddenError),  # the proposer
            (Signatory(alias, other_key), signed(Signatory(alias, other_key), move.payload), ForbiddenError),
            (mary, signed(mary, move.payload), ForbiddenError),  # no role
            (ben, signed(ann, move.payload), ForbiddenError),  # another's key
            (ben, signed(ben, other.payload), VerificationError),  # another model
            (ben, signed(ben, replace(move, version=2).payload), VerificationError),
        ]
        for who, approval, refusal in attempts:
            with pytest.raises(refusal):
                promote(connection, move, checks=GOOD, approver=who.person, approval=approval, at=AT)
        good = signed(ben, move.payload)
        forged = replace(good, signatures=(replace(good.signatures[0], sig=b"x" * 70),))
        with pytest.raises(VerificationError):
            promote(connection, move, checks=GOOD, approver=ben.person, approval=forged, at=AT)
        for bad in ((), (*GOOD, Check("coverage", passed=False, detail="0.80"))):
            with pytest.raises(ConflictError):
                promoted(connection, first, ben, checks=bad)
        with pytest.raises(NotFoundError):
            promotion_of(connection, "sha256:" + "0" * 64)
        assert current(connection) is None
        assert promoted(connection, first, ben).version == 1
        with pytest.raises(ConflictError, match="moved"):
            promote(connection, move, checks=GOOD, approver=ben.person, approval=good, at=AT)


def test_a_proposer_whose_key_was_withdrawn_proposes_nothing(database, artefacts, people):
    ann, ben = people["ann"], people["ben"]
    (first,) = registered(database, MemoryStore(), artefacts[:1], ann)
    with database.app.begin() as connection:
        withdraw_key(connection, ann.signer.key_id, now=AT)
        with pytest.raises(ForbiddenError):
            promoted(connection, first, ben, at=AT + timedelta(hours=1))


def test_registering_needs_the_proposers_own_signature(database, artefacts, people):
    ann, ben = people["ann"], people["ben"]
    payload = proposal_of(artefacts[0], str(ann.person.person_id))
    with database.app.begin() as connection, pytest.raises(ForbiddenError):
        register(
            connection,
            MemoryStore(),
            artefacts[0],
            LocalSigner.generate(),
            proposer=ann.person,
            proposal=signed(ben, payload),
            at=AT,
        )


def test_of_two_promotions_from_the_same_version_one_wins_and_rollback_is_a_move(database, artefacts, people):
    store = MemoryStore()
    ann, ben = people["ann"], people["ben"]
    first, second = registered(database, store, artefacts, ann)
    with database.app.begin() as connection:
        promoted(connection, first, ben)
        late = promotion_of(connection, first)
        promoted(connection, second, ben)
    with database.app.begin() as connection:
        with pytest.raises(ConflictError, match="moved"):
            promote(connection, late, checks=GOOD, approver=ben.person, approval=signed(ben, late.payload), at=AT)
        assert current(connection).model_id == second
        move = rollback_of(connection)
        with pytest.raises(VerificationError):
            roll_back(connection, move, person=ann.person, approval=signed(ann, late.payload), at=AT)
        back = roll_back(connection, move, person=ann.person, approval=signed(ann, move.payload), at=AT)
        assert (back.model_id, back.version, back.act) == (first, 3, "rollback")
        assert load_champion(connection, store, at=AT)[0].model_id == first
        withdraw_key(connection, ben.signer.key_id, now=AT + timedelta(hours=1))
        assert load_champion(connection, store, at=AT)[0].model_id == first
        listed = list_models(connection)
        assert {row["model_id"]: row["serves"] for row in listed} == {first: True, second: False}


def test_a_pointer_that_nobody_signed_serves_v1(database, artefacts, people):
    store = MemoryStore()
    ann, ben = people["ann"], people["ben"]
    first, second = registered(database, store, artefacts, ann)
    with database.app.begin() as connection:
        promoted(connection, first, ben)
        row = connection.execute(select(records.champion)).one()._asdict()
        connection.execute(records.champion.insert().values(row | {"version": 2, "model_id": second}))
        assert load_champion(connection, store, at=AT) == (None, True)
        assert connection.execute(select(records.alert.c.kind)).scalars().all() == ["model-unsigned"]


def test_registering_twice_is_one_model_and_one_act(database, artefacts, people):
    store = MemoryStore()
    registered(database, store, artefacts[:1], people["ann"])
    registered(database, store, artefacts[:1], people["ben"])
    with database.app.begin() as connection:
        assert len(connection.execute(select(records.model)).all()) == 1
        assert connection.execute(text("select count(*) from attest_log_leaf")).scalar() == 1


@pytest.mark.parametrize("damage", ["gone", "altered"])
def test_an_unreadable_champion_is_v1_and_one_alert(database, artefacts, people, damage):
    store = MemoryStore()
    first, _ = registered(database, store, artefacts, people["ann"])
    with database.app.begin() as connection:
        promoted(connection, first, people["ben"])
        table = artefacts[0].estimator.v1_table(FIRST // DAY + 10, artefacts[0].prices)
        write_v1(connection, table)
    if damage == "gone":
        del store[path_of(first)]
    else:
        store[path_of(first)] = store[path_of(first)].replace(b"1", b"2", 1)
    with database.app.begin() as connection:
        for _ in range(2):
            found, unreadable = load_champion(connection, store, at=AT)
            assert (found, unreadable) == (None, True)
        assert len(connection.execute(select(records.alert)).all()) == 1
        v1 = read_v1(connection, day=FIRST // DAY + 12)
        assert v1 == table
    service = EstimatorService(found, {}, v1=v1, unreadable=unreadable)
    served = service.estimate({}, "family0/task0", run_id="r", at=AT, price_id="p")
    assert served.resource_seconds == table.means["family0/task0"]
    assert served.cost is not None
    assert served.reasons == ("model-unreadable",)


def test_the_ledger_freezes_the_first_estimate_of_a_run(database, artefacts):
    service = EstimatorService(artefacts[0], {"p": Price("p", "USD", Decimal("0.05747"))})
    at = moment_of(FIRST + 10 * DAY)
    estimate = service.estimate({"size": 100.0}, "family0/task0", run_id="run-1", at=at, price_id="p")
    with database.app.begin() as connection:
        first = records.freeze_estimate(connection, estimate, tenant="acme")
        again = records.freeze_estimate(connection, replace(estimate, cost=Decimal(999)), tenant="acme")
        other = records.freeze_estimate(connection, estimate, tenant="globex")
        assert first == again != other
        row = connection.execute(select(records.prediction).where(records.prediction.c.tenant == "acme")).one()
        assert (row.cost, row.model_id, tuple(row.reasons)) == (estimate.cost, artefacts[0].model_id, estimate.reasons)
    with pytest.raises(DBAPIError), database.app.begin() as connection:
        connection.execute(text("update estimator_prediction set cost = 0"))
    with pytest.raises(DBAPIError), database.owner.begin() as connection:
        connection.execute(text("delete from estimator_champion"))


def test_verdicts_are_kept_and_the_newest_are_read(database):
    row = Drift("w", 10.5, 40, 9, 0.01, -0.02, 0.03, State.OK, 100, 0.2, 0.3)
    with database.app.begin() as connection:
        for at in (AT, AT + timedelta(days=7)):
            for _ in range(2):
                records.record_drift(
                    connection, [("served", row), ("v1", replace(row, low=float("-inf")))], as_of=at, window_days=90
                )
        found = records.latest_drift(connection)
    assert [(one.source, one.as_of) for one in found] == [
        ("served", AT + timedelta(days=7)),
        ("v1", AT + timedelta(days=7)),
    ]
    assert found[1].low is None


def test_warnings_are_recorded_once_with_their_cause_and_counted(database):
    from mc_pipelines.estimator.alerts import Alarm, Cause, Split
    from mc_pipelines.estimator.business_metrics import estimator_metrics

    split = Split("w", 1.0, 1.3, 0.3, 0.0, 0.0, 0.0, {Cause.PRICE: 1.3}, (Cause.PRICE,))
    alarm = Alarm(AT, "w", 12)
    with database.app.begin() as connection:
        assert records.record_warnings(connection, [alarm], [split], at=AT) == 2
        assert records.record_warnings(connection, [alarm], [split], at=AT) == 0
        row = connection.execute(select(records.alert).where(records.alert.c.kind == "spend-price")).one()
        assert row.detail["causes"] == ["price"]
        counted = {
            sample.labels["kind"]: sample.value
            for metric in estimator_metrics(connection)
            if metric.name == "mc_estimator_alerts"
            for sample in metric.samples
        }
    assert counted["early-warning"] >= 1
    assert counted["spend-price"] == 1
    assert "spend-model" not in counted
