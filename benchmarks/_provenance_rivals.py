"""The judges of benchmarks/provenance_graph.py: brute force, DuckDB and PostgreSQL, over arrays of the same world.

None of them reads what the product wrote. :class:`Neighbours` numbers the nodes of each partition by first mention, as
docs/provenance/engine.md defines the order of an answer, and :func:`walk_by` is the walk of that page in Python over
whoever lists neighbours: plain arrays (the oracle) or an engine. A rival is asked once per level and direction, for a
whole frontier, newest first, at most the fan-out per node and what the caps still allow, then for ids and kinds, and
orjson writes the answer. Counted are the engine's own CPU (`engine`: queries and rows fetched), and the whole of the
same service (`whole`: the walk between queries and the JSON, too). The rivals hold only what the tenant may see, each
edge once, on covering indexes; they answer no degrees.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from benchmarks._provenance_world import USES, World
from mc_pipelines.provenance.model import EDGE_TYPES, KINDS

Array = NDArray[Any]
Rows = tuple[Array, Array, Array]
"""Place in the frontier, neighbour, type; newest first per place, in order of place."""
NODES, EDGES, FAN_OUT = 5000, 20_000, 1000
DIRECTIONS = {"ancestors": (0,), "descendants": (1,), "both": (0, 1)}


@dataclass(frozen=True)
class Neighbours:
    """What the tenant may see, both ways: per direction owner, neighbour, type and rank, sorted by owner and rank.

    Attributes:
        start: per direction, where each node's rows begin.
        other: per direction, the neighbours.
        type: per direction, the types.
        rank: per direction; greater = newer.
        owner: per direction.
    """

    owner: tuple[Array, Array]
    start: tuple[Array, Array]
    other: tuple[Array, Array]
    type: tuple[Array, Array]
    rank: tuple[Array, Array]

    def rows(self, direction: int, frontier: Array, room: int) -> Rows:
        """Return the neighbours of a frontier."""
        start = self.start[direction]
        places, others, types, found = [], [], [], 0
        for place, node in enumerate(frontier.tolist()):
            begin, end = int(start[node]), int(start[node + 1])
            begin = max(begin, end - FAN_OUT)
            places.append(np.full(end - begin, place))
            others.append(self.other[direction][begin:end][::-1])
            types.append(self.type[direction][begin:end][::-1])
            found += end - begin
            if found > room:
                break
        return np.concatenate(places), np.concatenate(others), np.concatenate(types)


def neighbours(world: World) -> Neighbours:
    """Lay out what the benchmark's tenant may see."""
    mine = np.flatnonzero(world.mine())
    shared_edges = int(np.searchsorted(world.build, 0))
    source, target, code = world.source[mine], world.target[mine], world.type[mine].astype(np.int64)
    public = mine < shared_edges
    nodes = len(world.kind)
    rank_own = _first_mention(source[~public], target[~public], nodes)
    rank_shared = _first_mention(source[public], target[public], nodes)
    packed = source.astype(np.int64) << 34 | target.astype(np.int64) << 4 | code << 1 | public
    packed = np.unique(packed)
    packed = packed[np.append(True, packed[1:] >> 1 != packed[:-1] >> 1)]  # the tenant's own claim stands first
    source, target = packed >> 34, packed >> 4 & (1 << 30) - 1
    code, public = packed >> 1 & 7, (packed & 1).astype(bool)
    lower, upper = np.where(code == USES, source, target), np.where(code == USES, target, source)
    made = []
    for owner, other in ((lower, upper), (upper, lower)):
        # Newest first; entries are "number << 2 | type", so that types of one pair have an order too.
        rank = np.where(public, rank_shared[other], rank_own[other] + (1 << 31)) << 2 | code
        order = np.lexsort((rank, owner))
        start = np.searchsorted(owner[order], np.arange(nodes + 1))
        made.append((owner[order], start, other[order], code[order], rank[order]))
    return Neighbours(*(tuple(part) for part in zip(*made, strict=True)))  # type: ignore[arg-type]


def _first_mention(source: Array, target: Array, nodes: int) -> Array:
    ends = np.stack([source, target], axis=1).reshape(-1)
    first = np.full(nodes, -1, dtype=np.int64)
    first[ends[::-1]] = np.arange(len(ends))[::-1]
    order = np.argsort(first, kind="stable")
    order = order[first[order] >= 0]
    number = np.full(nodes, -1, dtype=np.int64)
    number[order] = np.arange(len(order))
    return number


@dataclass(frozen=True)
class Found:
    """An answer: nodes in order, edges as (lower, upper, type), and whether a cap ended it."""

    nodes: list[int]
    edges: set[tuple[int, int, int]]
    stopped: bool


