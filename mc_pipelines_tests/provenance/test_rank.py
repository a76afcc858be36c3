from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mc_pipelines.provenance.identity import NodeId
from mc_pipelines.provenance.model import Kind, Node
from mc_pipelines.provenance.rank import rank_of

ID = NodeId("sha256:" + "a" * 64)
FACTS = st.none() | st.dictionaries(st.text(max_size=5), st.integers(0, 9) | st.text(max_size=5), max_size=3)
NODES = st.builds(
    lambda kind, label, stub, facts: Node(ID, kind, label, stub, facts or None),
    st.sampled_from(list(Kind)),
    st.none() | st.text(min_size=1, max_size=5),
    st.booleans(),
    FACTS,
)


@given(NODES, NODES)
def test_a_rank_follows_from_what_is_said(one: Node, other: Node) -> None:
    assert 0 <= rank_of(one) < 2**63
    assert (rank_of(one) == rank_of(other)) == (one == other)


@given(NODES, NODES)
def test_what_outranks_what(one: Node, other: Node) -> None:
    order = [Kind.PACKAGE, Kind.MANIFEST, Kind.EXECUTION, Kind.RECEIPT, Kind.BUNDLE]
    keys = [(not node.stub, order.index(node.kind)) for node in (one, other)]
    if keys[0] != keys[1]:
        assert (rank_of(one) > rank_of(other)) == (keys[0] > keys[1])


def test_more_facts_outrank_fewer() -> None:
    short, long = ({"a": 1}, {"a": 1, "b": 2})
    assert rank_of(Node(ID, Kind.PACKAGE, "x", attributes=long)) > rank_of(
        Node(ID, Kind.PACKAGE, "y", attributes=short)
    )


def test_the_order_of_facts_is_nothing() -> None:
    one, other = ({"a": 1, "b": 2}, {"b": 2, "a": 1})
    assert rank_of(Node(ID, Kind.PACKAGE, attributes=one)) == rank_of(Node(ID, Kind.PACKAGE, attributes=other))
