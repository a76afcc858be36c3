"""The code location: loads without a socket, names what a person needs, and changes only on purpose."""

import json
import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from mc_pipelines.cli.instance import environment
from mc_pipelines.foundation.embedded import DatabaseUrls
from mc_pipelines.foundation.settings import Settings
from mc_pipelines_tests.conftest import TestDatabase, TestServer

REPOSITORY = Path(__file__).parents[2]
SNAPSHOT = Path(__file__).with_name("asset_graph.snapshot.json")

_NO_SOCKET = """
import socket
def refused(*args, **kwargs):
    raise SystemExit("a socket was opened while the definitions loaded")
socket.socket.connect = refused
socket.create_connection = refused
from mc_pipelines.definitions import defs
defs()
"""

_LAZY = (
    "polars",
    "pandas",
    "numpy",
    "sqlalchemy",
    "httpx",
    "sklearn",
    "statsmodels",
    "matplotlib",
    "pyarrow",
    "obstore",
)
"""Seconds of CPU together; every run and every sensor server would pay for them."""


def _graph() -> dict[str, object]:
    import dagster as dg

    from mc_pipelines.definitions import defs

    loaded = defs()
    repository = loaded.get_repository_def()
    dg.Definitions.validate_loadable(loaded)
    assets = {
        spec.key.to_user_string(): {
            "group": spec.group_name,
            "owners": sorted(spec.owners),
            "kinds": sorted(spec.kinds),
            "code_version": spec.code_version,
            "deps": sorted(dep.asset_key.to_user_string() for dep in spec.deps),
            "partitions": spec.partitions_def.__class__.__name__ if spec.partitions_def else None,
            "described": bool(spec.description),
        }
        for spec in loaded.resolve_all_asset_specs()
    }
    checks = {
        f"{key.asset_key.to_user_string()}:{key.name}": spec.blocking
        for node in loaded.asset_checks or ()
        for key, spec in ((spec.key, spec) for spec in node.check_specs)  # type: ignore[union-attr]
    }
    return {
        "assets": assets,
        "checks_blocking": checks,
        "jobs": sorted(name for name in repository.job_names if not name.startswith("__")),
        "schedules": {each.name: each.cron_schedule for each in repository.schedule_defs},
        "sensors": sorted(each.name for each in repository.sensor_defs),
    }


@pytest.mark.filterwarnings("ignore::dagster_shared.utils.warnings.PreviewWarning")
def test_the_asset_graph_is_the_recorded_one() -> None:
    """Set MC_UPDATE_SNAPSHOTS=1 to record a change that is meant."""
    graph = json.loads(json.dumps(_graph(), sort_keys=True))
    if os.environ.get("MC_UPDATE_SNAPSHOTS") == "1":
        SNAPSHOT.write_text(json.dumps(graph, indent=1, sort_keys=True) + "\n")
    assert graph == json.loads(SNAPSHOT.read_text())


def test_every_asset_says_what_a_person_needs() -> None:
    for key, asset in _graph()["assets"].items():  # type: ignore[attr-defined]
        assert asset["described"], f"{key} has no description"
        assert asset["owners"], f"{key} has no owner"
        assert asset["group"] not in {None, "default"}, f"{key} has no group"
        assert asset["kinds"], f"{key} has no kind"
        assert asset["code_version"], f"{key} has no code version"


def test_loading_opens_no_socket() -> None:
    finished = subprocess.run([sys.executable, "-c", _NO_SOCKET], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr[-2000:]


def test_loading_imports_nothing_heavy_that_dagster_does_not() -> None:
    code = (
        "import sys, dagster; before = set(sys.modules)\n"
        "from mc_pipelines.definitions import defs; defs()\n"
        f"print(*({{name.partition('.')[0] for name in set(sys.modules) - before}} & set({_LAZY!r})))"
    )
    finished = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout.split() == []


@pytest.mark.database
@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("dg", "check", "defs"), "All definitions loaded successfully."),
        (("dagster", "definitions", "validate", "-w", "workspace.yaml"), "All code locations passed validation."),
    ],
    ids=["dg", "dagster"],
)
def test_dagsters_own_tools_find_nothing_to_warn_of(
    database: TestDatabase, postgres_server: TestServer, tmp_path: Path, command: tuple[str, ...], says: str
) -> None:
    """On a bare postgresql:// for Dagster's own records, too."""
    name = f"mc_test_{uuid4().hex[:12]}"
    postgres_server.execute(f"create database {name}")
    bare = postgres_server.url(name).replace("postgresql+psycopg://", "postgresql://", 1)
    urls = DatabaseUrls(app=database.app.url, owner=None, dagster=bare)
    variables = environment(Settings(home=tmp_path), urls) | {
        "MC_DAGSTER_DATABASE_URL": bare,
        "PYTHONWARNINGS": "",
        "VIRTUAL_ENV": sys.prefix,
    }
    finished = subprocess.run(
        [Path(sys.executable).with_name(command[0]), *command[1:]],
        env=variables,
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout[-3000:]
    assert says in finished.stdout
    warnings = [line for line in finished.stdout.splitlines() if "warning" in line.lower()]
    own = [line for line in warnings if "definitions_validate_command` is superseded" in line]  # Dagster's, of itself
    assert warnings == own
