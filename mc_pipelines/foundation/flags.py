"""Feature flags: a table in PostgreSQL behind the OpenFeature interface.

A flag has a state for all tenants and may have another for one tenant. Where the table says nothing, the profile
does: on one machine everything is on but the Azure preview; in production everything is off until it is set.
"""

# ruff: noqa: ARG002 - the provider interface passes what a boolean table does not need

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from threading import Lock

from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import FlagNotFoundError, TypeMismatchError
from openfeature.flag_evaluation import FlagResolutionDetails, FlagValueType, Reason
from openfeature.provider import AbstractProvider, Metadata
from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert

from mc_pipelines.foundation.clock import as_utc
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.ids import TenantId, parse_name
from mc_pipelines.foundation.records import ALL_TENANTS, flag
from mc_pipelines.foundation.settings import Profile, load_settings

RUNNER_AZURE_PREVIEW = "runner_azure_preview"
POLICY_ROLLOUT_CONTROLLER = "policy_rollout_controller"
PROVENANCE_GRAPH_V1 = "provenance_graph_v1"
ESTIMATOR_V2 = "estimator_v2"
SLA_CREDITS = "sla_credits"
NAMES = (RUNNER_AZURE_PREVIEW, POLICY_ROLLOUT_CONTROLLER, PROVENANCE_GRAPH_V1, ESTIMATOR_V2, SLA_CREDITS)
CACHE_SECONDS = 3.0
"""How long a process may act on a state that was changed."""

_ALL = select(flag.c.name, flag.c.scope, flag.c.enabled)
States = Mapping[tuple[str, str], bool]
"""(name, scope) to state; the scope is a tenant or ``*``."""


def default_state(name: str, profile: Profile) -> bool:
    """Return what holds where nobody has set the flag."""
    return profile is Profile.LOCAL and name != RUNNER_AZURE_PREVIEW


def resolve(states: States, name: str, *, tenant: TenantId | None, profile: Profile) -> bool:
    """Decide a flag: the tenant's own state, else that for all, else the profile's default.

    Raises:
        InputError: there is no such flag.
    """
    _check_name(name)
    for scope in (tenant, ALL_TENANTS):
        if scope is not None and (name, scope) in states:
            return states[name, scope]
    return default_state(name, profile)


def read_states(connection: Connection) -> dict[tuple[str, str], bool]:
    """Return every state that somebody has set."""
    rows = connection.execute(_ALL)
    return {(row.name, row.scope): row.enabled for row in rows}


def enabled(
    connection: Connection, name: str, *, tenant: TenantId | None = None, profile: Profile | None = None
) -> bool:
    """Tell whether a flag is on, as this transaction sees it.

    Args:
        connection: the transaction.
        name: one of :data:`NAMES`.
        tenant: for whom; None asks for the state of all.
        profile: decides the default; None: that of the settings.

    Raises:
        InputError: there is no such flag.
    """
    return resolve(read_states(connection), name, tenant=tenant, profile=profile or load_settings().profile)


def set_flag(
    connection: Connection, name: str, state: bool, *, by: str, now: datetime, tenant: TenantId | None = None
) -> bool:
    """Set a flag and return whether that changed anything; the caller writes the audit log in the same transaction.

    Raises:
        InputError: there is no such flag, or the tenant's name is malformed.
    """
    _check_name(name)
    scope = ALL_TENANTS if tenant is None else parse_name(tenant, field="tenant")
    statement = insert(flag).values(
        name=name, scope=scope, enabled=state, changed_by=by, changed_at=as_utc(now, field="now")
    )
    changed = connection.execute(
        statement.on_conflict_do_update(
            index_elements=["name", "scope"],
            set_={column: statement.excluded[column] for column in ("enabled", "changed_by", "changed_at")},
            where=flag.c.enabled != statement.excluded.enabled,
        ).returning(flag.c.name)
    ).first()
    return changed is not None


class TableProvider(AbstractProvider):
    """OpenFeature provider over the table; reads it at most once in :data:`CACHE_SECONDS`.

    The evaluation context's targeting key is the tenant.
    """

    def __init__(
        self, database: Database, profile: Profile, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._database = database
        self._profile = profile
        self._monotonic = monotonic
        self._lock = Lock()
        self._states: States = {}
        self._read_at: float | None = None

    def get_metadata(self) -> Metadata:
        """Name the provider."""
        return Metadata("mc-flag-table")

    def resolve_boolean_details(
        self,
        flag_key: str,
        default_value: bool,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[bool]:
        """Decide a flag.

        Raises:
            FlagNotFoundError: there is no such flag.
        """
        if flag_key not in NAMES:
            raise FlagNotFoundError(flag_key)
        tenant = evaluation_context.targeting_key if evaluation_context else None
        states = self._fresh_states()
        value = resolve(states, flag_key, tenant=TenantId(tenant) if tenant else None, profile=self._profile)
        was_set = (flag_key, ALL_TENANTS) in states or (flag_key, tenant) in states
        return FlagResolutionDetails(value, reason=Reason.TARGETING_MATCH if was_set else Reason.DEFAULT)

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        """Refuse: flags are boolean."""
        raise TypeMismatchError(flag_key)

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        """Refuse: flags are boolean."""
        raise TypeMismatchError(flag_key)

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        """Refuse: flags are boolean."""
        raise TypeMismatchError(flag_key)

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Sequence[FlagValueType] | Mapping[str, FlagValueType],
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Sequence[FlagValueType] | Mapping[str, FlagValueType]]:
        """Refuse: flags are boolean."""
        raise TypeMismatchError(flag_key)

    def _fresh_states(self) -> States:
        with self._lock:
            now = self._monotonic()
            if self._read_at is None or now - self._read_at >= CACHE_SECONDS:
                with self._database.begin() as connection:
                    self._states = read_states(connection)
                self._read_at = now
            return self._states


def _check_name(name: str) -> None:
    if name not in NAMES:
        raise InputError("There is no such flag", field="flag", value=name, mend="use one of " + ", ".join(NAMES))
