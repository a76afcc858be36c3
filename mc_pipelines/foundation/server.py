"""What a database server is, asked in one round trip: version, role, revision."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

from mc_pipelines.foundation.database import MINIMUM_SERVER_VERSION, OWNER_ROLE, Database
from mc_pipelines.foundation.errors import ConfigurationError

_FACTS = text(
    "select current_setting('server_version'), current_setting('server_version_num')::int / 10000, current_user,"
    " r.rolsuper or r.rolbypassrls or coalesce(pg_has_role(r.oid, (select oid from pg_roles where rolname = :owner),"
    " 'member'), false), to_regclass('public.alembic_version') is not null,"
    " obj_description(to_regclass('public.alembic_version'), 'pg_class')"
    " from pg_roles r where r.rolname = current_user"
)


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """One look at a server."""

    version: str
    """As the server says it, such as ``18.4``."""
    major: int
    role: str
    privileged: bool
    """The role is a superuser, bypasses row-level security, or is (a member of) the owner."""
    revision: str | None
    """The revision of our schema; None for an empty database."""
    sources: str | None = None
    """The digest of the migrations that made the schema, as they were then."""


def look(database: Database) -> ServerFacts:
    """Ask a server what it is.

    Raises:
        UnavailableError: it does not answer.
    """
    with database.begin() as connection:
        version, major, role, privileged, migrated, sources = connection.execute(_FACTS, {"owner": OWNER_ROLE}).one()
        return ServerFacts(version, major, role, privileged, _revision(connection) if migrated else None, sources)


def refuse_unsuitable(facts: ServerFacts, database: Database) -> None:
    """Refuse to serve on a server that is too old, or with a role that could bypass grants.

    Raises:
        ConfigurationError: with the mend.
    """
    refuse_old(facts, database)
    if facts.privileged:
        raise ConfigurationError(
            "A service does not run as the owner of the tables or as a superuser",
            field="MC_DATABASE_URL",
            value=facts.role,
            mend="connect as mc_app; `mc db bootstrap --print-sql` shows how to create it",
        )


def refuse_old(facts: ServerFacts, database: Database) -> None:
    """Refuse a server older than the oldest that is tested.

    Raises:
        ConfigurationError: with the mend.
    """
    if facts.major < MINIMUM_SERVER_VERSION:
        raise ConfigurationError(
            f"PostgreSQL {facts.version} is too old: {MINIMUM_SERVER_VERSION} is the oldest supported",
            field="MC_DATABASE_URL",
            value=database.safe_url,
            mend=f"upgrade the server to {MINIMUM_SERVER_VERSION} or newer, or name another one",
        )


def _revision(connection: Connection) -> str | None:
    try:
        with connection.begin_nested():
            found: str | None = connection.execute(text("select version_num from alembic_version")).scalar()
    except Exception as error:
        if getattr(getattr(error, "orig", None), "sqlstate", None) == "42501":
            return None
        raise
    return found
