"""What every object store promises, held by each: a disk, obstore in memory, and the clouds' protocols on loopback."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from obstore.store import MemoryStore

from mc_pipelines.foundation import object_store_local
from mc_pipelines.foundation.errors import ConfigurationError, InputError, NotFoundError, UnavailableError
from mc_pipelines.foundation.object_store import ObjectStore, check_path, open_object_store
from mc_pipelines.foundation.object_store_cloud import CloudObjectStore
from mc_pipelines.foundation.object_store_local import LocalObjectStore
from mc_pipelines_tests.clouds import servers

_BUCKET = "maestro"


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch, servers.aws(patch):
        boto3.client("s3").create_bucket(Bucket=_BUCKET)
        yield f"s3://{_BUCKET}"


@pytest.fixture(scope="module")
def az_url() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch, servers.azure(patch, _BUCKET) as account:
        yield f"az://{account}/{_BUCKET}"


@pytest.fixture(scope="module")
def gs_url() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch, servers.google(patch, _BUCKET):
        yield f"gs://{_BUCKET}"


CLOUDS = [
    pytest.param("s3"),
    pytest.param("az", marks=pytest.mark.system),
    pytest.param("gs", marks=pytest.mark.tools),
]


@pytest.fixture(params=["disk", "memory", *CLOUDS])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "disk":
        return open_object_store(f"file://{tmp_path}/objects")
    if request.param == "memory":
        return CloudObjectStore(MemoryStore(), "memory:///")
    url = request.getfixturevalue(f"{request.param}_url")
    return open_object_store(f"{url}/{uuid4().hex}")


def test_what_was_put_comes_back(store: ObjectStore) -> None:
    content = os.urandom(70_000)
    assert store.put("receipts/2026/a.dsse", content) is True
    assert store.get("receipts/2026/a.dsse") == content
    assert store.exists("receipts/2026/a.dsse")


def test_put_if_absent_leaves_what_is_there(store: ObjectStore) -> None:
    assert store.put("a", b"first") is True
    assert store.put("a", b"second") is False
    assert store.get("a") == b"first"


def test_put_replaces_when_told_to(store: ObjectStore) -> None:
    store.put("a", b"first")
    assert store.put("a", b"second", if_absent=False) is True
    assert store.get("a") == b"second"


def test_of_many_writers_exactly_one_wins_and_no_mixture_is_seen(store: ObjectStore) -> None:
    contents = [bytes([number]) * 50_000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda content: store.put("race", content), contents))
    assert won.count(True) == 1
    assert store.get("race") == contents[won.index(True)]


def test_an_empty_object_is_an_object(store: ObjectStore) -> None:
    assert store.put("empty", b"") is True
    assert store.get("empty") == b""
    assert store.get_range("empty", 0, 10) == b""


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [(0, 4, b"0123"), (8, 10, b"89"), (3, 0, b""), (10, 5, b"")],
    ids=["inside", "ends-early", "nothing", "at-the-end"],
)
def test_ranges(store: ObjectStore, start: int, length: int, expected: bytes) -> None:
    store.put("digits", b"0123456789")
    assert store.get_range("digits", start, length) == expected


@pytest.mark.parametrize(("start", "length"), [(11, 1), (-1, 2), (0, -1)])
def test_a_range_outside_is_refused(store: ObjectStore, start: int, length: int) -> None:
    store.put("digits", b"0123456789")
    with pytest.raises(InputError, match=r"range"):
        store.get_range("digits", start, length)


def test_what_is_absent_is_said_to_be(store: ObjectStore) -> None:
    assert not store.exists("none")
    for read in (lambda: store.get("none"), lambda: store.get_range("none", 0, 1)):
        with pytest.raises(NotFoundError, match="no such object"):
            read()
    store.delete("none")


def test_a_deleted_object_is_gone_and_its_name_free(store: ObjectStore) -> None:
    store.put("a", b"1")
    store.delete("a")
    assert not store.exists("a")
    assert store.put("a", b"2") is True


def test_a_listing_is_ordered_and_a_prefix_is_a_folder(store: ObjectStore) -> None:
    for path in ("facts/day=2/b", "facts/day=1/a", "facts-other/x", "facts/day=1.5/c", "z"):
        store.put(path, path.encode())
    assert [item.path for item in store.list("facts")] == ["facts/day=1.5/c", "facts/day=1/a", "facts/day=2/b"]
    assert [item.path for item in store.list("facts/")] == [item.path for item in store.list("facts")]
    assert [item.path for item in store.list()] == sorted(item.path for item in store.list())
    assert len(list(store.list())) == 5
    assert list(store.list("nowhere")) == []
    (item,) = store.list("facts-other")
    assert item.size == len("facts-other/x")
    assert abs(datetime.now(UTC) - item.modified) < timedelta(minutes=1)


BAD_PATHS = [
    "",
    "/a",
    "a/",
    "a//b",
    "../a",
    "a/../b",
    "a/./b",
    ".incoming/x",
    "a\\b",
    "a\nb",
    "a b",
    "ä",
    "a#1",
    "a%2e",
]


@pytest.mark.parametrize("path", [*BAD_PATHS, "a" * 201, "/".join(["a"] * 500)])
def test_a_path_that_leaves_the_store_or_means_two_things_is_refused(store: ObjectStore, path: str) -> None:
    for act in (
        lambda: store.put(path, b""),
        lambda: store.get(path),
        lambda: store.exists(path),
        lambda: store.delete(path),
    ):
        with pytest.raises(InputError, match="Not a path"):
            act()


@given(st.text(max_size=60))
def test_an_accepted_path_stays_below_its_root(text: str) -> None:
    try:
        check_path(text)
    except InputError:
        return
    assert Path(os.path.normpath(f"/root/{text}")) == Path("/root") / text
    assert not text.startswith("/")


@pytest.mark.parametrize("url", ["", "objects", "ftp://host/x", "file://elsewhere/x", "s3://", "gs:///x", "file:x"])
def test_a_url_that_names_no_store_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"MC_OBJECT_STORE_URL.*Mend: write file:///folder"):
        open_object_store(url)


def test_a_refused_url_does_not_print_what_may_be_a_secret() -> None:
    with pytest.raises(ConfigurationError) as refusal:
        open_object_store("ftp://user:geheim@host/x")
    assert "geheim" not in str(refusal.value)


# The disk alone.


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("call", ["write", "fsync", "link"])
def test_a_disk_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, call: str
) -> None:
    store = LocalObjectStore(tmp_path / "objects")
    store.put("before", b"kept")

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(object_store_local.os, call, fail)
    with pytest.raises(UnavailableError, match=os.strerror(number)):
        store.put("folder/new", b"x" * 100)
    monkeypatch.undo()
    assert [item.path for item in store.list()] == ["before"]
    assert list((tmp_path / "objects" / ".incoming").iterdir()) == []


def test_a_full_disk_is_named_with_its_mend(tmp_path: Path) -> None:
    """A device that is really full: /dev/full refuses every write with ENOSPC."""
    store = LocalObjectStore(tmp_path)
    with (
        pytest.raises(UnavailableError, match=r"No space left on device.*Mend: free space"),
        store._spoken_errors(),
    ):
        Path("/dev/full").write_bytes(b"x")


def test_replacing_on_a_full_disk_keeps_the_old_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalObjectStore(tmp_path)
    store.put("a", b"old")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(object_store_local.os, "write", fail)
    with pytest.raises(UnavailableError):
        store.put("a", b"new", if_absent=False)
    monkeypatch.undo()
    assert store.get("a") == b"old"


_WRITER = """
import sys
from pathlib import Path
from mc_pipelines.foundation.object_store_local import LocalObjectStore
store = LocalObjectStore(Path(sys.argv[1]))
number = 0
while True:
    store.put(f"objects/{number:06}", bytes([number % 251]) * 200_000)
    number += 1
