"""Shared mechanics that know no capability."""
