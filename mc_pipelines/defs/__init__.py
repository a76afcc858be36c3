"""Dagster definitions, thinly: read, call the domain, write, return metadata."""
