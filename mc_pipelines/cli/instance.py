"""The Dagster instance of this machine: its home folder and the environment its processes get.

Dagster reads ``dagster.yaml`` only from ``DAGSTER_HOME``; without that it would use a temporary folder
and ignore ours. Nothing here imports dagster.
"""

from __future__ import annotations

import os
import sys
from importlib.resources import files
from pathlib import Path

from mc_pipelines.foundation.database import normalise_url
from mc_pipelines.foundation.embedded import DatabaseUrls
from mc_pipelines.foundation.settings import Settings

_REPOSITORY = Path(__file__).parents[2]


def instance_file(name: str) -> Path:
    """Return ``dagster.yaml`` or ``workspace.yaml``: of this repository, else the one carried in the package."""
    in_repository = _REPOSITORY / name
    return in_repository if in_repository.is_file() else Path(str(files("mc_pipelines") / "_instance" / name))


def prepare_home(settings: Settings) -> Path:
    """Create DAGSTER_HOME under MC_HOME with the instance's configuration; return the folder."""
    home = settings.home_path / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    for name in ("dagster.yaml", "workspace.yaml"):
        content = instance_file(name).read_bytes()
        target = home / name
        if not target.exists() or target.read_bytes() != content:
            draft = home / f".{name}.{os.getpid()}"
            draft.write_bytes(content)
            draft.replace(target)
    return home


def environment(settings: Settings, urls: DatabaseUrls) -> dict[str, str]:
    """Return the environment of every process that serves or runs Dagster definitions."""
    return os.environ | {
        "DAGSTER_HOME": str(prepare_home(settings)),
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        "MC_HOME": str(settings.home_path),
        "MC_DATABASE_URL": normalise_url(urls.app),
        "MC_DAGSTER_DATABASE_URL": normalise_url(urls.dagster, driver="psycopg2"),
        "PYTHONWARNINGS": "ignore",
    }


def python() -> str:
    """Return the interpreter of this environment."""
    return sys.executable
