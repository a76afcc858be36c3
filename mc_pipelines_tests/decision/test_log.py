"""The decision log: OPA's shape, masked, written once."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from mc_pipelines.decision.engine import Verdict
from mc_pipelines.decision.log import DecisionRecord, decision_record, decisions_of_day, mask, record_decisions
from mc_pipelines.foundation.canonical import digest_of
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.ids import Digest, uuid7

MOMENT = datetime(2026, 1, 19, 23, 59, 59, tzinfo=UTC)
DOCUMENT = {"tenant": "acme", "steps": [{"environment": {"KEY": "x"}, "cpu": 1}], "Token": "t", "a/b": {"secret": 1}}


def record(moment: datetime = MOMENT, verdict: Verdict | None = None) -> DecisionRecord:
    return decision_record(
        verdict or Verdict([{"rule": "region"}], None, 1_000),
        decision_id=uuid7(moment),
        decided_at=moment,
        pack="placement",
        revision=Digest("sha256:" + "1" * 64),
        query="data.placement.deny",
        input_document=DOCUMENT,
        engine="regorus 0.13.0",
        tenant="acme",
    )


def test_shape_of_an_entry():
    entry = record().entry()
    assert entry["path"] == "placement/deny"
    assert entry["timestamp"] == "2026-01-19T23:59:59Z"
    assert entry["bundles"] == {"placement": {"revision": "sha256:" + "1" * 64}}
    assert entry["result"] == [{"rule": "region"}]
    assert entry["input"] == {"tenant": "acme", "steps": [{"cpu": 1}], "a/b": {}}
    assert entry["erased"] == ["/input/steps/0/environment", "/input/Token", "/input/a~1b/secret"]
    assert entry["labels"]["input_digest"] == digest_of(DOCUMENT), "of the whole input, not of the masked one"
    assert "error" not in entry


def test_an_error_is_no_result():
    entry = record(verdict=Verdict(None, "it erred")).entry()
    assert "result" not in entry
    assert entry["error"]["message"] == "it erred"


def test_masking_leaves_the_original_alone():
    document = {"secret": 1, "kept": [1, {"password": 2}]}
    assert mask(document) == ({"kept": [1, {}]}, ("/input/secret", "/input/kept/1/password"))
    assert document == {"secret": 1, "kept": [1, {"password": 2}]}


def test_naive_time_is_refused():
    with pytest.raises(InputError, match="without a zone"):
        record(MOMENT.replace(tzinfo=None))


@pytest.mark.database
def test_written_once_and_read_by_day(database):
    records = [record(MOMENT + timedelta(seconds=second)) for second in range(3)]
    with database.app.begin() as connection:
        record_decisions(connection, records)
    with database.app.begin() as connection:
        record_decisions(connection, [*records, record(MOMENT, Verdict(None, "late"))])
    with database.app.begin() as connection:
        first = decisions_of_day(connection, "placement", MOMENT.date())
        second = decisions_of_day(connection, "placement", MOMENT.date() + timedelta(days=1))
    assert {found.error for found in first} == {None, "late"}
    assert records[0] in first
    assert list(second) == records[1:]


@pytest.mark.database
def test_nobody_changes_a_decision(database):
    with database.app.begin() as connection:
        record_decisions(connection, [record()])
    for statement in ("update policy_decision set error = 'x'", "delete from policy_decision"):
        for role in (database.app, database.owner):
            with pytest.raises(DBAPIError, match=r"insert-only|permission denied"), role.begin() as connection:
                connection.execute(text(statement))
