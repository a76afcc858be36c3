"""A document enters whole and once; a tenant's rows are a tenant's own."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from mc_pipelines.foundation.canonical import sha256_digest
from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.errors import ForbiddenError
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.edge_log import head_of, ingest_claims, ingest_many
from mc_pipelines.provenance.identity import package_id
from mc_pipelines.provenance.model import PUBLIC, Claims, Edge, EdgeType, Kind, Node, refuse
from mc_pipelines_tests.conftest import TestDatabase

pytestmark = pytest.mark.database
ACME, BOLT = TenantId("acme"), TenantId("bolt")


def sbom(name: str, needs: dict[str, list[str]], **more: object) -> Claims:
    """A document that says which packages need which."""
    names = dict.fromkeys([*needs, *(target for targets in needs.values() for target in targets)])
    ids = {name: package_id(f"pkg:deb/debian/{name}") for name in names}
    return Claims(
        document=sha256_digest(name.encode()),
        name=name,
        format="test",
        nodes=tuple(Node(ids[each], Kind.PACKAGE, stub=each not in needs) for each in names),
        edges=tuple(Edge(ids[a], ids[b], EdgeType.USES) for a, targets in needs.items() for b in targets),
        **more,  # type: ignore[arg-type]
    )


def counts(database: TestDatabase, tenant: TenantId) -> dict[str, int]:
    with database.app.begin(tenant=tenant) as connection:
        return {
            name: connection.execute(text(f"select count(*) from provenance_{name} where tenant = '{tenant}'")).scalar()
            for name in ("documents", "claims", "nodes", "descriptions", "closures")
        }


def test_the_same_document_again_changes_nothing(database: TestDatabase, clock: FrozenClock) -> None:
    document = sbom("a", {"app": ["libc6", "zlib1g", "libc6"], "alone": []})
    first = ingest_claims(database.app, ACME, document, clock=clock)
    assert (first.status, first.seq, first.nodes, first.edges) == ("accepted", 1, 4, 2)
    before = counts(database, ACME)
    again = ingest_many(database.app, ACME, [document, document], clock=clock)
    assert [(each.status, each.seq) for each in again] == [("known", 1), ("known", 1)]
    assert counts(database, ACME) == before
    assert before == {"documents": 1, "claims": 3, "nodes": 4, "descriptions": 0, "closures": 0}


def test_a_refused_document_leaves_no_row_and_the_others_enter(database: TestDatabase, clock: FrozenClock) -> None:
    bad = refuse(sha256_digest(b"bad"), "bad", "cyclonedx", "truncated")
    results = ingest_many(database.app, ACME, [bad, sbom("a", {"a": ["b"]}), bad], clock=clock)
    assert [each.status for each in results] == ["refused", "accepted", "refused"]
    assert counts(database, ACME)["documents"] == 1


def kept(database: TestDatabase, tenant: TenantId) -> set[tuple[str, bool, int]]:
    """Last letter of the id, stub and event of every description that a log keeps."""
    with database.app.begin(tenant=tenant) as connection:
        rows = connection.execute(
            text(
                "select id, stub, seq from provenance_nodes where tenant = :tenant union all"
                " select id, said.stub, said.seq from provenance_descriptions as said"
                " join provenance_nodes as named using (tenant, node) where tenant = :tenant"
            ),
            {"tenant": tenant},
        ).all()
    return {(row.id[-1], row.stub, row.seq) for row in rows}


@pytest.mark.parametrize("together", [False, True])
def test_what_an_earlier_document_says_to_all_the_same_readers_is_kept_once(
    database: TestDatabase, clock: FrozenClock, together: bool
) -> None:
    begun = clock.now()
    documents = [
        sbom("1", {"a": ["b"]}, valid_from=begun),
        sbom("2", {"b": ["c"]}, valid_from=begun),  # b is described, which outranks its mention
        sbom("3", {"a": ["b", "c"]}, valid_from=begun),  # nothing new
        sbom("4", {"a": ["c"]}, valid_from=begun, classification=2),  # for other readers
        sbom("5", {"a": ["c"]}, valid_from=begun - timedelta(days=1)),  # from earlier on
        sbom("6", {"a": ["c"]}, valid_from=begun, classification=2),  # nothing new
        sbom("7", {"d": ["a"]}, valid_from=begun, series="s", version=1),
        sbom("8", {"d": ["a"]}, valid_from=begun, series="t", version=1),  # what may end implies nothing
    ]
    for batch in [documents] if together else [[each] for each in documents]:
        ingest_many(database.app, ACME, batch, clock=clock)
    first = {("a", False, 1), ("b", True, 1), ("c", True, 2), ("d", False, 7)}
    more = {("b", False, 2), ("a", False, 4), ("c", True, 4), ("a", False, 5), ("c", True, 5), ("d", False, 8)}
    assert kept(database, ACME) == first | more


def test_seq_is_gapless_in_commit_order_under_four_writers(database: TestDatabase, clock: FrozenClock) -> None:
    documents = [sbom(f"d{number}", {f"p{number}": [f"p{number % 7}x"]}) for number in range(40)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda each: ingest_claims(database.app, ACME, each, clock=clock), documents))
    assert sorted(each.seq or 0 for each in results) == list(range(1, 41))
    with database.app.begin() as connection:
        assert head_of(connection, ACME) == 40


def test_a_failed_batch_leaves_nothing(database: TestDatabase, clock: FrozenClock) -> None:
    with pytest.raises(DBAPIError), database.app.begin(tenant=ACME):
        ingest_many(database.app, ACME, [sbom("a", {"a": ["b"]}, series="s", version=2**40)], clock=clock)
    assert set(counts(database, ACME).values()) == {0}


def test_versions_of_a_series_close_each_other_whatever_their_order(database: TestDatabase, clock: FrozenClock) -> None:
    for version in (2, 1, 3):
        ingest_claims(
            database.app, ACME, sbom(f"v{version}", {"a": [f"b{version}"]}, series="s", version=version), clock=clock
        )
    with database.app.begin(tenant=ACME) as connection:
        closed = connection.execute(text("select closed_seq, seq from provenance_closures")).all()
    assert {tuple(row) for row in closed} == {(2, 2), (1, 3)}


def test_row_level_security_is_the_second_lock(database: TestDatabase, clock: FrozenClock) -> None:
    ingest_claims(database.app, ACME, sbom("a", {"a": ["b"]}), clock=clock)
    ingest_claims(database.app, BOLT, sbom("a", {"x": ["y"]}), clock=clock)
    ingest_claims(database.app, PUBLIC, sbom("p", {"p": ["q"]}), clock=clock, operator=True)
    with database.app.begin(tenant=BOLT) as connection:
        seen = connection.execute(text("select distinct tenant from provenance_claims")).scalars().all()
        assert sorted(seen) == ["bolt", "public"]
        assert connection.execute(text("delete from provenance_nodes where tenant <> 'bolt'")).rowcount == 0
    with pytest.raises(DBAPIError, match="row-level security"), database.app.begin(tenant=BOLT) as connection:
        connection.execute(
            text("insert into provenance_aliases values ('acme', 1, gen_random_uuid(), gen_random_uuid())")
        )
    with database.app.begin() as connection:
        assert connection.execute(text("select count(*) from provenance_nodes where tenant <> 'public'")).scalar() == 0


def test_a_tenant_cannot_write_the_shared_partition(database: TestDatabase, clock: FrozenClock) -> None:
    with pytest.raises(ForbiddenError):
        ingest_claims(database.app, PUBLIC, sbom("a", {"a": ["b"]}), clock=clock)


def test_hostile_text_arrives_as_it_was_or_shortened(database: TestDatabase, clock: FrozenClock) -> None:
    odd = Node(package_id("pkg:npm/%40a/b"), Kind.PACKAGE, label='"\\\0\u2028é' + "x" * 5000, attributes={"a": "\n"})
    claims = Claims(document=sha256_digest(b"odd"), name="o\0dd", format="test", nodes=(odd,))
    assert ingest_claims(database.app, ACME, claims, clock=clock).status == "accepted"
    with database.app.begin(tenant=ACME) as connection:
        label, attributes = connection.execute(text("select label, attributes from provenance_nodes")).one()
    assert label.startswith('"\\\u2028éxx')
    assert attributes == {"a": "\n"}
