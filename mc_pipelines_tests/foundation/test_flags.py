"""Flags: a tenant's own state, else that for all, else the profile's default."""
# ruff: noqa: FBT003 - a state is on or off

from __future__ import annotations

import pytest
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import FlagNotFoundError

from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.flags import (
    CACHE_SECONDS,
    NAMES,
    RUNNER_AZURE_PREVIEW,
    SLA_CREDITS,
    TableProvider,
    default_state,
    enabled,
    resolve,
    set_flag,
)
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.foundation.settings import Profile
from mc_pipelines_tests.conftest import TestDatabase

ACME = TenantId("acme")


def test_defaults_by_profile() -> None:
    on = {name for name in NAMES if default_state(name, Profile.LOCAL)}
    assert on == set(NAMES) - {RUNNER_AZURE_PREVIEW}
    assert not any(default_state(name, Profile.PRODUCTION) for name in NAMES)


def test_the_tenants_own_state_wins() -> None:
    states = {(SLA_CREDITS, "*"): True, (SLA_CREDITS, "acme"): False}
    assert not resolve(states, SLA_CREDITS, tenant=ACME, profile=Profile.LOCAL)
    assert resolve(states, SLA_CREDITS, tenant=TenantId("other"), profile=Profile.PRODUCTION)


def test_an_unknown_flag_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="no such flag; field flag = sla_credit"):
        resolve({}, "sla_credit", tenant=None, profile=Profile.LOCAL)


@pytest.mark.database
def test_setting_says_whether_it_changed_anything(database: TestDatabase, clock: FrozenClock) -> None:
    with database.app.begin() as connection:
        assert enabled(connection, SLA_CREDITS, profile=Profile.LOCAL)
        assert set_flag(connection, SLA_CREDITS, False, by="ada", now=clock.now(), tenant=ACME)
        assert not set_flag(connection, SLA_CREDITS, False, by="bob", now=clock.now(), tenant=ACME)
        assert not enabled(connection, SLA_CREDITS, tenant=ACME)
        assert enabled(connection, SLA_CREDITS)
        with pytest.raises(InputError):
            set_flag(connection, "nothing", True, by="ada", now=clock.now())


@pytest.mark.database
def test_the_provider_reads_at_most_once_in_its_time(database: TestDatabase, clock: FrozenClock) -> None:
    moment = [0.0]
    provider = TableProvider(database.app, Profile.LOCAL, monotonic=lambda: moment[0])

    def state(tenant: str | None = None) -> bool:
        return provider.resolve_boolean_details(SLA_CREDITS, False, EvaluationContext(tenant)).value

    assert state()
    with database.app.begin() as connection:
        set_flag(connection, SLA_CREDITS, False, by="ada", now=clock.now())
        set_flag(connection, SLA_CREDITS, True, by="ada", now=clock.now(), tenant=ACME)
    moment[0] = CACHE_SECONDS - 0.001
    assert state()
    moment[0] = CACHE_SECONDS
    assert not state()
    assert state("acme")
    with pytest.raises(FlagNotFoundError):
        provider.resolve_boolean_details("nothing", True)
