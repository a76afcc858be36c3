"""Numba where it is installed; the same functions as plain Python where it is not.

Compiled functions release the GIL and are cached beside their source, so that an installation compiles once
(:mod:`mc_pipelines.provenance.warm_up`). ``MC_GRAPH_ENGINE=numpy`` switches the compiler off, for a
machine on which it does not work; walks then take the numpy path, which gives the same answers.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

COMPILES = os.environ.get("MC_GRAPH_ENGINE", "numba") != "numpy" and find_spec("numba") is not None
"""Whether compiled functions are compiled."""


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function with numba: without the GIL, cached on disk."""
    if not COMPILES:
        return function
    import numba

    made: Callable[P, R] = numba.njit(nogil=True, cache=True)(function)
    return made
