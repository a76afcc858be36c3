"""A machine that leaves gives up its own tenants only, and they spread."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.routing import ranked

names = st.text("abcdef0123", min_size=1, max_size=6)


@given(st.sets(names, min_size=2, max_size=8), names, st.data())
def test_only_the_tenants_of_the_one_that_leaves_move(nodes: set[str], tenant: str, data) -> None:
    before = ranked(TenantId(tenant), nodes)
    gone = data.draw(st.sampled_from(sorted(nodes)))
    after = ranked(TenantId(tenant), nodes - {gone})
    assert after == [node for node in before if node != gone]


def test_tenants_spread_evenly() -> None:
    nodes = ["a", "b", "c"]
    served = Counter(ranked(TenantId(f"tenant-{number}"), nodes)[0] for number in range(3000))
    assert all(900 < served[node] < 1100 for node in nodes)


def test_without_machines() -> None:
    with pytest.raises(InputError):
        ranked(TenantId("acme"), [])
