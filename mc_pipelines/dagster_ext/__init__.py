"""Plug-ins that Dagster or its users load."""
