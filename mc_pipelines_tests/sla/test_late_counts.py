"""Late files in the database: stored counts, roots and 'as known on D' are those of a whole count."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from mc_pipelines.executions.facts import fact_source, paths_by_day
from mc_pipelines.foundation.ids import ServiceId, TenantId
from mc_pipelines.sla import records, rollup
from mc_pipelines.sla.calendar import GRID_MS
from mc_pipelines.sla.counting import Profile
from mc_pipelines.sla.rollup import roll_day, roll_up
from mc_pipelines.sla.slice_store import load_slices, newest_rollup, write_late
from mc_pipelines.sla.slices import AVAILABILITY, documents_root
from mc_pipelines_tests.sla.conftest import World, execution

pytestmark = pytest.mark.database
DAY = date(2026, 1, 19)
PROFILES = (Profile(GRID_MS), Profile(300_000))


def stored_documents(world: World, profile: Profile) -> tuple[list[bytes], str]:
    """The newest documents that are not empty, and the newest root."""
    table, newest = records.slice_day, {}
    with world.database.begin() as connection:
        rows = connection.execute(
            select(table).where(table.c.day == DAY, table.c.granule_ms == profile.granule_ms).order_by(table.c.revision)
        )
        for row in rows:
            newest[row.tenant, row.service] = row
        root = connection.execute(
            select(records.rollup.c.root)
            .where(records.rollup.c.day == DAY, records.rollup.c.profiles == profile.digest)
            .order_by(records.rollup.c.revision.desc())
            .limit(1)
        ).scalar_one()
    return sorted(bytes(row.rows) for row in newest.values() if row.events), root


def a_whole_count(world: World, profile: Profile) -> tuple[list[bytes], str]:
    sources = [fact_source(world.store, path) for path in paths_by_day(world.store)[DAY]]
    found = sorted(one.content for one in roll_day(sources, [profile], DAY))
    return found, documents_root(found)


def test_late_files_leave_what_a_whole_count_would(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.facts([execution(number) for number in range(200)])
    # the one attempt of this tenant will move to another
    world.facts([execution(500, tenant="gone")])
    world.roll()
    read = []
    monkeypatch.setattr(rollup, "roll_day", lambda *_: read.append(1))
    before, late = world.clock.now(), timedelta(days=3)
    changes: list[dict[str, Any]] = [
        {"number": 7, "outcome": "failed"},
        {"number": 500, "tenant": "acme"},
        {"number": 900, "tenant": "new"},
        {"number": 7, "outcome": "succeeded"},
    ]
    for hours, change in enumerate(changes):
        world.clock.advance(timedelta(hours=1))
        fact = execution(**change)
        world.facts([fact | {"recorded_at": fact["recorded_at"] + late + timedelta(hours=hours)}])
        world.roll()
        for profile in PROFILES:
            assert stored_documents(world, profile) == a_whole_count(world, profile)
    assert not read
    assert world.roll() == []
    keys = {"granule_ms": GRID_MS, "threshold_ms": AVAILABILITY}
    with world.database.begin() as connection:
        one = (connection, TenantId("acme"), ServiceId("pipelines"), [DAY])
        [then] = load_slices(*one, **keys, as_known_at=before)
        [failed] = load_slices(*one, **keys, as_known_at=before + timedelta(hours=1))
        [now] = load_slices(*one, **keys)
    assert [(day.events, sum(row.bad for row in day.rows)) for day in (then, failed, now)] == [
        (200, 0),
        (200, 1),
        (201, 0),
    ]


def test_a_rollup_in_between_is_not_overwritten(world: World) -> None:
    world.facts([execution(number) for number in range(20)])
    world.roll()
    with world.database.begin() as connection:
        known = newest_rollup(connection, DAY, PROFILES[0])
    assert known is not None
    world.facts([execution(99)])
    roll_up(world.database, world.store, world.clock)
    with world.database.begin() as connection:
        done = write_late(connection, DAY, PROFILES[0], {}, known=known, paths=["x"], now=world.clock.now())
    assert done is None
    assert stored_documents(world, PROFILES[0]) == a_whole_count(world, PROFILES[0])


def test_a_file_that_is_gone_has_the_day_counted_as_a_whole(world: World) -> None:
    world.facts([execution(number) for number in range(40)])
    world.facts([execution(40)])
    world.roll()
    path = min(paths_by_day(world.store)[DAY], key=lambda one: len(world.store.get(one)))
    world.store.delete(path)
    world.facts([execution(41)])
    world.roll()
    for profile in PROFILES:
        assert stored_documents(world, profile) == a_whole_count(world, profile)
