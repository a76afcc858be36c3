"""Dagster definitions of executions."""
