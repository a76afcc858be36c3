"""Dagster definitions of showback."""
