"""What commands open: see :mod:`mc_pipelines.composition`."""

from __future__ import annotations

from mc_pipelines.composition import Context, open_context

__all__ = ["Context", "open_context"]
