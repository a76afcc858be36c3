"""Alembic migrations: one head, one revision per capability and change."""
