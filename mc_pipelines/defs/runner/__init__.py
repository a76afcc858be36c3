"""Dagster definitions of runner."""