def walk_by(
    ask: Callable[[int, Array, int], Rows], start: int, depth: int, direction: str, *, capped: bool = True
) -> Found:
    """Walk breadth first over whoever lists neighbours; see docs/provenance/engine.md for the order and the caps."""
    maximum_nodes, maximum_edges = (NODES, EDGES) if capped else (1 << 40, 1 << 40)
    ways = DIRECTIONS[direction]
    place = {start: 0}
    seen: dict[int, set[int]] = {way: {start} for way in ways}
    frontier = {way: [start] for way in ways}
    edges: dict[tuple[int, int, int], None] = {}
    followed = 0
    for _ in range(depth):
        for way in ways:
            if not frontier[way]:
                continue
            here = np.array(frontier[way], dtype=np.int64)
            following = []
            for at, other, code in zip(*(c.tolist() for c in ask(way, here, maximum_edges - followed)), strict=True):
                if followed >= maximum_edges or (other not in place and len(place) >= maximum_nodes):
                    return Found(list(place), set(edges), stopped=True)
                place.setdefault(other, len(place))
                followed += 1
                node = frontier[way][at]
                edges[(node, other, code) if way == 0 else (other, node, code)] = None
                if other not in seen[way]:
                    seen[way].add(other)
                    following.append(other)
            frontier[way] = following
    return Found(list(place), set(edges), stopped=False)


class DuckDB:
    """The same tables in DuckDB: sorted by owner and rank, with an index on the owner."""

    name = "duckdb"

    def __init__(self, lists: Neighbours, world: World, folder: Path) -> None:
        import duckdb

        begun = time.perf_counter()
        self.cpu = 0.0
        self.connection = duckdb.connect(str(folder / "rival.duckdb"))
        self.connection.execute("set threads = 2; set preserve_insertion_order = true")
        for direction in (0, 1):
            arrays = {  # noqa: F841 - DuckDB reads the variable by its name
                "owner": lists.owner[direction].astype(np.int32),
                "other": lists.other[direction].astype(np.int32),
                "type": lists.type[direction].astype(np.int8),
                "rank": lists.rank[direction],
            }
            self.connection.execute(f"create table way{direction} as select * from arrays order by owner, rank desc")
            self.connection.execute(f"create index way{direction}_owner on way{direction} (owner)")
        self.connection.execute("create table nodes (number integer, id varchar, kind utinyint)")
        step = 500_000
        for begin in range(0, len(world.kind), step):
            until = min(len(world.kind), begin + step)
            rows = {  # noqa: F841
                "number": np.arange(begin, until, dtype=np.int32),
                "id": np.array([world.id_of(number) for number in range(begin, until)], dtype=object),
                "kind": world.kind[begin:until],
            }
            self.connection.execute("insert into nodes select * from rows")
        self.connection.execute("checkpoint")
        self.load_s = time.perf_counter() - begun

    def rows(self, direction: int, frontier: Array, room: int) -> Rows:
        """Return the neighbours of a frontier."""
        begun = time.process_time()
        wanted = ",".join(map(str, frontier.tolist()))
        found = self.connection.execute(
            f"select owner, other, type from way{direction} where owner in ({wanted})"
            f" qualify row_number() over (partition by owner order by rank desc) <= {FAN_OUT}"
            + (
                f" order by list_position([{wanted}], owner), rank desc limit {room + 1}"
                if len(frontier) > 1
                else " order by rank desc"
            )
        ).fetchnumpy()
        self.cpu += time.process_time() - begun
        place = {node: at for at, node in enumerate(frontier.tolist())}
        owners = np.array([place[each] for each in found["owner"].tolist()], dtype=np.int64)
        return owners, found["other"], found["type"]

    def names(self, nodes: list[int]) -> dict[int, tuple[str, int]]:
        """Fetch ids and kinds of an answer."""
        begun = time.process_time()
        wanted = ",".join(map(str, nodes))
        got = self.connection.execute(f"select number, id, kind from nodes where number in ({wanted})").fetchall()
        self.cpu += time.process_time() - begun
        return {number: (name, kind) for number, name, kind in got}

    def spent(self) -> float:
        """CPU seconds of this process, in which the engine runs."""
        return time.process_time()

    def close(self) -> None:
        """Let go of the database."""
        self.connection.close()


