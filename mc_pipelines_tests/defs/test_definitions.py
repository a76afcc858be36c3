"""The code location: loads without a socket, names what a person needs, and changes only on purpose."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