"""


def test_a_writer_killed_at_any_moment_leaves_whole_objects_only(tmp_path: Path) -> None:
    store = LocalObjectStore(tmp_path)
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path)])
        seen = len(list(store.list("objects")))
        deadline = time.monotonic() + 30
        while len(list(store.list("objects"))) < seen + 5 and time.monotonic() < deadline:
            time.sleep(0.005)
        writer.send_signal(signal.SIGKILL)
        assert writer.wait() == -signal.SIGKILL
    objects = list(store.list())
    assert len(objects) >= 15
    for item in objects:
        assert store.get(item.path) == bytes([int(item.path[-6:]) % 251]) * 200_000


def test_the_sweep_removes_old_remains_and_spares_a_running_writer(tmp_path: Path) -> None:
    store = LocalObjectStore(tmp_path)
    store.put("a", b"1")
    for name, age in (("dead", 7200), ("alive", 1)):
        file = tmp_path / ".incoming" / name
        file.write_bytes(b"half")
        os.utime(file, (time.time() - age,) * 2)
    assert store.sweep(older_than=timedelta(hours=1), now=datetime.now(UTC)) == 1
    assert [file.name for file in (tmp_path / ".incoming").iterdir()] == ["alive"]
    assert [item.path for item in store.list()] == ["a"]


def test_a_name_that_is_both_object_and_folder_is_refused_on_a_disk(tmp_path: Path) -> None:
    store = LocalObjectStore(tmp_path)
    store.put("a", b"1")
    store.put("folder/b", b"1")
    for path in ("a/b", "folder"):
        with pytest.raises(UnavailableError, match="choose another path"):
            store.put(path, b"2")


def test_a_folder_this_user_may_not_write_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    with pytest.raises(UnavailableError, match=r"MC_OBJECT_STORE_URL = file://.*file"):
        LocalObjectStore(blocked).put("a", b"1")
