"""The built wheel carries what the commands need: installed outside the repository, it publishes and runs."""

import json
import os
import shutil
import site
import subprocess
import sys
import tempfile
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mc_pipelines_tests.conftest import TestDatabase

REPOSITORY = Path(__file__).parents[2]
CARRIED = ("policy/placement/placement.rego", "policy/access/data.json", "dagster.yaml", "workspace.yaml")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without an index and without isolation, from a copy that holds only what git knows."""
    folder = tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        source = REPOSITORY / name
        if source.is_file():
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, folder / "source" / name)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=folder / "source",
        check=True,
        capture_output=True,
    )
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Iterator[Path]:
    """The `mc` of a new environment that holds the wheel, and our dependencies by a path file."""
    with tempfile.TemporaryDirectory(prefix="mc-wheel-") as folder:
        venv.create(folder, symlinks=True)
        packages = Path(folder, "lib", f"python{sys.version_info.major}.{sys.version_info.minor}", "site-packages")
        subprocess.run(
            [
                Path(sys.executable).with_name("uv"),
                "pip",
                "install",
                "--quiet",
                "--offline",
                "--no-deps",
                "--python",
                f"{folder}/bin/python",
                str(wheel),
            ],
            check=True,
        )
        (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
        yield Path(folder, "bin", "mc")


def test_the_wheel_carries_packs_and_the_instances_configuration_and_no_test(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for name in CARRIED:
        assert any(each.endswith(name) for each in names), name
    assert not [name for name in names if "test" in name.partition("/")[0] or name.startswith("benchmarks")]
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.database
def test_installed_elsewhere_it_publishes_and_runs(installed: Path, database: TestDatabase, tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MC_", "PYTHON"))}
    variables = kept | {"MC_DATABASE_URL": database.app.url, "MC_HOME": str(tmp_path / "home")}

    def mc(*arguments: str, given: str | None = None) -> str:
        finished = subprocess.run(
            [installed, *arguments],
            env=variables,
            cwd=tmp_path,
            input=given,
            capture_output=True,
            text=True,
            check=False,
        )
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    where = subprocess.run(
        [installed.with_name("python"), "-c", "import mc_pipelines; print(mc_pipelines.__file__)"],
        env=variables, cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert Path(where.stdout.strip()).is_relative_to(installed.parents[1])
    mc("tenant", "put", "acme", "--zone", "UTC", "--currency", "USD", "--residency", "local")
    example = mc("publish", "--example")
    published = json.loads(mc("publish", "-", "--json", given=example))
    assert published["new"]
    assert not json.loads(mc("publish", "-", "--json", given=example))["new"]
    mc("runner", "drain")
    shown = json.loads(mc("executions", "show", published["executionId"], "--json"))
    assert shown["transitions"][-1]["state"] == "succeeded", shown["transitions"]
