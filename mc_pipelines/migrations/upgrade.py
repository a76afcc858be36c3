"""Bring a database to the newest revision, or say where it stands."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from mc_pipelines.foundation.database import OWNER_ROLE, Database
from mc_pipelines.migrations.chain import sources_digest


def configuration(connection: Connection | None = None) -> Config:
    """Return Alembic's configuration for our revisions, bound to ``connection``."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    if connection is not None:
        config.attributes["connection"] = connection
    return config


def head() -> str:
    """Return the newest revision that this code knows."""
    return str(ScriptDirectory.from_config(configuration()).get_current_head())


def current(connection: Connection) -> str | None:
    """Return the revision the database is at, or None for an empty one."""
    return MigrationContext.configure(connection).get_current_revision()


def upgrade(owner: Database) -> str:
    """Run all missing revisions in one transaction, as the owner role; return the revision reached.

    A second process that upgrades at the same time waits for the first and then finds nothing to do.
    """
    with owner.begin() as connection:
        connection.execute(text("select pg_advisory_xact_lock(hashtext('mc_migrations'))"))
        connection.execute(text(f"set local role {OWNER_ROLE}"))
        before, reached = current(connection), head()
        if before != reached:
            command.upgrade(configuration(connection), "head")
            connection.execute(text(f"comment on table public.alembic_version is '{sources_digest(reached)}'"))
        return reached
