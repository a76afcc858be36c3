"""Dagster definitions of estimator."""
