"""The migrated schema is exactly what the records say."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from mc_pipelines.foundation.records import metadata
from mc_pipelines_tests.conftest import TestDatabase

pytestmark = pytest.mark.database
FOUNDATION = {"outbox", "flag", "tenant", "person", "person_key"}


def _is_ours(_item: object, name: str, kind: str, _reflected: bool, _other: object) -> bool:
    return kind != "table" or name in FOUNDATION


def test_the_tables_of_foundation_match_their_records(database: TestDatabase) -> None:
    with database.owner.begin() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"compare_type": True, "compare_server_default": True, "include_object": _is_ours},
        )
        assert compare_metadata(context, metadata) == []


def test_there_are_tables_to_compare(database: TestDatabase) -> None:
    assert set(metadata.tables) >= FOUNDATION
