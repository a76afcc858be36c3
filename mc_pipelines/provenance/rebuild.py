"""In which order to rebuild what stands on something bad: everything in a step needs only what earlier steps made.

Cycles are normal in dependency graphs, so what depends on itself is rebuilt together: steps are those of the
condensation (the graph of strongly connected components), each as early as it can be.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

Array = NDArray[Any]


def rebuild_steps(count: int, upper: Array, lower: Array) -> Array:
    """Return the step of each of ``count`` nodes; step 0 stands on nothing in the graph.

    Args:
        count: how many nodes.
        upper: of each edge, the place of what is stood on.
        lower: of each edge, the place of what stands on it.
    """
    if not count:
        return np.zeros(0, dtype=np.int64)
    ones = np.ones(len(upper), dtype=np.int8)
    _, component = connected_components(csr_array((ones, (upper, lower)), shape=(count, count)), connection="strong")
    component = component.astype(np.int64)
    before, after = component[upper], component[lower]
    differ = before != after
    pairs = np.unique(np.stack([before[differ], after[differ]], axis=1), axis=0)
    total = int(component.max()) + 1
    waiting = np.bincount(pairs[:, 1], minlength=total)
    start = np.searchsorted(pairs[:, 0], np.arange(total + 1))
    step = np.zeros(total, dtype=np.int64)
    ready = np.flatnonzero(waiting == 0)
    now = 0
    while len(ready):
        step[ready] = now
        spans = [pairs[start[each] : start[each + 1], 1] for each in ready]
        touched = np.concatenate(spans) if spans else np.empty(0, dtype=np.int64)
        np.subtract.at(waiting, touched, 1)
        ready = np.unique(touched[waiting[touched] == 0])
        now += 1
    found: Array = step[component]
    return found
