"""What may be asked of the graph, read strictly from text: every value that means nothing is refused by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, ClassVar, Self

from mc_pipelines.foundation.clock import parse_utc, rfc3339
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.provenance.identity import NodeId, package_id, parse_node_id
from mc_pipelines.provenance.model import KIND_CODE, TYPE_CODE
from mc_pipelines.provenance.walk import ALL_KINDS, ALL_TYPES

MAXIMUM_DEPTH = 5
MAXIMUM_PROVEN_DEPTH = 3
MAXIMUM_LENGTH = 50
"""Steps of a path that may be asked for."""
MAXIMUM_NODES = 5000
MAXIMUM_EDGES = 20_000
MAXIMUM_FAN_OUT = 100_000
MAXIMUM_PAGED = 200_000
"""Nodes that all pages of one answer may hold together."""

DIRECTIONS = ("ancestors", "descendants", "both", "undirected")
RESOLVE = ("verified", "claimed", "none")
_NUMBER = re.compile(r"[0-9]{1,12}")
_WITHOUT_MEANING = frozenset({"cursor", "min_seq"})
"""What says where an answer begins or how fresh it is, not what is asked."""

Reading = tuple[str, Callable[[str, str], Any]]
"""The attribute that a parameter sets, and what reads its text (text, parameter) or refuses it."""


class QueryError(InputError):
    """A query string that means nothing."""

    slug, title, status = "invalid-query", "Invalid query", 400


def parse_query_node(text: str | None, *, field: str) -> NodeId:
    """Read a node id; a purl may come in any form and is looked up in its canonical one.

    Raises:
        QueryError: it is missing or no node id.
    """
    if not text:
        raise QueryError("A node is needed", field=field, mend="give a digest, a package URL, a receipt or a run")
    try:
        return package_id(text) if text.startswith("pkg:") else parse_node_id(text, field=field)
    except InputError as error:
        raise QueryError(error.detail, field=field, mend=error.mend) from error


def _whole(low: int, high: int) -> Callable[[str, str], int]:
    def read(text: str, field: str) -> int:
        if not _NUMBER.fullmatch(text) or not low <= int(text) <= high:
            raise QueryError(f"Not a whole number from {low} to {high}", field=field, value=text)
        return int(text)

    return read


def _mask(codes: Mapping[str, int]) -> Callable[[str, str], int]:
    def read(text: str, field: str) -> int:
        mask = 0
        for name in text.split(","):
            if name not in codes:
                raise QueryError("No such name", field=field, value=name, mend=f"use {', '.join(codes)}")
            mask |= 1 << codes[name]
        return mask

    return read


def _choice(*words: str) -> Callable[[str, str], str]:
    def read(text: str, field: str) -> str:
        if text not in words:
            raise QueryError("Not one of the words there are", field=field, value=text, mend=f"use {', '.join(words)}")
        return text

    return read


def _either(yes: str, no: str) -> Callable[[str, str], bool]:
    word = _choice(yes, no)

    def read(text: str, field: str) -> bool:
        return word(text, field) == yes

    return read


def _moment(text: str, field: str) -> datetime:
    try:
        return parse_utc(text, field=field)
    except InputError as error:
        raise QueryError(error.detail, field=field, value=text, mend=error.mend) from error


def _text(text: str, _field: str) -> str:
    return text


def _node(text: str, field: str) -> NodeId:
    return parse_query_node(text, field=field)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which claims a question is put to.

    Attributes:
        verified_only: keep to documents that we verified.
        as_of: the moment at which claims must hold; None = now.
        known_at: leave out what was learnt later; None = nothing is left out.
        min_seq: an event that must be inside (read your own write).
        resolve: which alias claims stand for a node without edges of its own: ``verified``, ``claimed`` or ``none``.
    """

    READ: ClassVar[dict[str, Reading]] = {
        "verified": ("verified_only", _either("only", "any")),
        "asOf": ("as_of", _moment),
        "knownAt": ("known_at", _moment),
        "minSeq": ("min_seq", _whole(0, 2**40)),
        "resolve": ("resolve", _choice(*RESOLVE)),
    }
    NODES: ClassVar[dict[str, str]] = {"node": "node"}
    """Parameters that name nodes and must be there, and the attributes that they set."""

    verified_only: bool = False
    as_of: datetime | None = None
    known_at: datetime | None = None
    min_seq: int = 0
    resolve: str = "verified"

    def canonical(self) -> dict[str, Any]:
        """What is asked, without where a page begins."""
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in _WITHOUT_MEANING}
        return {"question": type(self).__name__} | {
            name: rfc3339(value) if isinstance(value, datetime) else value for name, value in values.items()
        }

    @classmethod
    def parse(cls, given: Mapping[str, str]) -> Self:
        """Read a question from text parameters, as the query string has them.

        Raises:
            QueryError: an unknown parameter, or a value that means nothing; each by name.
        """
        unknown = sorted(set(given) - set(cls.READ) - set(cls.NODES))
        if unknown:
            known = ", ".join([*cls.NODES, *cls.READ])
            raise QueryError("There is no such parameter", field=unknown[0], mend=f"use {known}")
        nodes: dict[str, Any] = {
            name: parse_query_node(given.get(field), field=field) for field, name in cls.NODES.items()
        }
        changes = {name: read(given[field], field) for field, (name, read) in cls.READ.items() if field in given}
        return replace(cls(**nodes), **changes)


