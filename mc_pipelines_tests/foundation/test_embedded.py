"""The embedded server survives what happens to a home."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from mc_pipelines.composition import open_database
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.embedded import ensure_running, is_running, stop
from mc_pipelines.foundation.errors import ConfigurationError
from mc_pipelines.foundation.server import look
from mc_pipelines.foundation.settings import Settings
from mc_pipelines.migrations.chain import CHAIN

pytestmark = pytest.mark.database


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    for name in ("MC_DATABASE_URL", "MC_DATABASE_ADMIN_URL", "MC_DAGSTER_DATABASE_URL", "MC_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    folder = tempfile.mkdtemp(prefix="mc-e-")
    given = Settings(home=Path(folder))
    yield given
    stop(given)
    shutil.rmtree(folder)


def _ask(url: str, question: str) -> object:
    database = Database(url)
    try:
        with database.begin() as connection:
            return connection.execute(text(question)).scalar()
    finally:
        database.dispose()


def _postmaster(settings: Settings) -> int:
    return int((settings.home_path / "pg" / "postmaster.pid").read_text().split()[0])


def test_one_life_of_a_home(settings: Settings) -> None:
    """Set-up, roles, upgrade, kill -9 of the server, a process number that another process has, stop."""
    database = open_database(settings)
    facts = look(database)
    assert (facts.role, facts.privileged, facts.revision) == ("mc_app", False, CHAIN[-1])
    urls = ensure_running(settings)
    assert _ask(urls.app, "select current_database()") == "mc"
    assert _ask(urls.dagster, "select current_database() || current_user") == "mc_dagster" * 2
    assert (settings.home_path / "pg").stat().st_mode & 0o077 == 0
    database.dispose()

    os.kill(_postmaster(settings), signal.SIGKILL)
    deadline = time.monotonic() + 10
    while is_running(settings) and time.monotonic() < deadline:
        time.sleep(0.001)
    assert _ask(ensure_running(settings).app, "select version_num from alembic_version") == CHAIN[-1]

    assert stop(settings)
    assert not stop(settings)
    assert not is_running(settings)
    file = settings.home_path / "pg" / "postmaster.pid"
    file.write_text(f"{os.getpid()}\n{file.parent}\n1\n5432\n{file.parent}\n\n1 1\nready\n")
    os.utime(file, (time.time() - 100,) * 2)
    assert _ask(ensure_running(settings).app, "select version_num from alembic_version") == CHAIN[-1]


_START = """
import sys
from pathlib import Path
from mc_pipelines.foundation.embedded import ensure_running
from mc_pipelines.foundation.settings import Settings
print(ensure_running(Settings(home=Path(sys.argv[1]))).app)
"""


def test_a_set_up_killed_half_way_and_two_that_start_at_once(settings: Settings) -> None:
    command = [sys.executable, "-c", _START, str(settings.home)]
    killed = subprocess.Popen(command, start_new_session=True)
    deadline = time.monotonic() + 30
    while not (settings.home_path / "pg.new" / "base").exists() and time.monotonic() < deadline:
        time.sleep(0.002)
    os.killpg(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert not (settings.home_path / "pg" / "PG_VERSION").exists()
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert said[0] == said[1] != ""
    assert _ask(said[0].strip(), "select 1") == 1


def test_a_home_too_deep_for_a_socket_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    home = tmp_path / ("d" * 100)
    with pytest.raises(ConfigurationError, match=r"at most 107.*MC_HOME.*shorter"):
        ensure_running(Settings(home=home))
    assert not home.exists()


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "pg").mkdir()
    (tmp_path / "pg" / "thesis.txt").write_text("dear")
    with pytest.raises(ConfigurationError, match="something else"):
        ensure_running(Settings(home=tmp_path))
    assert (tmp_path / "pg" / "thesis.txt").read_text() == "dear"


def test_a_database_url_without_dagsters_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="MC_DAGSTER_DATABASE_URL"):
        ensure_running(Settings(database_url="postgresql://mc_app@h/mc"))