class PostgreSQL:
    """The same tables in PostgreSQL: covering indexes, index-only scans, one lateral limit per frontier node."""

    name = "postgresql"

    def __init__(self, lists: Neighbours, world: World, url: str) -> None:
        import psycopg

        begun = time.perf_counter()
        self.cpu = 0.0
        self.connection = psycopg.connect(url, autocommit=True)
        self.connection.execute("set maintenance_work_mem = '1GB'")
        self.connection.execute("set synchronous_commit = off")
        self.backend = self.connection.info.backend_pid
        for direction in (0, 1):
            self.connection.execute(
                f"create unlogged table rival_way{direction} (owner integer, other integer, type smallint, rank bigint)"
            )
            columns = (lists.owner[direction], lists.other[direction], lists.type[direction], lists.rank[direction])
            self._copy(f"rival_way{direction}", _binary_rows(columns, (4, 4, 2, 8)))
            self.connection.execute(f"create index on rival_way{direction} (owner, rank desc) include (other, type)")
        self.connection.execute(
            "create unlogged table rival_nodes (number integer primary key, id text, kind smallint)"
        )
        with self.connection.cursor() as cursor, cursor.copy("copy rival_nodes from stdin") as copy:
            step = 100_000
            for begin in range(0, len(world.kind), step):
                until = min(len(world.kind), begin + step)
                copy.write("".join(f"{n}\t{world.id_of(n)}\t{world.kind[n]}\n" for n in range(begin, until)))
        self.connection.execute("vacuum analyze rival_way0, rival_way1, rival_nodes")
        self.load_s = time.perf_counter() - begun

    def _copy(self, table: str, chunks: Any) -> None:
        with self.connection.cursor() as cursor, cursor.copy(f"copy {table} from stdin (format binary)") as copy:
            copy.write(b"PGCOPY\n\xff\r\n\0" + b"\0" * 8)
            for chunk in chunks:
                copy.write(chunk)
            copy.write(b"\xff\xff")

    def _fetch(self, query: str, *values: Any) -> list[Any]:
        begun = self.spent()
        found = self.connection.execute(query, values, prepare=True, binary=True).fetchall()
        self.cpu += self.spent() - begun
        return found

    def rows(self, direction: int, frontier: Array, room: int) -> Rows:
        """Return the neighbours of a frontier."""
        found = self._fetch(
            "select f.place, e.other, e.type from unnest(%s::int[]) with ordinality as f(node, place)"
            f" cross join lateral (select other, type from rival_way{direction} where owner = f.node"
            f" order by rank desc limit {FAN_OUT}) e limit %s",
            frontier.tolist(),
            room + 1,
        )
        columns = np.array(found, dtype=np.int64).reshape(-1, 3)
        return columns[:, 0] - 1, columns[:, 1], columns[:, 2]

    def names(self, nodes: list[int]) -> dict[int, tuple[str, int]]:
        """Fetch ids and kinds of an answer."""
        got = self._fetch("select number, id, kind from rival_nodes where number = any(%s::int[])", nodes)
        return {number: (name, kind) for number, name, kind in got}

    def spent(self) -> float:
        """CPU seconds of this process and of the server's backend."""
        ran = int(Path(f"/proc/{self.backend}/schedstat").read_text().split()[0])
        return time.process_time() + ran / 1e9

    def recursive(self, start: int, depth: int, direction: int) -> tuple[set[int], set[tuple[int, int, int]]]:
        """Return nodes and edges of an answer without caps by one recursive query."""
        rows = self._fetch(
            "with recursive reached(node, level) as (select %s::int, 0 union select e.other, level + 1 from reached"
            f" join rival_way{direction} e on e.owner = node where level < %s)"
            " select distinct r.node, e.other, e.type from"
            " (select node, min(level) as level from reached group by node) r"
            f" left join rival_way{direction} e on e.owner = r.node and r.level < %s",
            start,
            depth,
            depth,
        )
        edges = {(a, b, c) if direction == 0 else (b, a, c) for a, b, c in rows if b is not None}
        return {row[0] for row in rows}, edges

    def close(self) -> None:
        """Drop the tables."""
        self.connection.execute("drop table rival_way0, rival_way1, rival_nodes")
        self.connection.close()


def _binary_rows(columns: tuple[Array, ...], widths: tuple[int, ...]) -> Any:
    fields: list[tuple[str, str]] = [("fields", ">i2")]
    for at, width in enumerate(widths):
        fields += [(f"length{at}", ">i4"), (f"value{at}", f">i{width}")]
    step = 1_000_000
    for begin in range(0, len(columns[0]), step):
        rows = np.empty(min(step, len(columns[0]) - begin), dtype=fields)
        rows["fields"] = len(widths)
        for at, width in enumerate(widths):
            rows[f"length{at}"] = width
            rows[f"value{at}"] = columns[at][begin : begin + step]
        yield rows.tobytes()


def serve(rival: Any, start: int, depth: int, direction: str) -> tuple[Found, bytes, float, float]:
    """Let a rival answer a query; return the answer, its JSON, CPU seconds of the engine and of the whole."""
    rival.cpu, begun = 0.0, rival.spent()
    found = walk_by(rival.rows, start, depth, direction)
    known = rival.names(found.nodes)
    body = orjson.dumps(
        {
            "nodes": [{"id": known[node][0], "kind": KINDS[known[node][1]]} for node in found.nodes],
            "edges": [
                {
                    "from": known[lower if code == USES else upper][0],
                    "to": known[upper if code == USES else lower][0],
                    "type": EDGE_TYPES[code],
                }
                for lower, upper, code in found.edges
            ],
        }
    )
    return found, body, rival.cpu, rival.spent() - begun


def names_of(world: World, found: Found) -> tuple[list[str], set[tuple[str, str, str]]]:
    """Return an answer by ids: nodes in order, edges as (from, to, type)."""
    name = {number: str(world.id_of(number)) for number in found.nodes}
    edges = set()
    for lower, upper, code in found.edges:
        source, target = (lower, upper) if code == USES else (upper, lower)
        edges.add((name[source], name[target], EDGE_TYPES[code].value))
    return [name[number] for number in found.nodes], edges
