"""Dagster definitions of policy."""