@dataclass(frozen=True, slots=True)
class GraphQuery(Scope):
    """A subgraph to fetch.

    Attributes:
        node: where to begin.
        depth: 1 to 5 steps.
        direction: ancestors, descendants, both (the union of the two one-way walks) or undirected.
        kinds: bit mask of kinds to enter; the start is always part of the answer.
        types: bit mask of edge types to follow.
        limit: nodes of a page.
        edge_limit: edges of a page.
        fan_out: neighbours followed per node and direction.
        evidence: say with each edge and node which documents claim it and what our check of them found.
        cursor: where the page before ended.
    """

    READ: ClassVar[dict[str, Reading]] = Scope.READ | {
        "depth": ("depth", _whole(1, MAXIMUM_DEPTH)),
        "direction": ("direction", _choice(*DIRECTIONS)),
        "kinds": ("kinds", _mask(KIND_CODE)),
        "types": ("types", _mask(TYPE_CODE)),
        "limit": ("limit", _whole(1, MAXIMUM_NODES)),
        "edgeLimit": ("edge_limit", _whole(1, MAXIMUM_EDGES)),
        "fanOut": ("fan_out", _whole(1, MAXIMUM_FAN_OUT)),
        "evidence": ("evidence", _either("true", "false")),
        "cursor": ("cursor", _text),
    }

    node: NodeId
    depth: int = 2
    direction: str = "both"
    kinds: int = ALL_KINDS
    types: int = ALL_TYPES
    limit: int = 500
    edge_limit: int = MAXIMUM_EDGES
    fan_out: int = 1000
    evidence: bool = False
    cursor: str | None = None


def parse_query(given: Mapping[str, str]) -> GraphQuery:
    """Read a query for a subgraph; see :meth:`Scope.parse`."""
    return GraphQuery.parse(given)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofQuery(Scope):
    """A subgraph to fetch with its proof, as the last generation has it.

    Attributes:
        node: where to begin.
        depth: 1 to 3 steps.
        direction: as in :class:`GraphQuery`.
    """

    NODES: ClassVar[dict[str, str]] = {"node": "node"}
    READ: ClassVar[dict[str, Reading]] = {
        "asOf": Scope.READ["asOf"],
        "depth": ("depth", _whole(1, MAXIMUM_PROVEN_DEPTH)),
        "direction": ("direction", _choice(*DIRECTIONS)),
    }

    node: NodeId
    depth: int = 2
    direction: str = "ancestors"


@dataclass(frozen=True, slots=True)
class PathQuery(Scope):
    """Shortest paths between two nodes.

    Attributes:
        source: where paths begin.
        target: where they end.
        direction: ancestors, descendants, undirected, or both: the shorter of the two one-way searches.
        kinds: bit mask of kinds that a path may go through.
        types: bit mask of edge types that it may take.
        maximum_length: steps of a path at most.
        limit: paths that are spelled out.
    """

    NODES: ClassVar[dict[str, str]] = {"from": "source", "to": "target"}
    READ: ClassVar[dict[str, Reading]] = Scope.READ | {
        "direction": ("direction", _choice(*DIRECTIONS)),
        "kinds": ("kinds", _mask(KIND_CODE)),
        "types": ("types", _mask(TYPE_CODE)),
        "maxLength": ("maximum_length", _whole(1, MAXIMUM_LENGTH)),
        "limit": ("limit", _whole(1, 100)),
    }

    source: NodeId
    target: NodeId
    direction: str = "both"
    kinds: int = ALL_KINDS
    types: int = ALL_TYPES
    maximum_length: int = 20
    limit: int = 10


