"""Contracts as data: one digest a meaning, parameters read back, lint, signatures, cut periods."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from fractions import Fraction

import pytest

from mc_pipelines.foundation.errors import ConflictError, InputError, VerificationError
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.foundation.money import Money
from mc_pipelines.sla import contract_store
from mc_pipelines.sla.contract import (
    BadSlice,
    Contract,
    EmptySlice,
    Exclusion,
    Measure,
    PartialPeriod,
    Restatement,
    Source,
    Tier,
)
from mc_pipelines.sla.contract_store import Assigned, assign_contract, register_contract, verified_contract
from mc_pipelines.sla.document import document_of, load_contract, parse_canonical, seal_contract
from mc_pipelines.sla.library import template, template_names, template_text
from mc_pipelines.sla.lint import Severity, diff, lint
from mc_pipelines_tests.sla.conftest import CONTRACT, FIRST_DAY, World

BASE = template("gcp-functions-2020").contract
EVERYTHING = replace(
    BASE,
    currency="BHD",
    zone="Australia/Lord_Howe",
    cap=Fraction(75, 2),
    minimum=Money("BHD", 1500),
    source=Source.PROBES,
    probe_ms=500,
    empty_slice=EmptySlice.UNKNOWN,
    bad_slice=BadSlice(Fraction(5, 2), 3, 7),
    exclusion=Exclusion.BAD_ONLY,
    partial=PartialPeriod.HELD,
    restatement=Restatement.NO_CLAWBACK,
    close_after=timedelta(hours=7),
    claim_window="none",
)


def test_every_parameter_reads_back() -> None:
    sealed = seal_contract(EVERYTHING)
    assert parse_canonical(sealed.document).contract == EVERYTHING
    assert load_contract(sealed.document).digest == sealed.digest
    assert document_of(EVERYTHING)["spec"]["x-credit"]["probeInterval"] == "500ms"


@pytest.mark.parametrize("name", template_names())
def test_templates_name_their_source_and_date_and_have_no_error(name: str) -> None:
    contract = template(name).contract
    assert contract.source_text
    assert contract.source_date
    assert [finding for finding in lint(contract) if finding.severity is Severity.ERROR] == []


def test_two_spellings_have_one_digest_and_a_change_has_another() -> None:
    text = template_text("aws-compute-region")
    assert load_contract(text.replace("99.0,", "99.00,")).digest == template("aws-compute-region").digest
    changed = load_contract(text.replace("credit: 30", "credit: 31"))
    assert changed.digest != template("aws-compute-region").digest
    assert diff(template("aws-compute-region").contract, changed.contract) == [
        ("spec.x-credit.tiers[1].credit", "30", "31")
    ]


def tiers(*pairs: tuple[str, str]) -> tuple[Tier, ...]:
    return tuple(Tier(Fraction(below), Fraction(credit)) for below, credit in pairs)


@pytest.mark.parametrize(
    ("changes", "severity", "word"),
    [
        ({"tiers": tiers(("99", "10"), ("95", "50"))}, Severity.ERROR, "A gap"),
        ({"tiers": tiers(("99.9", "10"), ("95", "50"))}, Severity.ERROR, "above the target"),
        ({"tiers": tiers(("99.5", "10"), ("99.5", "50"))}, Severity.ERROR, "overlap"),
        ({"tiers": tiers(("99.5", "10"), ("99.6", "50"))}, Severity.ERROR, "not in order"),
        ({"tiers": tiers(("99.5", "50"), ("95", "10"))}, Severity.ERROR, "pay less"),
        ({"tiers": ()}, Severity.ERROR, "nothing is ever owed"),
        ({"tiers": tiers(("99.5", "10"), ("95", "100"))}, Severity.WARNING, "cap cuts"),
        ({"target": Fraction(9995, 10000)}, Severity.ERROR, "below one per cent"),
        ({"source": Source.INCIDENTS}, Severity.ERROR, "cannot be measured"),
        ({"slice_ms": 120_000}, Severity.ERROR, "slices of 1m"),
        ({"bad_slice": None}, Severity.ERROR, "badSlice belongs"),
        ({"target": Fraction(100), "tiers": tiers(("100", "10"))}, Severity.WARNING, "no budget"),
        ({"target": Fraction("99.999"), "tiers": tiers(("99.999", "10"))}, Severity.WARNING, "cannot be seen"),
        ({"bad_slice": BadSlice(Fraction(10), 1000)}, Severity.WARNING, "twice the budget"),
        ({"source": Source.PROBES}, Severity.ERROR, "how often they look"),
        ({"probe_ms": 60_000}, Severity.ERROR, "how often they look"),
        ({"source": Source.PROBES, "probe_ms": 60_000}, Severity.ERROR, "never holds the 100 probes"),
        ({"free_hour_above_ms": 360_000}, Severity.WARNING, "No credit is drafted for a free hour"),
        (
            {"source": Source.PROBES, "probe_ms": 3_600_000, "target": Fraction("99.9"), "tiers": tiers(("99.9", "5"))},
            Severity.WARNING,
            "one that is lost decides",
        ),
    ],
)
def test_the_linter_finds(changes: dict[str, object], severity: Severity, word: str) -> None:
    found = lint(replace(BASE, **changes))  # type: ignore[arg-type]
    assert any(finding.severity is severity and word in finding.message for finding in found), found
    assert all(finding.mend for finding in found)


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("target: 0.999", "target: 99.9", "objectives.target"),
        ("America/Denver", "America/Denvr", "timeZone"),
        ("currency: USD", "currency: USX", "currency"),
        ("rounding: half-up", "rounding: half-even", "rounding"),
        ("version: 1", "version: 0", "version"),
        ("measure: events", "measure: event", "measure"),
        ("exclusions: both", "exclusion: both", "exclusions"),
        ("budgetingMethod: Occurrences", "budgetingMethod: Timeslices", "budgetingMethod"),
        ("below: 99.9,", "below: ninety,", "tiers.below"),
    ],
)
def test_a_contract_that_means_nothing_is_refused_by_field(old: str, new: str, field: str) -> None:
    with pytest.raises(InputError) as refused:
        load_contract(CONTRACT.replace(old, new))
    assert field in str(refused.value.field)


def test_a_partial_period_is_whole_or_the_days_held() -> None:
    held = replace(BASE, partial=PartialPeriod.HELD, zone="America/Denver")

    def texts(contract: Contract) -> list[str]:
        assigned = Assigned(TenantId("acme"), seal_contract(contract), date(2026, 1, 15), date(2026, 3, 10))
        return [period.text for period in assigned.billing_periods(date(2026, 1, 15), date(2026, 3, 10))]

    assert texts(held) == ["2026-01-15/2026-01-31", "2026-02-01/2026-02-28", "2026-03-01/2026-03-10"]
    whole = replace(held, partial=PartialPeriod.WHOLE)
    assert texts(whole) == ["2026-01-01/2026-01-31", "2026-02-01/2026-02-28", "2026-03-01/2026-03-31"]
    assert held.measure is Measure.BAD_RUNS


@pytest.mark.database
def test_recorded_contracts_are_signed_and_never_overlap(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {world.service_signer.key_id: world.service_signer.public_key_pem}
    with world.database.begin() as connection:
        monkeypatch.setattr(contract_store, "service_keys", lambda _: keys)
        assert verified_contract(connection, world.sealed.digest) == world.sealed
        assert register_contract(connection, world.sealed, world.service_signer, now=world.clock.now())
        other = seal_contract(replace(world.sealed.contract, title="Other terms, same version"))
        with pytest.raises(ConflictError, match="other terms"):
            register_contract(connection, other, world.service_signer, now=world.clock.now())
        second = seal_contract(replace(world.sealed.contract, version=2, title="Amended"))
        register_contract(connection, second, world.service_signer, now=world.clock.now())
        with pytest.raises(ConflictError, match="already has a contract"):
            assign_contract(
                connection, TenantId("acme"), second.digest, first_day=date(2026, 1, 25), now=world.clock.now()
            )
        assert assign_contract(
            connection, TenantId("acme"), second.digest, first_day=date(2026, 1, 26), now=world.clock.now()
        )
        with pytest.raises(InputError, match="not in force yet"):
            assign_contract(
                connection, TenantId("beta"), second.digest, first_day=date(2026, 1, 18), now=world.clock.now()
            )
        monkeypatch.setattr(contract_store, "service_keys", lambda _: {})
        with pytest.raises(VerificationError):
            verified_contract(connection, world.sealed.digest)


@pytest.mark.database
def test_two_contracts_are_never_billed_for_one_outage(world: World) -> None:
    """A contract that ends in the middle of a period is billed for the whole of it, unless it says ``held``."""
    tenant, now = TenantId("beta"), world.clock.now()
    with world.database.begin() as connection:
        held = seal_contract(replace(world.sealed.contract, version=2, partial=PartialPeriod.HELD))
        later = seal_contract(replace(world.sealed.contract, version=3, partial=PartialPeriod.HELD))
        for sealed in (held, later):
            register_contract(connection, sealed, world.service_signer, now=now)
        middle, after = date(2026, 1, 21), date(2026, 1, 22)
        assign_contract(connection, tenant, world.sealed.digest, first_day=FIRST_DAY, last_day=middle, now=now)
        with pytest.raises(ConflictError) as refused:
            assign_contract(connection, tenant, held.digest, first_day=after, now=now)
        assert "2026-01-25" in str(refused.value.mend)
        assert assign_contract(
            connection, tenant, held.digest, first_day=date(2026, 1, 26), last_day=middle.replace(day=28), now=now
        )
        assert assign_contract(connection, tenant, later.digest, first_day=date(2026, 1, 29), now=now)
        with pytest.raises(InputError):
            assign_contract(connection, TenantId("gamma"), held.digest, first_day=after, last_day=date.max, now=now)
