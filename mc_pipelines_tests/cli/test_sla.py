"""`mc sla diff`, `counterfactual` and the contracts that are recorded, through the real command line."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from mc_pipelines.attest.key_history import KeyRecord, record_key
from mc_pipelines.foundation.clock import rfc3339
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.sla.contract_store import assign_contract
from mc_pipelines_tests.cli.test_credits import Shell, shell  # noqa: F401 - a fixture
from mc_pipelines_tests.sla.conftest import CONTRACT, execution, world  # noqa: F401 - a fixture
from mc_pipelines_tests.sla.test_ingest import INCIDENT

pytestmark = pytest.mark.database
PERIOD = "2026-01-19/2026-01-25"


def open_ended(shell: Shell) -> None:  # noqa: F811 - the fixture
    """The contract goes on after its first week."""
    people = shell.world
    with people.database.begin() as connection:
        assign_contract(
            connection, TenantId("acme"), people.sealed.digest, first_day=date(2026, 1, 26), now=people.clock.now()
        )


def test_diff_names_what_a_late_fact_changed(shell: Shell) -> None:  # noqa: F811 - the fixture
    people = shell.world
    before = rfc3339(people.clock.now())
    people.clock.advance(timedelta(hours=1))
    late = execution(100) | {"recorded_at": people.clock.now()}
    people.facts([late])
    people.roll()
    [changed] = shell.json("sla", "diff", "acme", PERIOD, "--before", before)
    assert [(one["before"], one["after"]) for one in changed["slices"]] == [([60, 2, 0], [60, 1, 0])]
    assert changed["facts"] == []
    shown = {one["name"]: (one["before"], one["after"]) for one in changed["figures"]}["shown"]
    assert shown == ("99.700000000", "99.800000000")
    assert "99.800000000" in shell.run("sla", "diff", "acme", PERIOD, "--before", before)
    now = rfc3339(people.clock.now())
    assert "nothing changed" in shell.run("sla", "diff", "acme", PERIOD, "--before", now)
    assert "exchange the two" in shell.run("sla", "diff", "acme", PERIOD, "--before", now, "--after", before, code=2)


@pytest.mark.parametrize("command", [("diff", "--before", "2026-01-28T00:00:00Z"), ("counterfactual",), ("report",)])
def test_a_period_that_has_not_begun_is_neither_kept_nor_broken(
    shell: Shell,  # noqa: F811 - the fixture
    command: tuple[str, ...],
) -> None:
    open_ended(shell)
    assert "has not begun" in shell.run("sla", command[0], "acme", "2031-01-06", *command[1:], code=2)


def test_the_same_week_under_published_contracts(shell: Shell) -> None:  # noqa: F811 - the fixture
    found = {one["template"]: one for one in shell.json("sla", "counterfactual", "acme", PERIOD)}
    functions = found["azure-functions-consumption"]
    assert (functions["shown"], functions["creditPercent"], functions["credit"]) == ("99.700000000", "10", "123.45 USD")
    assert "gcp-functions-2020" in shell.run("sla", "counterfactual", "acme", PERIOD)
    open_ended(shell)
    reasons = {one["reason"] for one in shell.json("sla", "counterfactual", "acme", "2026-01-26")}
    assert "nothing was counted in the period" in reasons


def test_recorded_contracts_are_listed_and_shown_by_digest(shell: Shell) -> None:  # noqa: F811 - the fixture
    digest = shell.world.sealed.digest
    assert [one["digest"] for one in shell.json("sla", "contracts", "ls", "--recorded")] == [digest]
    assert digest in shell.run("sla", "contracts", "ls", "--recorded")
    people, signer = shell.world, shell.world.service_signer
    assert not shell.run("sla", "contracts", "show", digest, code=1), "nobody vouches for the key yet"
    with people.database.begin() as connection:
        key = KeyRecord(signer.key_id, signer.public_key_pem, people.clock.now())
        record_key(connection, key, now=people.clock.now())
    assert shell.run("sla", "contracts", "show", digest).endswith(f"# {digest}\n")
    assert shell.json("sla", "contracts", "show", digest)["digest"] == digest
    assert "No such" in shell.run("sla", "contracts", "show", "sha256:" + "0" * 64, code=2)
    assert "64 lower-case" in shell.run("sla", "contracts", "show", "sha256:00", code=2)


def test_a_refused_file_or_assignment_is_audited_and_writes_nothing(shell: Shell, tmp_path: Path) -> None:  # noqa: F811
    def refusals() -> set[tuple[str, str]]:
        query = "select act, subject from attest_log_leaf where act like 'sla.%-refused'"
        with shell.world.database.begin() as connection:
            return {(row.act, row.subject) for row in connection.execute(text(query))}

    path = tmp_path / "late.json"
    path.write_text(json.dumps([INCIDENT | {"tenant": "acme"}, INCIDENT | {"tenant": "acme", "id": "8", "state": "?"}]))
    assert "Row 2" in shell.run("sla", "ingest", "incidents", path, code=2)
    assert refusals() == {("sla.ingest-refused", "incidents late.json")}
    digest = shell.world.sealed.digest
    assert "already has" in shell.run("sla", "contracts", "assign", "acme", digest, "--from", "2026-01-20", code=2)
    assert ("sla.assignment-refused", f"acme {digest}") in refusals()
    zoneless = tmp_path / "zoneless.yaml"
    zoneless.write_text(CONTRACT.replace("America/Denver", "America/Nowhere"))
    assert "America/Nowhere" in shell.run("sla", "contracts", "record", zoneless, code=2)
    assert ("sla.contract-refused", "zoneless.yaml") in refusals()
    path.write_text(json.dumps([INCIDENT | {"tenant": "acme"}]))
    assert shell.json("sla", "ingest", "incidents", path)["new"] == 1, "the good row of the refused file was not kept"
