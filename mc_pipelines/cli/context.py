"""What commands open: see :mod:`mc_pipelines.composition`."""

from __future__ import annotations

from mc_pipelines import composition
from mc_pipelines.composition import Context
from mc_pipelines.foundation.clock import Clock
from mc_pipelines.foundation.logs import configure
from mc_pipelines.foundation.settings import Settings

__all__ = ["Context", "open_context"]


def open_context(settings: Settings | None = None, *, clock: Clock | None = None) -> Context:
    """Open everything a command needs; its log lines go to standard error, where they disturb no `--json`.

    Raises:
        ConfigurationError, UnavailableError: as :func:`mc_pipelines.composition.open_context`.
    """
    context = composition.open_context(settings, clock=clock)
    configure(context.settings)
    return context