@dataclass(frozen=True, slots=True)
class ImpactQuery(Scope):
    """What stands on a node: its blast radius.

    Attributes:
        node: what is bad.
        kinds: bit mask of kinds to enter.
        types: bit mask of edge types to follow.
        limit: nodes of a page; the counts are of all.
        plan: say in which order to rebuild.
        cursor: where the page before ended.
    """

    READ: ClassVar[dict[str, Reading]] = Scope.READ | {
        "kinds": ("kinds", _mask(KIND_CODE)),
        "types": ("types", _mask(TYPE_CODE)),
        "limit": ("limit", _whole(1, MAXIMUM_NODES)),
        "plan": ("plan", _either("true", "false")),
        "cursor": ("cursor", _text),
    }

    node: NodeId
    kinds: int = ALL_KINDS
    types: int = ALL_TYPES
    limit: int = 500
    plan: bool = False
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class DiffQuery(Scope):
    """What differs between two nodes, or between two moments of one.

    Attributes:
        first: one node.
        second: the other; may be the same at another moment.
        direction: ancestors (what they stand on) or descendants.
        depth: steps, 1 to 5; None = all the way.
        limit: differing nodes that are listed; all are counted.
        first_as_of: the moment at which the first is looked at; None = that of ``as_of``.
        second_as_of: the same for the second.
        first_known_at: what was known then of the first.
        second_known_at: the same for the second.
    """

    NODES: ClassVar[dict[str, str]] = {"a": "first", "b": "second"}
    READ: ClassVar[dict[str, Reading]] = Scope.READ | {
        "direction": ("direction", _choice("ancestors", "descendants")),
        "depth": ("depth", _whole(1, MAXIMUM_DEPTH)),
        "limit": ("limit", _whole(1, MAXIMUM_NODES)),
        "asOfA": ("first_as_of", _moment),
        "asOfB": ("second_as_of", _moment),
        "knownAtA": ("first_known_at", _moment),
        "knownAtB": ("second_known_at", _moment),
    }

    first: NodeId
    second: NodeId
    direction: str = "ancestors"
    depth: int | None = None
    limit: int = 500
    first_as_of: datetime | None = None
    second_as_of: datetime | None = None
    first_known_at: datetime | None = None
    second_known_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class GapQuery(Scope):
    """What is missing or contradictory.

    Attributes:
        node: look among its ancestors only; None = in all of the graph.
        limit: gaps that are listed; all are counted.
    """

    NODES: ClassVar[dict[str, str]] = {}
    READ: ClassVar[dict[str, Reading]] = Scope.READ | {
        "node": ("node", _node),
        "limit": ("limit", _whole(1, MAXIMUM_NODES)),
    }

    node: NodeId | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class BundleQuery(Scope):
    """Whether a bundle may be trusted, and why.

    Attributes:
        node: the bundle, or any other content.
    """

    NODES: ClassVar[dict[str, str]] = {"bundle": "node"}

    node: NodeId


@dataclass(frozen=True, slots=True)
class RevocationQuery(Scope):
    """What would no longer be trusted if a key or a builder were revoked; exactly one of the two.

    Attributes:
        key: a key id, or the name of a signer.
        builder: a builder id.
        limit: bundles that are listed.
    """

    NODES: ClassVar[dict[str, str]] = {}
    READ: ClassVar[dict[str, Reading]] = Scope.READ | {
        "key": ("key", _text),
        "builder": ("builder", _text),
        "limit": ("limit", _whole(1, MAXIMUM_NODES)),
    }

    key: str | None = None
    builder: str | None = None
    limit: int = 500


@dataclass(frozen=True, slots=True)
class ListQuery(Scope):
    """Which nodes there are, newest first.

    Attributes:
        kinds: bit mask of kinds that are listed.
        contains: what the id must hold; empty = anything.
        after: the node behind which the page begins; None = the newest is the first.
        limit: nodes of a page.
    """

    NODES: ClassVar[dict[str, str]] = {}
    READ: ClassVar[dict[str, Reading]] = {name: read for name, read in Scope.READ.items() if name != "resolve"} | {
        "kinds": ("kinds", _mask(KIND_CODE)),
        "contains": ("contains", _text),
        "after": ("after", _node),
        "limit": ("limit", _whole(1, MAXIMUM_NODES)),
    }

    kinds: int = ALL_KINDS
    contains: str = ""
    after: NodeId | None = None
    limit: int = 50
