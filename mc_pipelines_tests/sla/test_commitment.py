"""A day of all tenants is fixed by one salted root in the log; a pack shows its own and only hashes of others."""

from __future__ import annotations

import itertools
import json
from datetime import date

import pytest

from mc_pipelines.attest.log import DEFAULT_ORIGIN, sequence
from mc_pipelines.attest.merkle import leaf_hash
from mc_pipelines.attest.note import NoteKey
from mc_pipelines.foundation.errors import InputError, VerificationError
from mc_pipelines.sla.bag import read_bag, write_bag
from mc_pipelines.sla.commitment import commit_days, committed_days, parse_committed_day
from mc_pipelines.sla.pack import build_pack
from mc_pipelines.sla.pack_verification import verify_pack
from mc_pipelines_tests.sla.conftest import World, execution
from mc_pipelines_tests.sla.test_pack import trust_of

pytestmark = pytest.mark.database


def salts() -> object:
    numbers = itertools.count()
    return lambda size: next(numbers).to_bytes(size, "big")


def with_neighbours(world: World) -> None:
    rows = [execution(9000 + n, day=n % 5, tenant=f"tenant-{n % 7}") for n in range(35)]
    world.facts(rows)
    world.breach()


def key_of(world: World) -> NoteKey:
    return NoteKey.ecdsa(DEFAULT_ORIGIN, world.service_signer.public_key_pem)


def test_a_day_is_committed_once_and_again_only_when_it_changes(world: World) -> None:
    with_neighbours(world)
    days = commit_days(world.database, world.clock, salts())
    assert days == [date(2026, 1, 19 + n) for n in range(5)]
    assert commit_days(world.database, world.clock, salts()) == []
    world.facts([execution(5000, outcome="lost", day=2)])
    world.roll()
    assert commit_days(world.database, world.clock, salts()) == [date(2026, 1, 21)]
    assert commit_days(world.database, world.clock, salts(), first_day=date(2026, 1, 22)) == []


def test_the_pack_proves_its_days_and_names_nobody_else(world: World) -> None:
    with_neighbours(world)
    commit_days(world.database, world.clock, salts())
    issued = world.issue()
    sequence(world.database, world.service_signer, world.clock)
    with world.database.begin() as connection:
        pack = build_pack(connection, issued)
    report = verify_pack(pack, trust_of(world))
    assert report.ok, report.problems
    assert any("The counts of 5 of 5 days stand in roots over all tenants" in line for line in report.proved)
    payload = read_bag(pack)
    assert all(b"tenant-" not in content for content in payload.values())
    committed = parse_committed_day(payload["days/2026-01-19.json"])
    assert committed.size > 7, "other tenants stand in the same tree"
    assert len(committed.path) >= 3

    forged = json.loads(payload["evidence.json"])
    forged["slices"][0]["slices"][0][2] += 1  # one more failure than was committed
    changed = payload | {"evidence.json": json.dumps(forged, separators=(",", ":"), sort_keys=True).encode()}
    assert not verify_pack(write_bag(changed, {}, info={}), trust_of(world)).ok


def test_every_part_of_the_proof_is_checked(world: World) -> None:
    with_neighbours(world)
    commit_days(world.database, world.clock, salts())
    draft = world.draft()
    while sequence(world.database, world.service_signer, world.clock):
        pass
    with world.database.begin() as connection:
        [first, *_] = committed_days(connection, draft.evidence)
    keys = [key_of(world)]
    assert first.verify(keys) == world.clock.now()
    document = json.loads(first.to_bytes())
    assert parse_committed_day(first.to_bytes()) == first
    changes = {
        "salt": document["salt"].replace("A", "B", 1),
        "index": document["index"] + 1,
        "size": document["size"] + 1,
        "root": "00" * 32,
        "revision": 2,
        "slices": document["slices"] | {"constructed": 0},
        "path": document["path"][::-1],
    }
    for name, value in changes.items():
        content = json.dumps(document | {name: value}, separators=(",", ":"), sort_keys=True).encode()
        with pytest.raises((VerificationError, InputError)):
            parse_committed_day(content).verify(keys)
    unsalted = leaf_hash(json.dumps(document["slices"], separators=(",", ":"), sort_keys=True).encode())
    with world.database.begin() as connection:
        leaves = bytes(
            connection.exec_driver_sql("select leaves from sla_commitment order by day limit 1").scalar_one()
        )
    assert unsalted not in [leaves[n : n + 32] for n in range(0, len(leaves), 32)], "nobody can guess a neighbour's row"


def test_the_oldest_commitment_with_these_counts_is_shown(world: World) -> None:
    with_neighbours(world)
    commit_days(world.database, world.clock, salts())
    world.facts([execution(9900, day=0, tenant="tenant-1")])
    world.roll()
    assert commit_days(world.database, world.clock, salts()) == [date(2026, 1, 19)]
    draft = world.draft()
    sequence(world.database, world.service_signer, world.clock)
    with world.database.begin() as connection:
        found = committed_days(connection, draft.evidence)
    assert [one.revision for one in found] == [1] * 5
