"""The exported ledger under beancount: balanced with a tolerance of zero, and a cent too much is found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from beancount import loader

from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.sla.ledger import beancount, payable
from mc_pipelines.sla.register import register_csv
from mc_pipelines_tests.sla.conftest import World, execution
from mc_pipelines_tests.sla.test_reversal import issue, reverse

pytestmark = pytest.mark.database


@pytest.fixture
def ledger(world: World) -> str:
    world.breach()
    first = world.issue()
    issue(world, reverse(world, first))
    world.facts([execution(5000 + n, outcome="lost", day=2) for n in range(60)])
    world.roll()
    world.issue()
    with world.database.begin() as connection:
        return beancount(connection)


def test_the_ledger_balances_at_zero_tolerance(ledger: str, tmp_path: Path) -> None:
    entries, errors, _ = loader.load_string(ledger)
    assert errors == []
    assert "~ 0 USD" in ledger
    assert sum(type(entry).__name__ == "Transaction" for entry in entries) == 3
    assert sum(type(entry).__name__ == "Balance" for entry in entries) == 2
    file = tmp_path / "ledger.beancount"
    file.write_text(ledger)
    command = [str(Path(sys.executable).with_name("bean-check")), str(file)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(("old", "new"), [("1234.50 ~ 0", "1234.51 ~ 0"), ("  123.45 USD", "  123.46 USD")])
def test_a_cent_too_much_is_found(ledger: str, old: str, new: str) -> None:
    assert old in ledger
    _, errors, _ = loader.load_string(ledger.replace(old, new, 1))
    assert errors


def test_the_register_says_what_the_ledger_says(world: World, ledger: str) -> None:
    with world.database.begin() as connection:
        lines = register_csv(connection).splitlines()
    amounts = [line.split(",")[9] for line in lines[1:]]
    assert amounts == ["123.45", "-123.45", "1234.50"]
    assert f"balance {payable(TenantId('acme'))}  -1234.50 ~ 0 USD" in ledger
