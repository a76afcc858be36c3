"""The one resource of our assets: the context that the settings open, once a process and not before it is used."""

from functools import cache

import dagster as dg

from mc_pipelines.composition import Context, open_context


class Maestro(dg.ConfigurableResource[Context]):
    """Database, object stores, clock and signer, as the environment names them."""

    def open(self) -> Context:
        """Return the context; the first call in a process connects."""
        return _context()


@cache
def _context() -> Context:
    return open_context()


@dg.definitions
def resources() -> dg.Definitions:
    """The resources of the code location."""
    return dg.Definitions(resources={"maestro": Maestro()})
