"""Dagster definitions of keys."""
