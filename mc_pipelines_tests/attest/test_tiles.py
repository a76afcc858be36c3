"""The exported files alone rebuild the tree, and the self-check finds what was changed behind our back."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from mc_pipelines.attest.audit import audit_log
from mc_pipelines.attest.checkpoint import verify_checkpoint
from mc_pipelines.attest.log import DEFAULT_ORIGIN, append, sequence
from mc_pipelines.attest.merkle import leaf_hash, root_of
from mc_pipelines.attest.note import NoteKey
from mc_pipelines.attest.signer import LocalSigner
from mc_pipelines.attest.tiles import _tile_path, export_tiles, read_tile
from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.errors import InputError, MaestroError, NotFoundError
from mc_pipelines_tests.conftest import TestDatabase

pytestmark = pytest.mark.database

SIGNER = LocalSigner.generate()
KEY = NoteKey.ecdsa(DEFAULT_ORIGIN, SIGNER.public_key_pem)
COUNT = 300


@pytest.fixture
def filled(database: TestDatabase, clock: FrozenClock) -> TestDatabase:
    with database.app.begin() as connection:
        for number in range(COUNT):
            append(connection, act="test.act", subject=str(number), content=b"x", at=clock.now())
    while sequence(database.app, SIGNER, clock, limit=170) is not None:
        pass
    return database


def test_the_files_alone_rebuild_the_tree(filled: TestDatabase) -> None:
    with filled.app.begin() as connection:
        files = dict(export_tiles(connection))
    assert list(files) == [
        "tile/0/000",
        "tile/0/001.p/44",
        "tile/1/000.p/1",
        "tile/entries/000",
        "tile/entries/001.p/44",
        "checkpoint",
    ]
    entries = []
    for path in ("tile/entries/000", "tile/entries/001.p/44"):
        content = files[path]
        while content:
            length = int.from_bytes(content[:2], "big")
            entries.append(content[2 : 2 + length])
            content = content[2 + length :]
    with filled.app.begin() as connection:
        for path in list(files)[:-1]:
            _, level, rest = path.split("/", 2)
            assert read_tile(connection, level, rest) == files[path]
    hashes = [leaf_hash(entry) for entry in entries]
    assert b"".join(hashes) == files["tile/0/000"] + files["tile/0/001.p/44"]
    assert files["tile/1/000.p/1"] == root_of(hashes[:256])
    checkpoint, _ = verify_checkpoint(files["checkpoint"], [KEY])
    assert (checkpoint.size, checkpoint.root) == (COUNT, root_of(hashes))


def test_paths_are_those_of_the_specification() -> None:
    assert _tile_path(1234067, 256) == "x001/x234/067"
    assert _tile_path(5, 112) == "005.p/112"
    assert _tile_path(1000, 256) == "x001/000"


def test_an_empty_log_has_nothing_to_export(database: TestDatabase) -> None:
    with database.app.begin() as connection, pytest.raises(NotFoundError):
        list(export_tiles(connection))


def test_the_whole_log_agrees_with_itself(filled: TestDatabase) -> None:
    with filled.app.begin() as connection:
        report = audit_log(connection, [KEY])
        assert report.ok, report.problems
        stranger = NoteKey.ecdsa(DEFAULT_ORIGIN, LocalSigner.generate().public_key_pem)
        assert not audit_log(connection, [stranger]).ok


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("update attest_log_leaf set entry = 'x' where subject = '7'", "not the hash"),
        (
            "update attest_log_node set hash = decode(repeat('00', 32), 'hex') where level = 3 and node_index = 1",
            "node",
        ),
        ("delete from attest_log_entry where leaf_index = 5", "gap"),
        ("delete from attest_log_entry where leaf_index = 299", "not there"),
        ("delete from attest_log_checkpoint where size = 300", "no checkpoint"),
        (
            (
                "insert into attest_log_leaf select 'sha256:y', act, subject, content_digest, at, entry, leaf_hash"
                " from attest_log_leaf where subject = '7'"
            ),
            "neither in the tree nor waiting",
        ),
    ],
)
def test_damage_by_a_superuser_is_found(filled: TestDatabase, damage: str, found: str) -> None:
    superuser = Database(filled.superuser_url)
    with superuser.begin() as connection:
        connection.execute(text("set local session_replication_role = replica"))  # triggers off: the worst case
        connection.execute(text(damage))
    superuser.dispose()
    with filled.app.begin() as connection:
        report = audit_log(connection, [KEY])
    assert any(found in problem for problem in report.problems)


@pytest.mark.parametrize(
    ("level", "path", "error"),
    [
        ("0", "002", NotFoundError),
        ("0", "001", NotFoundError),
        ("0", "001.p/45", NotFoundError),
        ("0", "000.p/256", NotFoundError),
        ("0", "x000/000", NotFoundError),
        ("2", "000.p/1", NotFoundError),
        ("0", "001.p/0", InputError),
        ("0", "1", InputError),
        ("0", "../checkpoint", InputError),
        ("-1", "000", InputError),
        ("entries", "002", NotFoundError),
        ("other", "000", InputError),
    ],
)
def test_what_is_no_tile_is_refused(filled: TestDatabase, level: str, path: str, error: type[MaestroError]) -> None:
    with pytest.raises(error), filled.app.begin() as connection:
        read_tile(connection, level, path)
