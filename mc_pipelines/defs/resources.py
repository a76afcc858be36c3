"""The one resource of our assets: the context that the settings open, once a process and not before it is used."""

from functools import cache
from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    from mc_pipelines.composition import Context


class Maestro(dg.ConfigurableResource[Any]):
    """Database, object stores, clock and signer, as the environment names them."""

    def open(self) -> "Context":
        """Return the context; the first call in a process connects."""
        return _context()


@cache
def _context() -> "Context":
    from mc_pipelines.composition import open_context  # most ticks and every load of the location open nothing

    return open_context()


@dg.definitions
def resources() -> dg.Definitions:
    """The resources of the code location."""
    return dg.Definitions(resources={"maestro": Maestro()})
