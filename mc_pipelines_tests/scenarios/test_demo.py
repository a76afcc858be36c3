"""The demo from nothing: killed in the middle, run to its end, and run again without changing anything."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.database, pytest.mark.slow, pytest.mark.timeout(600)]
MC = str(Path(sys.executable).with_name("mc"))


def environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MC_") or name == "MC_DATA_DIR"}
    return kept | {"MC_HOME": str(home), "PYTHONWARNINGS": "ignore"}


def demo(home: Path) -> dict[str, Any]:
    command = [MC, "demo", "--json"]
    finished = subprocess.run(command, env=environment(home), capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr[-2000:]
    answer: dict[str, Any] = json.loads(finished.stdout)
    return answer


def test_killed_then_finished_then_unchanged(tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("d") / "h"
    try:
        victim = subprocess.Popen([MC, "demo"], env=environment(home), stdout=subprocess.DEVNULL)
        time.sleep(7)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        first = demo(home)
        again = demo(home)
        assert first["made"]["executions published"] == 20
        assert first["made"]["signed receipts, sealed in the object store"] == 20
        assert first["made"]["signed credit notes"] == 2
        assert set(first["verified"]) == {"note.json", "receipt.json"}
        assert all(report["ok"] for report in first["verified"].values())
        assert {"receipt", "execution"} <= {node["kind"] for node in first["graph"]["answer"]["nodes"]}
        assert first["rotations"][0][1] == "RETIRED"
        assert first["rollouts"][0][1] == "simulate"
        assert not again["changed"]
        assert again["made"] == first["made"]
    finally:
        subprocess.run([MC, "db", "stop"], env=environment(home), capture_output=True, check=False)
