"""Ids encoded many at a time are those encoded one by one, whatever stands where digits should."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mc_pipelines.provenance.id_codec import GITOID_PREFIX, SHA256_PREFIX, decode_id, encode_id, encode_texts

DIGEST, UUID = "sha256:" + "0f" * 32, "run:ci/01890a5d-ac96-774b-bcce-b302099a8057"
ids = st.one_of(
    st.text(min_size=1, max_size=80),
    st.tuples(st.sampled_from([DIGEST, "gitoid:blob:" + DIGEST, UUID]), st.integers(0, 90), st.characters()).map(
        lambda drawn: drawn[0][: drawn[1]] + drawn[2] + drawn[0][drawn[1] + 1 :]
    ),
    st.sampled_from([DIGEST, "gitoid:blob:" + DIGEST, UUID, UUID[-36:]]),
)


def encoded(names: list[str]) -> list[bytes]:
    raw = [name.encode(errors="replace") for name in names]
    ends = np.cumsum([len(each) for each in raw])
    lengths = np.array([len(each) for each in raw])
    text = np.frombuffer(b"".join(raw), dtype=np.uint8)
    starts, joined = encode_texts(text, ends - lengths, lengths, SHA256_PREFIX, GITOID_PREFIX)
    return [bytes(joined[begin:end]) for begin, end in pairwise(starts)]


@settings(deadline=None)
@given(st.lists(ids, min_size=1, max_size=8))
def test_many_at_a_time_as_one_by_one(names: list[str]) -> None:
    names = [name.encode(errors="replace").decode() for name in names]
    assert encoded(names) == [encode_id(name) for name in names]
    assert [decode_id(each) for each in encoded(names)] == names


@pytest.mark.parametrize("place", [0, 1, 31, 62, 63])
def test_every_character_in_the_place_of_a_digit(place: int) -> None:
    names = [DIGEST[: 7 + place] + chr(value) + DIGEST[8 + place :] for value in range(1, 128)]
    assert encoded(names) == [encode_id(name) for name in names]
