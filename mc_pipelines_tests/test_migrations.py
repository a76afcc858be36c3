"""The revisions form one chain, and applying them works as the owner role."""

import pytest

from mc_pipelines.migrations.chain import CHAIN
from mc_pipelines.migrations.upgrade import current, head, upgrade
from mc_pipelines_tests.conftest import TestDatabase

pytestmark = pytest.mark.database


def test_the_chain_is_the_documented_one() -> None:
    assert head() == CHAIN[-1]


def test_a_second_upgrade_finds_nothing_to_do(database: TestDatabase) -> None:
    assert upgrade(database.owner) == CHAIN[-1]
    with database.app.begin() as connection:
        assert current(connection) == CHAIN[-1]
