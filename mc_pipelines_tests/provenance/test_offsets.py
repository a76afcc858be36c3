"""Packed offsets are the offsets, also behind nodes with more entries than two bytes count."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mc_pipelines.provenance.offsets import offset_at, offset_count, pack_offsets, unpack_offsets

_STEPS = st.lists(st.sampled_from([0, 1, 2, 31, 2_000, 65_534, 65_535, 65_536, 400_000]), max_size=100)


@settings(deadline=None)  # the first example compiles
@given(_STEPS)
def test_every_offset_comes_back(steps: list[int]) -> None:
    starts = np.cumsum([0, *steps]).astype(np.uint32)
    packed = pack_offsets(starts)
    assert offset_count(packed) == len(starts)
    assert np.array_equal(unpack_offsets(packed), starts)
    assert [offset_at(packed, place) for place in range(len(starts))] == starts.tolist()
