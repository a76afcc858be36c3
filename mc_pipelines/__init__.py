"""Maestro Conductor: the governance plane of a multi-cloud workflow platform."""

__version__ = "0.8.0.dev0"
