"""Alembic's environment: run by :mod:`mc_pipelines.migrations.upgrade` with a connection, never from a file."""

from __future__ import annotations

from alembic import context

from mc_pipelines.migrations.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True, compare_type=True)
with context.begin_transaction():
    context.run_migrations()
