"""The child that runs the control plane: its log never holds the demo up, and its last words are told."""

import sys
from pathlib import Path

import pytest

from mc_pipelines.drills import control_plane
from mc_pipelines.drills.control_plane import ControlPlane
from mc_pipelines.foundation.errors import UnavailableError

pytestmark = pytest.mark.timeout(60)
CHILD = """#!{python}
import json, sys
for line in sys.stdin:
    sys.stderr.write("event of a run\\n" * 20_000)  # 300 kB: a pipe that nobody reads holds 64
    if line.strip() == "assets:broken":
        sys.exit("the last words")
    print(json.dumps({{"step": line.strip(), "run_id": "r", "checks": {{}}}}))
    print(json.dumps({{"done": line.strip(), "succeeded": line.strip() != "assets:unmet"}}), flush=True)
"""


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "child"
    program.write_text(CHILD.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setattr(control_plane.sys, "executable", str(program))
    return tmp_path / "logs" / "control-plane.log"


def test_a_child_that_logs_much_is_not_held_up(child: Path) -> None:
    with ControlPlane({}, child) as control:
        for step in ("assets:a", "assets:b"):
            assert [report["step"] for report in control.run(step)] == [step]
    assert child.stat().st_size == 2 * 300_000


@pytest.mark.parametrize(("step", "says"), [("assets:broken", "the last words"), ("assets:unmet", "Dagster UI")])
def test_a_failure_names_the_step_its_reason_and_the_log(child: Path, step: str, says: str) -> None:
    with ControlPlane({}, child) as control, pytest.raises(UnavailableError, match=says) as failure:
        control.run(step)
    assert (failure.value.field, failure.value.value) == ("step", step)
    assert str(child) in str(failure.value.mend)
