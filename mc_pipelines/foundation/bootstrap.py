"""Roles and databases: what a superuser creates once, before the first migration.

Three roles, none of which may do another's work: ``mc_owner`` owns our tables and runs migrations,
``mc_app`` serves with what the migrations granted it, ``mc_dagster`` owns Dagster's own database.
Every statement may be run again.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass

import psycopg
from psycopg import sql
from sqlalchemy.engine import URL, make_url

from mc_pipelines.foundation.database import APP_ROLE, DAGSTER_ROLE, OWNER_ROLE, normalise_url
from mc_pipelines.foundation.errors import ConfigurationError, UnavailableError

DATABASE = "mc"
DAGSTER_DATABASE = "mc_dagster"
_ROLES = (OWNER_ROLE, APP_ROLE, DAGSTER_ROLE)
_LOCK = 7_202_601_19
"""Advisory lock held while roles and databases are made, so that two bootstraps do not collide."""


@dataclass(frozen=True, slots=True)
class BootstrapStep:
    """One statement; ``unless`` is a query that returns a row when there is nothing to do."""

    statement: str
    unless: str | None = None


def bootstrap_steps(database: str = DATABASE, dagster_database: str = DAGSTER_DATABASE) -> list[BootstrapStep]:
    """Return what makes a server ready for the first migration, in order."""
    steps = [
        BootstrapStep(f"create role {role} login", unless=f"select 1 from pg_roles where rolname = '{role}'")
        for role in _ROLES
    ]
    # A managed server's administrator is no superuser, and gives away a database only as a member of its new owner.
    steps += [
        BootstrapStep(
            f"grant {role} to current_user",
            unless=f"select 1 where pg_has_role(current_user, '{role}', 'member')",
        )
        for role in (OWNER_ROLE, DAGSTER_ROLE)
    ]
    for name, owner, users in (
        (database, OWNER_ROLE, f"{OWNER_ROLE}, {APP_ROLE}"),
        (dagster_database, DAGSTER_ROLE, DAGSTER_ROLE),
    ):
        quoted = _quote(name)
        steps += [
            BootstrapStep(
                f"create database {quoted} owner {owner} template template0 encoding 'UTF8'",
                unless=f"select 1 from pg_database where datname = {_literal(name)}",
            ),
            BootstrapStep(f"revoke all on database {quoted} from public"),
            BootstrapStep(f"grant connect, temporary on database {quoted} to {users}"),
            BootstrapStep(f"alter database {quoted} set timezone to 'UTC'"),
        ]
    return steps


def bootstrap_script(database: str = DATABASE, dagster_database: str = DAGSTER_DATABASE) -> str:
    """Return the same as a psql script that a database administrator can read and run."""
    lines = [
        "-- Roles and databases of Maestro Conductor. Run once with psql as an administrator; it may be run again.",
        "\\set ON_ERROR_STOP on",
    ]
    for step in bootstrap_steps(database, dagster_database):
        if step.unless is None:
            lines.append(f"{step.statement};")
        else:
            lines.append(f"select {_literal(step.statement)} where not exists ({step.unless}) \\gexec")
    lines.append("-- Passwords: psql asks for each and sends only its SCRAM verifier.")
    lines += [f"\\password {role}" for role in _ROLES]
    return "\n".join(lines) + "\n"


def bootstrap(
    superuser_url: str,
    *,
    database: str = DATABASE,
    dagster_database: str = DAGSTER_DATABASE,
    passwords: dict[str, str] | None = None,
) -> list[str]:
    """Create the roles and databases that are missing; return the statements that created something.

    Args:
        superuser_url: connects as a superuser or as a managed server's administrator.
        database: name of our database.
        dagster_database: name of Dagster's database.
        passwords: role to password; sent as SCRAM verifier, so that no server log holds it.

    Raises:
        UnavailableError: the server cannot be reached.
        ConfigurationError: this role may not create roles and databases.
    """
    url = make_url(normalise_url(superuser_url))
    created: list[str] = []
    try:
        with closing(psycopg.connect(_conninfo(url), autocommit=True, connect_timeout=5)) as connection:
            connection.execute("select pg_advisory_lock(%s)", (_LOCK,))
            for step in bootstrap_steps(database, dagster_database):
                if step.unless is None:
                    connection.execute(step.statement)
                elif connection.execute(step.unless).fetchone() is None:
                    connection.execute(step.statement)
                    created.append(step.statement)
            _set_passwords(connection, (passwords or {}).items())
    except psycopg.OperationalError as error:
        raise UnavailableError(
            f"The database does not answer: {str(error).strip().splitlines()[0]}",
            field="--url",
            value=url.render_as_string(hide_password=True),
            mend="name a running server and an administrator's role",
        ) from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise ConfigurationError(
            f"This role may not prepare the server: {error.diag.message_primary}",
            field="--url",
            value=url.username,
            mend="connect as a superuser, or give `mc db bootstrap --print-sql` to a database administrator",
        ) from error
    return created


def _set_passwords(connection: psycopg.Connection, passwords: Iterable[tuple[str, str]]) -> None:
    for role, password in passwords:
        verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
        connection.execute(
            sql.SQL("alter role {} password {}").format(sql.Identifier(role), sql.Literal(verifier.decode()))
        )


def _conninfo(url: URL) -> str:
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
