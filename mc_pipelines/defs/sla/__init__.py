"""Dagster definitions of sla."""
