"""Dagster definitions of provenance."""
