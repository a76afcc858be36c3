"""One round trip for who calls and what is switched on, and what it does where the server closed the connection."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import create_engine

from mc_pipelines.foundation import flags
from mc_pipelines.foundation.callers import read_caller
from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.errors import UnavailableError
from mc_pipelines.foundation.ids import PersonId, TenantId
from mc_pipelines.foundation.tenants import Person, add_key, find_person, put_person, withdraw_key
from mc_pipelines_tests.conftest import TestDatabase
from mc_pipelines_tests.foundation.test_tenants import _pem

ISSUER = "https://idp.example"


@pytest.mark.database
def test_it_says_what_the_two_statements_say(database: TestDatabase, clock: FrozenClock) -> None:
    assert read_caller(database.app, ISSUER, "1").person is None
    assert read_caller(database.app, ISSUER, "1").states == {}
    person = Person(PersonId(uuid4()), ISSUER, "1", "One", frozenset({"auditor", "operator"}))
    for change in range(4):
        with database.app.begin() as connection:
            if change == 0:
                put_person(connection, person, now=clock.now())
            elif change == 1:
                key = add_key(connection, person.person_id, _pem(), now=clock.now())
                add_key(connection, person.person_id, _pem(), now=clock.now())
            elif change == 2:
                clock.advance(timedelta(minutes=1))
                withdraw_key(connection, key, now=clock.now())
                flags.set_flag(connection, flags.ESTIMATOR_V2, state=False, by="t", now=clock.now())
            else:
                flags.set_flag(
                    connection, flags.SLA_CREDITS, state=True, by="t", now=clock.now(), tenant=TenantId("acme")
                )
        with database.app.begin() as connection:
            found = read_caller(database.app, ISSUER, "1")
            assert found.person == find_person(connection, ISSUER, "1")
            assert found.states == flags.read_states(connection)
    assert read_caller(database.app, ISSUER, "2").person is None
    assert len(read_caller(database.app, ISSUER, "2").states) == 2


@pytest.mark.database
def test_a_connection_that_the_server_closed_is_replaced(database: TestDatabase) -> None:
    pid = database.app.read("select pg_backend_pid() as pid", {})[0].pid
    engine = create_engine(database.superuser_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"select pg_terminate_backend({pid}, 5000)")
    engine.dispose()
    assert database.app.read("select pg_backend_pid() as pid", {})[0].pid != pid


def test_without_a_server_it_is_unavailable(tmp_path: Path) -> None:
    nowhere = Database(f"postgresql://mc_app@localhost:1/none?host={tmp_path}")
    with pytest.raises(UnavailableError, match="does not answer"):
        nowhere.read("select 1", {})
    nowhere.dispose()
