"""The line between the planes: everything but defs and dagster_ext imports without Dagster."""

import subprocess
import sys

import pytest

_IMPORT_ALL = """
import importlib, pkgutil, sys
sys.modules["dagster"] = None
import mc_pipelines
allowed = ("mc_pipelines.definitions", "mc_pipelines.defs", "mc_pipelines.dagster_ext", "mc_pipelines.migrations.env")
skipped = lambda name: any(name == each or name.startswith(each + ".") for each in allowed)
names = [m.name for m in pkgutil.walk_packages(mc_pipelines.__path__, "mc_pipelines.") if not skipped(m.name)]
for name in names:
    importlib.import_module(name)
print(len(names))
"""


def test_the_domain_imports_without_dagster() -> None:
    finished = subprocess.run([sys.executable, "-c", _IMPORT_ALL], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr[-2000:]
    assert int(finished.stdout) > 50


@pytest.mark.parametrize(
    "heavy", ["pandas", "sklearn", "statsmodels", "matplotlib", "sigstore", "numba", "boto3", "dagster"]
)
def test_the_command_line_starts_without_heavy_libraries(heavy: str) -> None:
    script = f"import sys; import mc_pipelines.cli.main; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
